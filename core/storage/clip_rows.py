"""New clips with their segments, as columns: a thousand of an import of audio or a million at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from usad_workbench.core.storage.clip_fields import add_columns
from usad_workbench.core.storage.domains import settled_domains
from usad_workbench.core.storage.schema import quote
from usad_workbench.core.storage.segment_ids import next_segment_id
from usad_workbench.core.storage.segments import Segmentation
from usad_workbench.core.storage.workspace import Workspace


def insert_clips(workspace: Workspace, rows: Sequence[dict[str, object]]) -> int:
    """Adds clips and their segments in one transaction; returns how many were new.

    A clip without ``duration_s`` is one segment: it has no audio to cut.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    return insert_table(
        workspace, pa.table({name: [row.get(name) for row in rows] for name in names})
    )


def insert_table(workspace: Workspace, clips: pa.Table) -> int:
    """``insert_clips`` by columns.

    Args:
        workspace: Where to.
        clips: A row for each clip; columns that ``clips`` of the workspace lacks are added.
    """
    if not len(clips):
        return 0
    segmentation = workspace.segmentation
    with workspace.database.write() as connection:
        connection.register("new_clips", clips)
        there = connection.sql("SELECT n.clip_id FROM new_clips n SEMI JOIN clips USING (clip_id)")
        known = there.to_arrow_table()["clip_id"]
        if len(known):
            clips = clips.filter(pc.invert(pc.is_in(clips["clip_id"], value_set=known)))
        present = connection.execute("SELECT DISTINCT domain FROM clips").fetchall()
        clips = _with_settled_domains(clips, [name for (name,) in present])
        segments = _segments_of(clips, segmentation, next_segment_id(connection))
        add_columns(connection, clips.column_names)
        connection.register("new_clips", clips)
        columns = ", ".join(map(quote, clips.column_names))
        connection.execute(f"INSERT INTO clips ({columns}) SELECT {columns} FROM new_clips")
        connection.register("new_segments", segments)
        connection.execute(
            "INSERT INTO segments BY NAME SELECT *, ? AS segmentation FROM new_segments",
            [segmentation.name],
        )
    return len(clips)


def _with_settled_domains(clips: pa.Table, present: Sequence[str]) -> pa.Table:
    """The clips with domains written as those that are there, or as each other's."""
    found = pc.unique(clips["domain"])
    settled = settled_domains(found.to_pylist(), present)
    names = pa.array([settled[name] for name in found.to_pylist()], pa.string())
    place = clips.column_names.index("domain")
    return clips.set_column(place, "domain", names.take(pc.index_in(clips["domain"], found)))


def _segments_of(clips: pa.Table, segmentation: Segmentation, first_id: int) -> pa.Table:
    """The segments of clips, numbered in the order of these."""
    durations_s: Any = np.zeros(len(clips))
    if "duration_s" in clips.column_names:
        durations_s = pc.fill_null(clips["duration_s"].cast(pa.float64()), 0.0).to_numpy()
    different_s, which = np.unique(durations_s, return_inverse=True)
    cuts = [np.array(segmentation.cut(float(one)), dtype=np.float64) for one in different_s]
    n_of_cut = np.array([len(cut) for cut in cuts], dtype=np.int64)
    n_of_clip = n_of_cut[which]
    clip = np.repeat(np.arange(len(clips)), n_of_clip)
    within = np.arange(len(clip)) - np.repeat(np.cumsum(n_of_clip) - n_of_clip, n_of_clip)
    rows = (np.cumsum(n_of_cut) - n_of_cut)[which][clip] + within
    times_s = np.concatenate([np.empty((0, 2)), *cuts])[rows]
    is_one_each = len(clip) == len(clips)
    return pa.table(
        {
            "segment_id": first_id + np.arange(len(clip)),
            "clip_id": clips["clip_id"] if is_one_each else clips["clip_id"].take(pa.array(clip)),
            "start_s": times_s[:, 0],
            "end_s": times_s[:, 1],
        }
    )
