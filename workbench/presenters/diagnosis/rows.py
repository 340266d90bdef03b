"""The rows of a panel: what each is about, whether it stands out, which cell it is."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from usad_workbench.core.diagnosis.panel import Panel, cell_name
from usad_workbench.core.diagnosis.verdicts import limit_at
from usad_workbench.workbench.presenters.diagnosis.views import ANSWERS, SHOWN, PanelView
from usad_workbench.workbench.presenters.headings import heading
from usad_workbench.workbench.presenters.numbers import (
    as_number,
    count,
    interval,
    is_missing,
    number,
)
from usad_workbench.workbench.presenters.text import shorten

ALL = "all"
MAX_REASONS = 6
_NUMBER, _GAP = re.compile(r"[+-]?\d+\.\d+"), "\0"
"""Numbers in a reason, and what stands for them while reasons are counted."""
INFLUENCE = {
    "jackknife": "what the value loses when the clip's cluster is left out",
    "overlap": "the clip's own value, such as the share of its neighbours in common",
    "attribution": "the clip's own part of the value",
    "error": "the part of the clip in errors or confusions",
    "displacement": "how far the clip moves when it is changed",
    "hub": "how often the clip is a neighbour of others",
    "hubness": "how often the clip is a neighbour of others",
    "leakage": "the share of the clip's neighbours that are of other domains",
}
"""What the influence of a clip on a cell is, by the kind of drivers."""
TESTS = (("p_value", "p"), ("q_value", "q"))
SMALL_P = 0.001
HIDDEN = ("student", "selection", "fingerprint")
Row = Mapping[Any, Any]


def frame_of(panel: Panel) -> pd.DataFrame:
    """The rows of a panel as a table with its columns, empty ones included."""
    return pd.DataFrame(panel.documents(), columns=list(panel.columns))


def visible(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that say something: not the diagnosis' own key, not empty ones."""
    kept = [
        name
        for name in frame
        if name not in HIDDEN and (frame[name].notna() & (frame[name].astype(str) != "")).any()
    ]
    return frame[kept]


def key_columns(frame: pd.DataFrame, view: PanelView) -> list[str]:
    """Columns that together say what a row is about: names, settings, layers."""
    wanted = [
        view.series,
        *view.series_more,
        *view.facets,
        *view.choices,
        "layer",
        "student_layer",
        "teacher_layer",
    ]
    return [name for name in dict.fromkeys(wanted) if name in frame]


def of_view(frame: pd.DataFrame, view: PanelView) -> pd.DataFrame:
    """The rows that a view shows."""
    if view.where is None or view.where[0] not in frame:
        return frame
    return frame[frame[view.where[0]] == view.where[1]]


def choices_of(frame: pd.DataFrame, view: PanelView) -> dict[str, list[str]]:
    """Columns of which a figure draws one value at a time, values with numbers first.

    >>> from usad_workbench.workbench.presenters.diagnosis.views import PanelView
    >>> view = PanelView(title="", value="v", axis="", choices=("form",))
    >>> choices_of(pd.DataFrame({"form": ["none", "real"], "v": [None, .2]}), view)
    {'form': ['real', 'none']}
    """
    choices = {}
    for name in view.choices:
        values = [str(value) for value in frame[name].dropna().unique()] if name in frame else []
        if len(values) > 1:
            has_number = frame[view.value].notna() if view.value in frame else [False] * len(frame)
            drawn = set(frame[name][has_number].astype(str))
            choices[name] = sorted(values, key=lambda value: value not in drawn)
    return choices


def reason_lines(frame: pd.DataFrame) -> list[str]:
    """Why numbers or intervals are missing, most frequent first; alike but for numbers, as one.

    >>> reason_lines(pd.DataFrame({"reason": ["off by +0.06", "", "off by -0.10", "few", None]}))
    ['2 rows: off by -0.10 to +0.06', '1 row: few']
    """
    if "reason" not in frame:
        return []
    alike: dict[str, list[list[str]]] = {}
    for reason in filter(None, map(str, frame["reason"].dropna())):
        alike.setdefault(_NUMBER.sub(_GAP, reason), []).append(_NUMBER.findall(reason))
    frequent_first = sorted(alike.items(), key=lambda item: -len(item[1]))
    lines = [f"{count(len(rows), 'row')}: {_filled(words, rows)}" for words, rows in frequent_first]
    more = len(lines) - MAX_REASONS
    rest = [f"{count(more, 'other reason')}, in the table"] if more > 0 else []
    return [*lines[:MAX_REASONS], *rest]


