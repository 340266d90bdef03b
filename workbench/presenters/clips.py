"""Segments with the columns of their clips, as tables and as typed values."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from usad_workbench.core.storage.schema import literal
from usad_workbench.workbench.presenters.numbers import as_number, is_missing
from usad_workbench.workbench.presenters.sql import Sql

FIRST_COLUMNS = ("clip_id", "label", "domain", "dataset", "cluster_id", "start_s", "end_s")
HIDDEN_COLUMNS = ("audio_sha256", "samples_digest", "segment_id", "x", "y", "segmentation")


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A segment and what is shown of its clip; a text that the clip lacks is empty."""

    segment_id: int
    clip_id: str
    path: str
    """Of the audio file; empty where the clip was imported without audio."""
    domain: str
    dataset: str
    label: str
    start_s: float
    end_s: float


def segment_of(row: Mapping[Hashable, object]) -> Segment:
    """A row of ``segments``, or any other with its columns, as a segment."""
    texts = {
        name: "" if is_missing(row[name]) else str(row[name])
        for name in ("clip_id", "path", "domain", "dataset", "label")
    }
    return Segment(
        segment_id=int(as_number(row["segment_id"])),
        start_s=as_number(row["start_s"]),
        end_s=as_number(row["end_s"]),
        **texts,
    )


def segments(sql: Sql, segment_ids: Sequence[int]) -> pd.DataFrame:
    """Segments with their clips' columns, in the order in which they were asked for."""
    if not len(segment_ids):
        return sql("SELECT * FROM segments_of_clips LIMIT 0")
    wanted = ", ".join(str(int(i)) for i in segment_ids)
    rows = sql(f"SELECT * FROM segments_of_clips WHERE segment_id IN ({wanted})")
    return rows.set_index("segment_id", drop=False).loc[[int(i) for i in segment_ids]]


def column_order(frame: pd.DataFrame) -> list[str]:
    """Columns of a clip table, the telling ones first, the technical ones left out."""
    first = [name for name in FIRST_COLUMNS if name in frame]
    rest = [n for n in frame if n not in first and n not in HIDDEN_COLUMNS]
    filled = [n for n in rest if n != "path" and frame[n].notna().any()]
    return [*first, *filled, *(["path"] if "path" in frame else [])]


def condition(domains: Sequence[str], datasets: Sequence[str] = ()) -> str | None:
    """An SQL condition on ``clips`` for the chosen domains and data sets; none for all.

    >>> condition(["speech", "o'hara"])
    "domain IN ('speech', 'o''hara')"
    """
    conditions = [
        f"{column} IN ({', '.join(literal(value) for value in values)})"
        for column, values in (("domain", domains), ("dataset", datasets))
        if values
    ]
    return " AND ".join(conditions) or None


def distinct(sql: Sql, column: str) -> list[str]:
    """The values of ``domain`` or ``dataset``."""
    rows = sql(f"SELECT DISTINCT {column} AS value FROM clips ORDER BY 1")
    return [str(value) for value in rows["value"]]


def tagged(tag: str) -> str:
    """An SQL condition on ``clips``: those with a segment that has a tag.

    >>> tagged("Ada's")
    "clip_id IN (SELECT clip_id FROM segments JOIN tags USING (segment_id) WHERE tag = 'Ada''s')"
    """
    return (
        "clip_id IN (SELECT clip_id FROM segments JOIN tags USING (segment_id) "
        f"WHERE tag = {literal(tag)})"
    )
