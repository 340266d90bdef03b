"""The cards of the report: the number of each answer, and every teacher beside its placebos."""

import math
from xml.etree import ElementTree

import pytest

from usad_workbench.core.diagnosis.inheritance_row import InheritanceRow
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.workbench.presenters.diagnosis.placebo_strip import OF_REPORT
from usad_workbench.workbench.report.rendering import escaped
from usad_workbench.workbench.report.verdict_section import verdict_card

NAME = "<b>teacher</b>"
PLACEBOS = {"p": -0.1, "<i>q</i>": 0.2, "r": 0.05}


def row(teacher: str, answer: str, **changes: object) -> InheritanceRow:
    values: dict[str, object] = {
        "teacher": teacher,
        "domain": "sound",
        "layer": 8,
        "teacher_layer": 4,
        "measure": "debiased_linear_cka",
        "inherited": answer,
        "excess": 0.3,
        "ci_low": 0.2,
        "ci_high": 0.4,
        "p_value": 0.001,
        "over_peers": 0.35,
        "placebos": PLACEBOS,
        "peers": ("u", "v"),
        "students": ("s",),
        "n_families": 3,
        "p_peers": 0.01,
        "p_placebos": 0.2,
        "detectable": 0.1,
        "n_clips": 90,
        "n_clusters": 12,
    }
    return InheritanceRow(**{**values, **changes})  # type: ignore[arg-type]


def test_every_answer_is_drawn_beside_its_placebos() -> None:
    lacking = "no peers; add students without it; no peers of the student: x (other training)"
    rows = [
        row(NAME, "yes"),
        row("other", "undecided"),
        row("third", "not testable", excess=math.nan, over_peers=math.nan, reason=lacking),
    ]
    verdict = Verdict(question="inherited", verdict=f"inherited: {NAME} in sound", rule="r")
    card = verdict_card(verdict, rows)
    assert card.number.startswith("+0.30 [+0.20, +0.40] in debiased linear CKA at layer 8")
    found, undecided, untestable = card.answers
    assert (found.title, found.answer) == (f"{NAME} in sound", "inherited")
    drawn = ElementTree.fromstring(found.picture)
    ticks = drawn.findall("{http://www.w3.org/2000/svg}rect")
    assert len(ticks) == len(PLACEBOS) and OF_REPORT.found in found.picture
    assert "<b>" not in found.picture and "<i>" not in found.picture
    assert escaped(found.picture_words) == (
        "&lt;b&gt;teacher&lt;/b&gt; gained +0.350, 3 placebos -0.100 to +0.200"
    )
    assert OF_REPORT.undecided in undecided.picture
    assert undecided.words.endswith(
        "From +0.100 on it would have been found. More than 3 families of placebos "
        "(`usad embed --encoders`) would narrow it."
    )
    assert untestable.picture == ""
    assert untestable.words == "no peers. Add students without it."


@pytest.mark.parametrize(
    ("question", "answer", "evidence", "number"),
    [
        (
            "universal-or-routing",
            "undecided",
            {
                "student minus oracle domain router": {
                    "speech": "-0.010 [-0.100, +0.080], n = 120",
                    "music": "+0.000 [+0.000, +0.000], n = 120",
                },
                "smallest difference that would have been seen": {"speech": 0.09, "music": 0.0},
            },
            (
                "Student minus oracle domain router: speech -0.010 [-0.100, +0.080], n = 120; music "
                "+0.000 [+0.000, +0.000], n = 120. A difference of 0.09 would have been seen in "
                "speech; more labelled clips narrow it."
            ),
        ),
        (
            "general-or-mixture",
            "mostly mixture",
            {
                "gain over the mixture on unseen domains": "not measured",
                "explained share": {"speech": "+0.95, no interval, n = 90"},
                "smallest difference that would have been seen": {"speech": 0.09},
            },
            "Explained share: speech +0.95, no interval, n = 90.",
        ),
        ("falsified", "undecided", {}, ""),
    ],
)
def test_a_card_says_the_number_that_its_answer_rests_on(
    question: str, answer: str, evidence: dict[str, object], number: str
) -> None:
    verdict = Verdict(question=question, verdict=answer, rule="r", evidence=evidence)  # type: ignore[arg-type]
    card = verdict_card(verdict)
    assert card.number == number and card.answers == ()
