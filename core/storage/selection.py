"""A selection of segments: clauses that are joined by AND, never a list of what they select.

It is written as JSON, which stands in the address of the app:

    [{"polygon": [[0.1, 0.1], [0.5, 0.1], [0.3, 0.6]], "map": "usad-demo/8/mean/umap"},
     {"column": "domain", "in": ["speech"]},
     {"column": "duration_s", "between": [0.1, 4.0], "not": true}]

Corners of polygons are in the square around the map, from 0 to 1. What is not understood is
refused: a clause that were left out would select more than was asked for.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.polygons import inside_polygon
from usad_workbench.core.storage.segment_table import (
    NO_CODE,
    NO_ROW,
    NOT_ON_MAP,
    SPAN,
    Categories,
    Column,
    Ids,
    MapPoints,
    Numbers,
    Rows,
)
from usad_workbench.core.storage.space_names import MapName, SpaceName

Mask = npt.NDArray[np.bool_]
MAX_TEXT = 100_000
"""Characters of a selection."""
MAX_CLAUSES = 32
MAX_SEGMENTS = 10_000
"""That a selection may name one by one."""
MAX_NEAR = 10_000
MAX_WHOLE = 1 << 1000
"""Beyond, a whole number is no floating-point number any more."""


class Segments(Protocol):
    """What a selection is evaluated over: ``SegmentTable``, or one that remembers its columns."""

    def __len__(self) -> int:
        """How many rows there are."""

    def rows_of(self, segment_ids: Ids) -> Rows:
        """The row of each segment, ``NO_ROW`` for one that is not there."""

    def points(self, name: MapName) -> MapPoints:
        """Where the segments lie on a map."""

    def column(self, name: str) -> Column:
        """A column by name."""

    def with_words(self, words: Sequence[str]) -> Ids:
        """The segments in whose texts all words stand, in capitals or not."""

    def tagged(self, tag: str) -> Ids:
        """The segments that have a tag."""

    def near(self, segment_id: int, space: SpaceName, k: int) -> Ids:
        """The k nearest segments to one in a space, itself among them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Polygon:
    """Inside of what was drawn on a map."""

    corners: tuple[tuple[float, float], ...]
    map: MapName

    def mask(self, segments: Segments) -> Mask:
        """Which rows fulfil it."""
        points = segments.points(self.map)
        is_there = points.x != NOT_ON_MAP
        u, v = (axis.astype(np.float64) / SPAN for axis in (points.x, points.y))
        mask: Mask = inside_polygon(u, v, self.corners) & is_there
        return mask


