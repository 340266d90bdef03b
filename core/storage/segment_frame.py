"""Segments as a data frame with all that is known of them: what notebooks and other tools get."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa

from usad_workbench.core.errors import UnknownNameError, did_you_mean
from usad_workbench.core.storage.annotations import tag_counts
from usad_workbench.core.storage.schema import quote
from usad_workbench.core.storage.segment_table import Ids, SegmentTable
from usad_workbench.core.storage.selection import (
    Clause,
    Selection,
    Tagged,
    parse_selection,
    selected,
)
from usad_workbench.core.storage.space_names import MapName, SpaceName
from usad_workbench.core.storage.workspace import Workspace

FIRST = ("segment_id", "clip_id", "path", "label", "domain", "dataset", "cluster_id")
OURS = re.compile(r"tags|note|x|y|encoder|layer|vector|v\d+|neighbors")
"""Columns that stand beside those of clips here and in exports."""
ADDRESS_KEY = "select"
METHODS = ("umap", "pca")
"""Of maps, the preferred first."""


def selection_of(workspace: Workspace, name: str) -> Selection:
    """The selection that a name of the app means.

    Args:
        workspace: Whose tags are looked up.
        name: A link that the app copied, the JSON of a selection, or a tag.

    Raises:
        UnknownNameError: a name that is no tag of the workspace.
        ConfigError: a selection that is not understood.
    """
    text = name.strip()
    tags = tag_counts(workspace)
    if text in tags:  # first: a tag may be called "[draft]"
        return (Clause(Tagged(tag=text)),)
    if text.startswith("["):
        return parse_selection(text)
    asked = parse_qs(urlsplit(text).query)
    if ADDRESS_KEY in asked:
        return parse_selection(asked[ADDRESS_KEY][0])
    raise UnknownNameError(
        f"The workspace has no tag {text!r}. {did_you_mean(text, tags)} Expected a tag, a link "
        f"of the app with {ADDRESS_KEY}=, or the JSON of a selection."
    )


def selected_segments(workspace: Workspace, selection: Selection) -> Ids:
    """The segments of a selection, ascending."""
    table = SegmentTable(workspace)
    return np.sort(table.segment_ids[selected(selection, table)])


def selection(workspace: Workspace, name: str, space: str | None = None) -> pd.DataFrame:
    """The segments of a selection of the app, with all that is known of them: ``segment_frame``.

    Args:
        workspace: Where it was made.
        name: A tag, a link that the app copied, or the JSON of a selection.
        space: Adds where they are on its map: ``encoder/layer/pooling``.

    Returns:
        A row per segment, by ``segment_id``.

    Raises:
        UnknownNameError: a name that is no tag of the workspace.
        ConfigError: a selection that is not understood.
    """
    chosen = selected_segments(workspace, selection_of(workspace, name))
    return segment_frame(workspace, chosen, SpaceName.parse(space) if space else None)


def segment_frame(
    workspace: Workspace, segment_ids: Ids, space: SpaceName | None = None
) -> pd.DataFrame:
    """Segments with the columns of their clips, their tags and note, and where they are on a map.

    ``path`` is absolute, empty for a clip without audio. ``tags`` is a list, ``note`` a text.

    Args:
        workspace: Where they are.
        segment_ids: Those that are gone are left out.
        space: Adds ``x`` and ``y`` of its map, where it has one; NaN for what it does not hold.

    Returns:
        A row for each, in ascending order.
    """
    chosen = {"segment_id": np.sort(np.asarray(segment_ids, dtype=np.int64))}
    with workspace.database.read() as connection:
        connection.register("asked", pa.table(chosen))
        stored = [name for name, *_ in connection.execute("DESCRIBE segments_of_clips").fetchall()]
        columns = ", ".join(f"s.{quote(k)} AS {quote(v)}" for k, v in renamed(stored).items())
        frame = connection.execute(
            f"SELECT {columns}, coalesce(t.tags, []) AS tags, coalesce(n.note, '') AS note "
            "FROM segments_of_clips s LEFT JOIN "
            "(SELECT segment_id, list(tag ORDER BY tag) AS tags FROM tags GROUP BY 1) t "
            "USING (segment_id) LEFT JOIN notes n USING (segment_id) "
            "WHERE segment_id IN (SELECT segment_id FROM asked) ORDER BY segment_id"
        ).df()
        name = map_of(workspace, space) if space else None
        if name is not None:
            points = connection.execute(
                "SELECT segment_id, x, y FROM projections WHERE encoder = ? AND layer = ? "
                "AND pooling = ? AND method = ? "
                "AND segment_id IN (SELECT segment_id FROM asked)",
                [name.encoder, name.layer, name.pooling, name.method],
            ).df()
            frame = frame.merge(points, on="segment_id", how="left")
        connection.unregister("asked")
    is_file = frame["path"] != ""
    paths = [str(workspace.audio_path(path)) for path in frame["path"]]
    frame["path"] = np.where(is_file, paths, "")
    frame["tags"] = [list(tags) for tags in frame["tags"]]
    return frame[[*FIRST, *(one for one in frame if one not in FIRST)]]


def renamed(columns: Sequence[str]) -> dict[str, str]:
    """The names of clips' columns, others where they are ours.

    >>> renamed(["label", "tags", "clip_tags", "encoder"])
    {'label': 'label', 'tags': 'clip_clip_tags', 'clip_tags': 'clip_tags', 'encoder': 'clip_encoder'}
    """
    names: dict[str, str] = {}
    for column in columns:
        name = column
        while OURS.fullmatch(name) or (name != column and name in columns):
            name = f"clip_{name}"
        names[column] = name
    return names


def map_of(workspace: Workspace, space: SpaceName) -> MapName | None:
    """The map of a space, UMAP before PCA; none where it has none."""
    maps = workspace.read(
        "SELECT method FROM projection_quality WHERE encoder = ? AND layer = ? AND pooling = ?",
        [space.encoder, space.layer, space.pooling],
    )["method"].tolist()
    ranked = sorted(maps, key=_preference)
    if not ranked:
        return None
    return MapName(space.encoder, space.layer, space.pooling, ranked[0])


def _preference(method: str) -> tuple[int, str]:
    """The place of a map among others of its space: by method, then the usual settings first."""
    kind = method.partition(":")[0]
    return (METHODS.index(kind) if kind in METHODS else len(METHODS)), method


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as a CSV file takes it: lists of tags become one text.

    >>> flat(pd.DataFrame({"tags": [["a", "b"], []]}))["tags"].tolist()
    ['a, b', '']
    """
    changes: Mapping[str, list[str]] = {"tags": [", ".join(tags) for tags in frame["tags"]]}
    return frame.assign(**changes)
