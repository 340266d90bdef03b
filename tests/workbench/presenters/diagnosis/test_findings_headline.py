"""The sentence of the first screen: what it says of each answer, and the number behind it."""

import pandas as pd
import pytest

from usad_workbench.workbench.presenters.diagnosis.findings import (
    describe_headline,
    findings,
    headline,
)

ROW = {
    "teacher": "aisfx",
    "domain": "sound",
    "layer": 8,
    "measure": "partial_linear_cka",
    "inherited": "yes",
    "excess": 0.472,
    "ci_low": 0.251,
    "ci_high": 0.693,
    "p_value": 0.001,
    "is_home": True,
    "placebos": {"a": -0.087, "b": 0.162},
    "peers": ["p", "q"],
    "carrier": None,
    "excess_after_erasure": None,
    "n_clips": 224,
    "n_clusters": 108,
    "reason": None,
}


def _of(**changed: object) -> list[object]:
    return list(findings(pd.DataFrame([ROW | changed])))


@pytest.mark.parametrize(
    ("inherited", "words"),
    [
        ("yes", "In sound, the student took its geometry from aisfx."),
        ("through loudness_db", "In sound, the student is nearer to aisfx, through loudness_db."),
        ("undecided", "What the student has of its teachers is not decided yet."),
        ("no", "The student took nothing from its teachers that would matter."),
        ("not testable", "What the student has of its teachers cannot be tested yet."),
    ],
)
def test_each_answer_has_its_sentence(inherited: str, words: str) -> None:
    assert headline(_of(inherited=inherited), {}) == words  # type: ignore[arg-type]


def test_the_number_has_its_interval_its_n_and_its_placebos() -> None:
    said = describe_headline(_of())  # type: ignore[arg-type]
    assert "+0.47 [+0.25, +0.69] in partial linear CKA at layer 8" in said
    assert "over 2 students of the same recipe without this teacher" in said
    assert "n = 224 clips in 108 clusters" in said
    assert "2 encoders that taught nobody reach +0.16 at most" in said


def test_without_a_finding_the_largest_excess_is_named() -> None:
    said = describe_headline(_of(inherited="undecided"))  # type: ignore[arg-type]
    assert said.startswith("The largest excess, aisfx in sound: +0.47")
