"""A teacher beside its placebos: everything stands where its number says, on one scale."""

import math
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from usad_workbench.workbench.presenters.diagnosis.findings import Finding
from usad_workbench.workbench.presenters.diagnosis.placebo_strip import (
    DARK,
    LIGHT,
    MIDDLE,
    ROOM,
    WIDTH,
    reach_of,
    strip,
)

ROW = {
    "excess": 0.4,
    "ci_low": 0.2,
    "ci_high": 0.6,
    "over_peers": 0.5,
    "placebos": {"low": -0.1, "none": None, "high": 0.3},
}


def finding(**changes: Any) -> Finding:
    row = {**ROW, **changes}
    return Finding(teacher="t", domain="sound", kind="yes", answer="inherited", at=0, row=row)


def place(value: float, reach: float) -> float:
    return ROOM + (value + reach) / (2 * reach) * (WIDTH - 2 * ROOM)


def test_ticks_dot_and_interval_stand_where_their_numbers_say() -> None:
    one = finding()
    reach = reach_of([one])
    assert reach == pytest.approx(0.7)  # the gain of .5 with the upper half of the interval
    picture, words = strip(one, reach, {"t": "teacher <1>"})
    drawn = ElementTree.fromstring(picture)
    name = "{http://www.w3.org/2000/svg}"
    ticks = [float(tick.get("x", "")) + 1 for tick in drawn.iter(f"{name}rect")]
    assert ticks == pytest.approx([place(-0.1, reach), place(0.3, reach)], abs=0.1)
    (dot,) = drawn.iter(f"{name}circle")
    assert float(dot.get("cx", "")) == pytest.approx(place(0.5, reach), abs=0.1)
    _, interval = drawn.iter(f"{name}line")
    ends = [float(interval.get(end, "")) for end in ("x1", "x2")]
    assert ends == pytest.approx([place(0.3, reach), place(0.7, reach)], abs=0.1)
    assert dot.get("cy") == str(MIDDLE)
    assert words == "teacher <1> gained +0.500, 2 placebos -0.100 to +0.300"


def test_light_and_dark_differ_in_colours_alone() -> None:
    light, dark = (strip(finding(), 1.0, {}, palette)[0] for palette in (LIGHT, DARK))
    assert light != dark
    assert re.sub("#[0-9a-f]{6}", "", light) == re.sub("#[0-9a-f]{6}", "", dark)


@pytest.mark.parametrize(
    "changes",
    [{"placebos": None}, {"placebos": {}}, {"over_peers": math.nan}, {"over_peers": None}],
)
def test_without_numbers_there_is_no_picture(changes: dict[str, Any]) -> None:
    one = finding(**changes)
    assert strip(one, reach_of([one]), {}) == ("", "")


def test_what_is_undecided_says_what_would_have_been_found() -> None:
    one = Finding(
        teacher="t",
        domain="music",
        kind="undecided",
        answer="undecided",
        at=0,
        row={**ROW, "detectable": 0.2},
    )
    assert one.lacking == "From +0.200 on it would have been found."
    assert not finding(detectable=0.2).lacking