def _filled(words: str, rows: Sequence[Sequence[str]]) -> str:
    """The words with the range of each of their numbers."""
    for numbers in zip(*rows, strict=True):
        low, high = min(numbers, key=float), max(numbers, key=float)
        words = words.replace(_GAP, low if low == high else f"{low} to {high}", 1)
    return words


def chosen(frame: pd.DataFrame, choice: Mapping[str, str]) -> pd.DataFrame:
    """The rows with the chosen values; those that have none in a column stay.

    >>> chosen(pd.DataFrame({"a": ["x", "y", None]}), {"a": "x"}).index.tolist()
    [0, 2]
    """
    for name, value in choice.items():
        frame = frame[frame[name].isna() | (frame[name].astype(str) == value)]
    return frame


def facet_title(row: Row, columns: Sequence[str]) -> str:
    """The title of the facet that a row belongs to."""
    values = [ALL if is_missing(row[name]) else str(row[name]) for name in columns]
    return " · ".join(values) or ALL


def number_in(row: Row, column: str) -> float:
    """The number in a column; NaN where there is none, or where the cell holds many.

    >>> number_in({"value": 0.5}, "value"), number_in({"shares": {"t": 1.0}}, "shares")
    (0.5, nan)
    """
    value = row.get(column)
    return math.nan if isinstance(value, (Mapping, list, tuple)) else as_number(value)


def layer_of(row: Row) -> int | None:
    """The layer that a row is about, if it is about one."""
    for name in ("layer", "student_layer"):
        layer = number_in(row, name)
        if math.isfinite(layer):
            return int(layer)
    return None


def reference_of(row: Row, view: PanelView) -> float:
    """The level of no effect for a row; NaN where it has none."""
    if isinstance(view.reference, str):
        return number_in(row, view.reference)
    return math.nan if view.reference is None else view.reference


def stands_out(row: Row, view: PanelView) -> bool:
    """Whether a row differs from no effect: by its own verdict, its q-value, or its interval.

    A row that could not be tested does not stand out, wherever its interval lies: with one
    control that is an interval over clips, not over encoders. Intervals, at the level of the
    diagnosis, decide only in a panel that has no q-values at all.

    >>> from usad_workbench.workbench.presenters.diagnosis.views import PanelView
    >>> view = PanelView(title="", value="v", axis="")
    >>> stands_out({"v": .2, "q_value": .01}, view), stands_out({"v": .2}, view)
    (True, False)
    """
    if math.isnan(number_in(row, view.value)):
        return False
    for answer in ANSWERS:
        if not is_missing(row.get(answer)):
            return str(row[answer]) in SHOWN
    if "q_value" in row:
        return number_in(row, "q_value") <= view.alpha
    value, reference = number_in(row, view.value), reference_of(row, view)
    low, high = (
        limit_at(value, number_in(row, side), view.alpha) for side in (view.low, view.high)
    )
    return bool(math.isfinite(low + high) and (low > reference or high < reference))


def describe_n(row: Row) -> str:
    """How many clips and clusters are behind a row.

    >>> describe_n({"n_clips": 90, "n_clusters": 30})
    'n = 90 clips, 30 clusters'
    """
    names = (
        ("n_clips", "clip"),
        ("n_test", "test clip"),
        ("n_clusters", "cluster"),
        ("n_groups", "group"),
    )
    counts = [(number_in(row, column), noun) for column, noun in names]
    said = ", ".join(count(n, noun) for n, noun in counts if math.isfinite(n))
    return f"n = {said}" if said else "n not said"


