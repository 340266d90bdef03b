"""Verdicts in plain words."""

from collections.abc import Mapping

from usad_workbench.core.diagnosis.verdicts import MISSING, Verdict

QUESTIONS = {
    "inherited": "Did the student inherit from the teachers?",
    "general-or-mixture": "More general, or a mixture of its teachers' biases?",
    "universal-or-routing": "One universal encoder, or routing to specialists?",
    "falsified": "Is the claim of a universal encoder falsified?",
}
THROUGH = "through"
"""Begins the verdict that a column carries what is alike."""
MEANINGS = {
    "undecided": "The evidence does not decide it: a condition of the rule is not measured, or "
    "an interval reaches over its threshold. Neither a yes nor a no is meant.",
    "not testable": "No pair of teacher and domain could be tested; the panel says what each lacks, "
    "mostly peers or placebos. Similarity alone cannot be told from inheritance.",
    "no inheritance found": "Wherever it could be tested, an excess over peers and placebos that would "
    "matter is ruled out on these clips.",
    "inherited": "The student gained more with these teachers, beside its peers, than with encoders "
    "that never taught it, beyond chance and beyond what any column of the clips carries. What peers "
    "and placebos rest on stands below.",
    THROUGH: "The student is nearer to these teachers than peers and placebos show, but no longer "
    "once the column is erased from all encoders: they share it, and nobody need have taken it from "
    "the other.",
    "mostly mixture": "A linear map from the teachers predicts the student, a gain over their "
    "mixture on unseen domains that would matter is ruled out, and it errs with them more than "
    "controls do.",
    "more general": "On unseen domains the tasks are read better from it than from the mixture of "
    "its teachers, and an excess of shared errors that would matter is ruled out.",
    "benchmark-optimised": "Its lead over the best teacher is larger on the domains that were taught "
    "than on the others.",
    "universal": "In every domain that could be judged the student is not worse than the router by "
    "more than the margin and has fewer parameters in use, or the learned router is right too "
    "seldom.",
    "routing": "In at least one domain the student is worse than the router by more than the "
    "margin, and the learned router is right often enough to pay.",
    "falsified": "At least one of the conditions that were fixed beforehand holds.",
    "not falsified": "Every condition that would falsify the claim is ruled out on these clips.",
}


def describe_question(question: str) -> str:
    """A question as a person would ask it.

    >>> describe_question("inherited")
    'Did the student inherit from the teachers?'
    """
    return QUESTIONS.get(question, question.replace("-", " "))


def meaning(verdict: str) -> str:
    """What a verdict says; empty for one that is not known here.

    >>> meaning("inherited: t in speech")[:11]
    'The student'
    >>> meaning("through loudness_db: t in speech") == meaning("through label: t in sound") != ""
    True
    """
    word = verdict.split(":")[0].strip()
    return MEANINGS.get(THROUGH if word.startswith(f"{THROUGH} ") else word, "")


def lines_of(verdict: Verdict) -> list[str]:
    """A verdict for the terminal: the answer, then a line for each thing that it lacks.

    >>> lines_of(Verdict(question="falsified", verdict="undecided", rule="",
    ...     evidence={MISSING: {"labelled tasks": "`usad import`"}}))
    ['falsified: undecided', '  missing: labelled tasks (`usad import`)']
    """
    return [
        f"{verdict.question}: {verdict.verdict}",
        *(f"  missing: {what} ({how})" for what, how in lacking(verdict).items()),
    ]


def lacking(verdict: Verdict) -> dict[str, str]:
    """What would decide an open verdict, each with the command that gives it."""
    missing = verdict.evidence.get(MISSING)
    if not isinstance(missing, Mapping):
        return {}
    return {str(what): str(how) for what, how in missing.items()}


def is_open(verdict: str) -> bool:
    """Whether the verdict leaves its question open.

    >>> is_open("undecided"), is_open("universal")
    (True, False)
    """
    return verdict.split(":")[0].strip() in ("undecided", "not testable", "not measured")
