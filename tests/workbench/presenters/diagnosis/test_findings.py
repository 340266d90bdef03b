"""What is shown first of a diagnosis: an answer for each teacher and domain."""

import math

import pandas as pd

from usad_workbench.workbench.presenters.diagnosis.findings import findings


def cell(teacher: str, domain: str, inherited: str, **changed: object) -> dict[str, object]:
    return {
        "teacher": teacher,
        "domain": domain,
        "inherited": inherited,
        "measure": "debiased_linear_cka",
        "excess": 0.1,
        "ci_low": 0.05,
        "ci_high": 0.15,
        "p_value": 0.5,
        "placebos": {"q": 0.02, "r": -0.01},
        "carrier": None,
        "excess_after_erasure": math.nan,
        "is_home": False,
        "n_clips": 90,
        "n_clusters": 12,
        "reason": "",
    } | changed


ROWS = pd.DataFrame(
    [
        cell("a", "speech", "undecided", ci_high=0.4),
        cell("a", "speech", "no", ci_high=0.9),
        cell("a", "sound", "undecided"),
        cell("a", "sound", "yes", p_value=0.02, excess=0.3),
        cell("a", "sound", "yes", p_value=0.001, excess=0.2, is_home=True),
        cell(
            "b", "speech", "through loudness_db", carrier="loudness_db", excess_after_erasure=0.01
        ),
        cell("b", "sound", "no", ci_high=0.02, is_home=True),
        cell("b", "sound", "no", ci_high=0.01, is_home=True),
        cell("b", "sound", "no", ci_high=0.7, is_home=True, measure="partial_linear_cka"),
        cell("c", "sound", "not testable", excess=math.nan, reason="one family; more"),
        cell("d", "sound", "not testable", reason="accuracies do not match; more"),
    ]
)


def test_each_pair_has_one_answer_and_what_was_found_is_first() -> None:
    found = findings(ROWS)
    assert [(one.teacher, one.domain, one.answer) for one in found] == [
        ("a", "sound", "inherited"),
        ("b", "speech", "nearer through loudness_db"),
        ("b", "sound", "nothing taken"),
        ("a", "speech", "undecided"),
        ("c", "sound", "not testable"),
        ("d", "sound", "not testable"),
    ]


def test_the_row_behind_an_answer_is_the_clearest_yes_or_the_least_certain_no() -> None:
    at = {(one.teacher, one.domain): one.at for one in findings(ROWS)}
    assert at["a", "sound"] == 4 and at["b", "sound"] == 6 and at["a", "speech"] == 0


def test_words_have_interval_placebos_and_n() -> None:
    words = {(one.teacher, one.domain): one.words for one in findings(ROWS)}
    assert words["a", "sound"] == (
        "excess +0.200 [+0.050, +0.150], placebos -0.010 to +0.020, n = 90 clips in 12 clusters"
    )
    assert "+0.010 once loudness_db is erased" in words["b", "speech"]
    assert words["c", "sound"] == "one family"
    assert words["d", "sound"] == "accuracies do not match"  # its excess is not what it says


def test_a_document_without_numbers_reads_alike() -> None:
    """Where JSON has null in place of what is not finite."""
    rows = ROWS.astype(object).where(ROWS.notna(), None)
    numbers = ["excess", "ci_low", "ci_high", "p_value"]
    again = findings(rows.astype(dict.fromkeys(numbers, float)))
    assert [(one.teacher, one.domain, one.words) for one in again] == [
        (one.teacher, one.domain, one.words) for one in findings(ROWS)
    ]
