"""What the collection holds, and what a selection holds of it."""

from collections.abc import Mapping
from typing import Any

from usad_workbench.core.encoders.words import reads_words
from usad_workbench.core.storage.annotations import tag_counts
from usad_workbench.core.storage.segment_table import Categories
from usad_workbench.core.storage.selection import Selection
from usad_workbench.core.storage.space_names import MapName, SpaceName
from usad_workbench.workbench.instrument.collection import View
from usad_workbench.workbench.instrument.facets import Binned, binned, facet, without_column
from usad_workbench.workbench.presenters.maps import (
    available_maps,
    describe_faithfulness,
    faithfulness,
)
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.numbers import is_missing


def describe(view: View) -> dict[str, Any]:
    """The collection: its columns, spaces, maps and tags, and how many segments there are."""
    return view.kept_now("collection", lambda: _described(view), lambda found: len(str(found)))


def tags_in_use(view: View) -> list[dict[str, Any]]:
    """Each tag and how many segments have it."""
    return [{"tag": tag, "n": n} for tag, n in tag_counts(view.workspace).items()]


def _described(view: View) -> dict[str, Any]:
    workspace = view.workspace
    columns = view.columns()
    with view.reading():  # all of one moment
        names = encoder_names(workspace.read)
        clips = workspace.read("SELECT count(*) AS n, sum(duration_s) AS s FROM clips").iloc[0]
        return {
            "version": view.version,
            "name": workspace.folder.name,
            "n_segments": len(view),
            "n_clips": int(clips["n"]),
            "duration_s": 0.0 if is_missing(clips["s"]) else float(clips["s"]),
            "columns": [
                {
                    "name": column.name,
                    "kind": "category" if isinstance(column, Categories) else "number",
                    "n_distinct": len(column.values) if isinstance(column, Categories) else None,
                }
                for column in columns
            ],
            "spaces": _spaces(view, names),
            "maps": _maps(view, names),
            "tags": tags_in_use(view),
        }


def _spaces(view: View, names: Mapping[str, str]) -> list[dict[str, Any]]:
    spaces = view.workspace.read(
        "SELECT s.encoder, s.layer, s.pooling, s.n, e.role, e.domain FROM spaces s "
        "JOIN encoders e USING (encoder) WHERE s.n > 0 ORDER BY e.role <> 'student', "
        "e.role <> 'teacher', s.encoder, s.pooling, s.layer"
    )
    return [
        {
            "space": str(SpaceName(row.encoder, row.layer, row.pooling)),
            "name": short_name(row.encoder, names),
            "reads_words": reads_words(row.encoder, row.pooling),
            **row._asdict(),
        }
        for row in spaces.itertuples(index=False)
    ]


def _maps(view: View, names: Mapping[str, str]) -> list[dict[str, Any]]:
    maps = available_maps(view.workspace.read)
    # Maps of one encoder's layers are turned alike: see ``SegmentTable.points``.
    kinds = list(zip(maps.encoder, maps.pooling, maps.method, strict=True))
    groups = {kind: "/".join(kind) if kinds.count(kind) > 1 else None for kind in kinds}
    return [
        {
            "map": str(MapName(row.encoder, row.layer, row.pooling, row.method)),
            "space": str(SpaceName(row.encoder, row.layer, row.pooling)),
            "name": short_name(row.encoder, names),
            "encoder": row.encoder,
            "layer": row.layer,
            "pooling": row.pooling,
            "method": row.method,
            "n": row.n,
            "trustworthiness": row.trustworthiness,
            "n_judged": row.n_judged,
            "said": describe_faithfulness(
                faithfulness(maps[maps.encoder == row.encoder], row.layer, row.pooling, row.method)
            ),
            "aligned": groups[row.encoder, row.pooling, row.method],
        }
        for row in maps.itertuples(index=False)
    ]


def facets_of(view: View, selection: Selection) -> dict[str, Any]:
    """The counts of every column, over all and over what is selected."""
    columns = view.columns()
    binned_columns = view.kept(
        "binned", lambda: [binned(column) for column in columns], _size_of_all
    )
    n_selected = int(view.selected(selection).sum())
    return {
        "n": len(view),
        "n_selected": n_selected,
        "columns": {
            column.name: facet(column, bins, view.selected(without_column(selection, column.name)))
            for column, bins in zip(columns, binned_columns, strict=True)
        },
    }


def _size_of_all(columns: list[Binned]) -> int:
    return sum(bins.codes.nbytes for bins in columns)
