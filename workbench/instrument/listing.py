"""Rows of the table under the map, in words: fetched by id, a page at a time."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.storage.annotations import notes_of, tags_of
from usad_workbench.core.storage.segment_table import NO_ROW, Categories, Ids
from usad_workbench.core.storage.selection import Selection
from usad_workbench.workbench.instrument.collection import View
from usad_workbench.workbench.presenters.clips import HIDDEN_COLUMNS, segments
from usad_workbench.workbench.presenters.numbers import is_missing

Places = npt.NDArray[np.intp]
MAX_LIMIT = 1000


def page(
    view: View, selection: Selection, *, offset: int, limit: int, sort: str, is_down: bool
) -> dict[str, Any]:
    """The rows of a selection from one place on, and how many it has."""
    rows = np.flatnonzero(view.selected(selection))
    if sort:
        keys = sort_keys(view, sort)[rows]
        is_known = ~np.isnan(keys)
        order = np.argsort(np.where(is_known, -keys if is_down else keys, np.inf), kind="stable")
        rows = rows[order]
    return {"n": len(rows), "rows": described(view, rows[offset : offset + limit])}


def sort_keys(view: View, name: str) -> npt.NDArray[np.float64]:
    """A number for each row that sorts like the column, NaN where it has no value.

    Raises:
        UnknownNameError: no such column.
    """
    if name == "clip_id":
        return view.kept("by clip", lambda: _by_clip(view), lambda keys: keys.nbytes)
    if name == "segment_id":
        return view.table.segment_ids.astype(np.float64)
    column = view.column(name)
    if not isinstance(column, Categories):
        return column.values
    by_name = pc.sort_indices(pa.array(column.values, pa.string())).to_numpy()
    places = np.full(len(by_name) + 1, np.nan)  # the last is that of no value
    places[by_name] = np.arange(len(by_name))
    return places[column.codes]


def described(view: View, rows: Places) -> list[dict[str, Any]]:
    """Rows with the columns of their segments and clips, and what people wrote to them."""
    ids = view.table.segment_ids[rows].tolist()
    with view.reading():
        frame = segments(view.workspace.read, ids)
        tags, notes = tags_of(view.workspace, ids), notes_of(view.workspace, ids)
    shown = [name for name in frame if name == "segment_id" or name not in HIDDEN_COLUMNS]
    records = frame[[name for name in shown if name != "path"]].to_dict("records")
    has_audio = (frame["path"] != "").tolist()
    return [
        {
            **{str(name): _cell(value) for name, value in record.items()},
            "row": int(row),
            "has_audio": has,
            "tags": tags.get(segment_id, []),
            "note": asdict(notes[segment_id]) if segment_id in notes else None,
        }
        for segment_id, row, has, record in zip(ids, rows, has_audio, records, strict=True)
    ]


def described_segments(view: View, segment_ids: Sequence[int]) -> list[dict[str, Any]]:
    """The same by the ids of segments.

    Raises:
        UnknownNameError: a segment that is not there.
    """
    return described(view, existing_rows(view, np.array(segment_ids, dtype=np.int64)))


def existing_rows(view: View, segment_ids: Ids) -> Places:
    """The row of each segment.

    Raises:
        UnknownNameError: a segment that is not there.
    """
    rows = view.rows_of(segment_ids)
    gone = segment_ids[rows == NO_ROW]
    if len(gone):
        raise UnknownNameError(
            f"The collection has no segment {int(gone[0])}, or not any more. Choose another."
        )
    return rows


def _by_clip(view: View) -> npt.NDArray[np.float64]:
    with view.reading() as connection:
        ids = connection.execute(
            "SELECT segment_id FROM segments ORDER BY clip_id, start_s, segment_id"
        ).fetchnumpy()["segment_id"]
    keys = np.empty(len(view))
    keys[view.rows_of(np.asarray(ids, np.int64))] = np.arange(len(view))
    return keys


def _cell(value: Any) -> Any:
    return None if is_missing(value) else value
