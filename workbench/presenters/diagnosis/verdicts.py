"""Verdicts in plain words."""

from collections.abc import Iterable, Mapping

from usad_workbench.core.diagnosis.verdict_on_falsification import MINUS_BEST_TEACHER
from usad_workbench.core.diagnosis.verdict_on_mixture import EXPLAINED_SHARE, GAIN_OVER_MIXTURE
from usad_workbench.core.diagnosis.verdict_on_routing import MINUS_ROUTER
from usad_workbench.core.diagnosis.verdicts import DETECTABLE, MISSING, Evidence, Verdict
from usad_workbench.workbench.presenters.text import listing

QUESTIONS = {
    "inherited": "Did the student inherit from the teachers?",
    "general-or-mixture": "More general, or a mixture of its teachers' biases?",
    "universal-or-routing": "One universal encoder, or routing to specialists?",
    "falsified": "Is the claim of a universal encoder falsified?",
}
RESTS_FIRST = {
    "general-or-mixture": (GAIN_OVER_MIXTURE, EXPLAINED_SHARE),
    "universal-or-routing": (MINUS_ROUTER,),
    "falsified": (MINUS_BEST_TEACHER,),
}
"""Of each question the evidence that its answer rests on first, where it was measured."""
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


def steps_of(hows: Iterable[str]) -> list[str]:
    """What can be done about what is missing, each once, by the commands that the words name.

    ``compare`` is a diagnosis beside another student.

    >>> steps_of(["`usad evaluate --workspace W`, then diagnose again"])
    ['evaluate']
    >>> steps_of(["`usad diagnose --student s --compare FIRST_STAGE`", "`usad import`"])
    ['compare', 'import']
    """
    commands = [part for how in hows for part in how.split("`")[1::2]]
    steps = [
        "compare" if "--compare" in words else words.split()[1]
        for words in commands
        if words.startswith("usad ")
    ]
    return list(dict.fromkeys(steps))


def describe_number(verdict: Verdict, headline: str) -> str:
    """The number that an answer rests on, and from which size on an open one would have been seen.

    Args:
        verdict: Of any question.
        headline: The number of the one on inheritance, which its panel has.
    """
    if verdict.question == "inherited":
        return headline
    return " ".join(filter(None, (number_of(verdict), seen_from(verdict))))


def number_of(verdict: Verdict) -> str:
    """The estimates that a verdict rests on first, by domain, in a line; empty where none is.

    >>> evidence = {"student minus oracle domain router": {"speech": "-0.3 [-0.4, -0.2], n = 458"}}
    >>> number_of(Verdict(question="universal-or-routing", verdict="routing", rule="",
    ...     evidence=evidence))
    'Student minus oracle domain router: speech -0.3 [-0.4, -0.2], n = 458.'
    """
    name, estimates = _rests_on(verdict)
    told = "; ".join(f"{domain} {value}" for domain, value in estimates.items())
    return f"{name[0].upper()}{name[1:]}: {told}." if told else ""


def seen_from(verdict: Verdict) -> str:
    """From which difference on an open question would have been answered; empty where unknown.

    >>> evidence = {"student minus oracle domain router": {"speech": "+0.0 [-0.1, +0.1], n = 99"},
    ...     "smallest difference that would have been seen": {"speech": .1, "music": .2}}
    >>> seen_from(Verdict(question="universal-or-routing", verdict="undecided", rule="",
    ...     evidence=evidence))
    'A difference of 0.1 would have been seen in speech; more labelled clips narrow it.'
    """
    sizes, (_, estimates) = verdict.evidence.get(DETECTABLE), _rests_on(verdict)
    if not (isinstance(sizes, Mapping) and is_open(verdict.verdict)):
        return ""
    seen = [
        f"{size:g} would have been seen in {domain}"
        for domain, size in sizes.items()
        if domain in estimates and isinstance(size, float) and size > 0
    ]
    return f"A difference of {listing(seen)}; more labelled clips narrow it." if seen else ""


def _rests_on(verdict: Verdict) -> tuple[str, Mapping[str, Evidence]]:
    for name in RESTS_FIRST.get(verdict.question, ()):
        estimates = verdict.evidence.get(name)
        if isinstance(estimates, Mapping) and estimates:
            return name, estimates
    return "", {}


def is_open(verdict: str) -> bool:
    """Whether the verdict leaves its question open.

    >>> is_open("undecided"), is_open("universal")
    (True, False)
    """
    return verdict.split(":")[0].strip() in ("undecided", "not testable", "not measured")