def subject(row: Row, keys: Sequence[str]) -> str:
    """What a row is about: the names, settings and layers of its key columns.

    >>> subject({"teacher": "t", "layer": 3, "domain": None}, ["teacher", "domain", "layer"])
    't · layer 3'
    """
    words = []
    for name in keys:
        if is_missing(row.get(name)) or row[name] == "":
            continue
        value = row[name]
        is_count = name.endswith("layer") or name == "k"
        if is_count:
            words.append(f"{heading(name)} {as_number(value):.0f}")
        else:
            words.append(shorten(value, 60))
    return " · ".join(words)


def row_lines(row: Row, view: PanelView, keys: Sequence[str]) -> list[str]:
    """What the pointer shows over a mark: subject, value, interval, test, n, reason."""
    value = number(row.get(view.value), 3)
    limits = interval(number_in(row, view.low), number_in(row, view.high), 3)
    words = heading(view.value) if view.figure == "shares" else view.axis
    tests = [_test(word, number_in(row, column)) for column, word in TESTS]
    tests = [test for test in tests if test]
    reason = row.get("reason")
    return [
        subject(row, keys),
        f"{words}: {value} {limits}",
        *([", ".join(tests)] if tests else []),
        describe_n(row),
        *([str(reason)] if not is_missing(reason) and reason else []),
    ]


def _test(word: str, probability: float) -> str:
    if not math.isfinite(probability):
        return ""
    small = probability < SMALL_P
    return f"{word} < {SMALL_P}" if small else f"{word} = {number(probability, 3)}"


def cells_of_rows(rows: Sequence[Row], cells: Collection[str]) -> list[list[str]]:
    """The cells of each row among those that have clips stored; a row of shares has several.

    A cell is named by columns of its row (``cell_name``), in the panel's order. A name that is no
    column is one of the row's shares.

    >>> cells_of_rows([{"domain": "d", "shares": {"t": 0.5}}], ["domain=d|teacher=t"])
    [['domain=d|teacher=t']]
    """
    stored = set(cells)
    shapes = list(dict.fromkeys(tuple(re.findall(r"(?:^|\|)(\w+)=", cell)) for cell in cells))
    return [
        [
            name
            for name in dict.fromkeys(name for shape in shapes for name in _names(row, shape))
            if name in stored
        ]
        for row in rows
    ]


def _names(row: Row, shape: Sequence[str]) -> list[str]:
    """What a row's cells of one shape would be called."""
    missing = [column for column in shape if column not in row]
    values = {column: _in_cell_name(row[column]) for column in shape if column in row}
    if not missing:
        return [cell_name(**values)]
    shares = [value for value in row.values() if isinstance(value, Mapping)]
    if len(missing) > 1 or not shares:
        return []
    return [
        cell_name(**{column: values.get(column, name) for column in shape}) for name in shares[0]
    ]


def _in_cell_name(value: object) -> object:
    """A value as it stands in a cell's name: whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def extreme_rows(rows: Sequence[Row], view: PanelView, n: int) -> list[int]:
    """Positions of the rows that stand out most, largest first, then the smallest.

    Of rows that differ in layer or measure only, the most extreme one. Where none stands
    out, the one with the largest value alone.
    """
    values = [number_in(row, view.value) for row in rows]
    numbered = [i for i, value in enumerate(values) if math.isfinite(value)]
    ordered = sorted(numbered, key=lambda i: -values[i])
    out = [i for i in ordered if stands_out(rows[i], view)]
    if not out:
        return ordered[:1]
    above = _first_of_each([i for i in out if _above(rows[i], view)], rows, view)
    below = _first_of_each([i for i in reversed(out) if not _above(rows[i], view)], rows, view)
    return [*above[:n], *reversed(below[:n])]


def _first_of_each(order: Sequence[int], rows: Sequence[Row], view: PanelView) -> list[int]:
    """The first of all rows about the same thing."""
    kept: dict[tuple[str, ...], int] = {}
    for i in order:
        kept.setdefault(tuple(str(rows[i].get(n)) for n in (view.series, *view.facets)), i)
    return list(kept.values())


def _above(row: Row, view: PanelView) -> bool:
    reference = reference_of(row, view)
    return number_in(row, view.value) >= (0.0 if math.isnan(reference) else reference)
