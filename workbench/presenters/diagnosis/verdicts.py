"""Verdicts in plain words."""

QUESTIONS = {
    "inherited": "Did the student inherit from the teachers?",
    "general-or-mixture": "More general, or a mixture of its teachers' biases?",
    "universal-or-routing": "One universal encoder, or routing to specialists?",
    "falsified": "Is the claim of a universal encoder falsified?",
}
MEANINGS = {
    "undecided": "The evidence does not decide it: a condition of the rule is not measured, or "
    "an interval reaches over its threshold.",
    "not testable": "No domain has controls that could stand in for a teacher, so similarity "
    "cannot be told from inheritance.",
    "no inheritance found": "Where it could be tested, the student is no nearer to the teachers than "
    "controls are: an excess that would matter is ruled out on these clips.",
    "inherited": "The student is nearer to these teachers than controls are, beyond chance. It is "
    "evidence, not proof: only training without the teacher shows the cause.",
    "mostly mixture": "The teachers explain the student, it gains nothing over their mixture on "
    "unseen domains, and it shares their errors.",
    "more general": "It gains over the mixture of its teachers on unseen domains and does not "
    "share their errors above controls.",
    "benchmark-optimised": "Its lead over the teachers is larger where they taught than where "
    "they did not.",
    "universal": "One encoder does: it is not worse than routing at lower cost, or a router is "
    "wrong too often to pay.",
    "routing": "Routing to specialists pays: the one encoder loses in a domain, and a router is "
    "right often enough.",
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
    """
    return MEANINGS.get(verdict.split(":")[0].strip(), "")


def is_open(verdict: str) -> bool:
    """Whether the verdict leaves its question open.

    >>> is_open("undecided"), is_open("universal")
    (True, False)
    """
    return verdict.split(":")[0].strip() in ("undecided", "not testable", "not measured")