@dataclass(frozen=True, kw_only=True, slots=True)
class Among:
    """One of some values in a column of names; ``None`` is no value."""

    column: str
    values: tuple[str | None, ...]

    def mask(self, segments: Segments) -> Mask:
        """Which rows fulfil it."""
        column = segments.column(self.column)
        if not isinstance(column, Categories):
            raise ConfigError(f'The column {self.column!r} holds numbers: use "between".')
        places = {value: place for place, value in enumerate(column.values)}
        is_chosen = np.zeros(len(column.values) + 1, dtype=bool)
        for value in self.values:
            if value is None:
                is_chosen[NO_CODE] = True  # the last
            elif value in places:
                is_chosen[places[value]] = True
        chosen: Mask = np.take(is_chosen, column.codes, mode="wrap")
        return chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Between:
    """Numbers of a column from one to another, both ends included."""

    column: str
    low: float
    high: float

    def mask(self, segments: Segments) -> Mask:
        """Which rows fulfil it."""
        column = segments.column(self.column)
        if not isinstance(column, Numbers):
            raise ConfigError(f'The column {self.column!r} holds names: use "in".')
        return (column.values >= self.low) & (column.values <= self.high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """With words in the texts of a clip, such as its name and label."""

    words: tuple[str, ...]

    def mask(self, segments: Segments) -> Mask:
        """Which rows fulfil it."""
        return _mask_of(segments, segments.with_words(self.words))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tagged:
    """With a tag that somebody gave."""

    tag: str

    def mask(self, segments: Segments) -> Mask:
        """Which rows fulfil it."""
        return _mask_of(segments, segments.tagged(self.tag))


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """Chosen one by one; those that are gone are left out."""

    segment_ids: tuple[int, ...]

    def mask(self, segments: Segments) -> Mask:
        """Which rows fulfil it."""
        return _mask_of(segments, np.array(self.segment_ids, dtype=np.int64))


@dataclass(frozen=True, kw_only=True, slots=True)
class Near:
    """The nearest of a segment in a space."""

    segment_id: int
    space: SpaceName
    k: int

    def mask(self, segments: Segments) -> Mask:
        """Which rows fulfil it."""
        return _mask_of(segments, segments.near(self.segment_id, self.space, self.k))


Condition = Polygon | Among | Between | Words | Tagged | Named | Near


@dataclass(frozen=True, slots=True)
class Clause:
    """A condition, or its contrary."""

    condition: Condition
    is_negated: bool = False

    @property
    def is_lasting(self) -> bool:
        """Whether it holds the same for as long as segments and clips stay what they are."""
        return not isinstance(self.condition, Tagged | Near)

    @property
    def column(self) -> str | None:
        """The column that it is about, if any."""
        return self.condition.column if isinstance(self.condition, Among | Between) else None

    def mask(self, segments: Segments) -> Mask:
        """Which rows fulfil it, shape [row]."""
        mask = self.condition.mask(segments)
        return ~mask if self.is_negated else mask


Selection = tuple[Clause, ...]
"""All clauses hold; with none, everything is selected."""


def selected(selection: Selection, segments: Segments) -> Mask:
    """Which rows a selection holds, shape [row]."""
    mask = np.ones(len(segments), dtype=bool)
    for clause in selection:
        mask &= clause.mask(segments)
    return mask


def parse_selection(text: str) -> Selection:
    """A selection from its JSON.

    Raises:
        ConfigError: what is no selection; the message says which part.

    >>> parse_selection('[{"column": "domain", "in": ["speech"], "not": true}]')
    (Clause(condition=Among(column='domain', values=('speech',)), is_negated=True),)
    >>> parse_selection("[]")
    ()
    """
    if len(text) > MAX_TEXT:
        raise ConfigError(f"The selection has {len(text):,} characters, at most {MAX_TEXT:,}.")
    try:
        clauses = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The selection is no JSON: {error}. {EXPECTED}") from error
    if not isinstance(clauses, list) or len(clauses) > MAX_CLAUSES:
        raise ConfigError(f"The selection is no list of at most {MAX_CLAUSES} clauses. {EXPECTED}")
    return tuple(_clause(clause) for clause in clauses)


EXPECTED = (
    'Expected a JSON list of clauses such as {"column": "domain", "in": ["speech"]}; [] selects '
    "everything."
)


def _clause(clause: object) -> Clause:
    if not isinstance(clause, dict):
        raise ConfigError(f"The clause {_shown(clause)} is no JSON object. {EXPECTED}")
    keys = {key for key in clause if key != "not"}
    is_negated = clause.get("not", False)
    for names, read in _READERS.items():
        if keys == set(names) and isinstance(is_negated, bool):
            condition = read(clause)
            if condition is not None:
                return Clause(condition, is_negated)
    known = "; ".join(" and ".join(names) for names in _READERS)
    raise ConfigError(
        f"The clause {_shown(clause)} was not understood. Expected one of these sets of keys, each "
        f'with values of its kind: {known}; and "not": true for the contrary.'
    )


def _polygon(clause: Mapping[str, Any]) -> Polygon | None:
    corners, name = clause["polygon"], clause["map"]
    if not isinstance(corners, list) or not isinstance(name, str):
        return None
    if not all(isinstance(corner, list) and len(corner) == 2 for corner in corners):
        return None
    if not all(_is_number(value) for corner in corners for value in corner):
        return None
    if len(corners) < 3:
        raise ConfigError(f"Found a polygon of {len(corners)} corners, expected three or more.")
    return Polygon(corners=tuple((float(x), float(y)) for x, y in corners), map=MapName.parse(name))


def _among(clause: Mapping[str, Any]) -> Among | None:
    values = clause["in"]
    is_read = isinstance(values, list) and all(isinstance(v, str | None) for v in values)
    if not is_read or not isinstance(clause["column"], str):
        return None
    return Among(column=clause["column"], values=tuple(values))


def _between(clause: Mapping[str, Any]) -> Between | None:
    limits = clause["between"]
    is_read = isinstance(limits, list) and len(limits) == 2 and all(map(_is_number, limits))
    if not is_read or not isinstance(clause["column"], str):
        return None
    return Between(column=clause["column"], low=float(limits[0]), high=float(limits[1]))


def _words(clause: Mapping[str, Any]) -> Words | None:
    text = clause["text"]
    return Words(words=tuple(text.split())) if isinstance(text, str) else None


def _tagged(clause: Mapping[str, Any]) -> Tagged | None:
    return Tagged(tag=clause["tag"]) if isinstance(clause["tag"], str) else None


def _named(clause: Mapping[str, Any]) -> Named | None:
    ids = clause["segments"]
    if not isinstance(ids, list) or len(ids) > MAX_SEGMENTS or not all(map(_is_id, ids)):
        return None
    return Named(segment_ids=tuple(ids))


def _near(clause: Mapping[str, Any]) -> Near | None:
    segment, space, k = clause["near"], clause["space"], clause["k"]
    is_read = _is_id(segment) and isinstance(space, str) and _is_id(k) and 1 <= k <= MAX_NEAR
    return Near(segment_id=segment, space=SpaceName.parse(space), k=k) if is_read else None


_READERS: dict[tuple[str, ...], Callable[[Mapping[str, Any]], Condition | None]] = {
    ("polygon", "map"): _polygon,
    ("column", "in"): _among,
    ("column", "between"): _between,
    ("text",): _words,
    ("tag",): _tagged,
    ("segments",): _named,
    ("near", "space", "k"): _near,
}


def _is_number(value: object) -> bool:
    if type(value) is int:
        return abs(value) < MAX_WHOLE
    return type(value) is float and math.isfinite(value)


def _is_id(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _mask_of(segments: Segments, segment_ids: Ids) -> Mask:
    mask = np.zeros(len(segments), dtype=bool)
    rows = segments.rows_of(segment_ids)
    mask[rows[rows != NO_ROW]] = True
    return mask
