"""What the collection holds, and what a selection holds of it."""

from typing import Any

from usad_workbench.core.storage.segment_table import Categories, MapName
from usad_workbench.core.storage.selection import Selection
from usad_workbench.workbench.instrument.collection import SpaceName, View
from usad_workbench.workbench.instrument.facets import Binned, binned, facet, without_column
from usad_workbench.workbench.presenters.maps import describe_faithfulness, faithfulness
from usad_workbench.workbench.presenters.names import encoder_names, short_name


def describe(view: View) -> dict[str, Any]:
    """The collection: its columns, spaces and maps, and how many segments there are."""
    workspace = view.workspace
    with workspace.database.read():  # all of one moment
        clips = workspace.read("SELECT count(*) AS n, sum(duration_s) AS s FROM clips").iloc[0]
        spaces = workspace.read(
            "SELECT s.encoder, s.layer, s.pooling, s.n, e.role, e.domain FROM spaces s "
            "JOIN encoders e USING (encoder) WHERE s.n > 0 "
            "ORDER BY e.role <> 'student', e.role <> 'teacher', s.encoder, s.pooling, s.layer"
        )
        maps = workspace.read(
            "SELECT * FROM projection_quality ORDER BY encoder, pooling, method DESC, layer"
        )
        names = encoder_names(workspace.read)
    return {
        "version": view.version,
        "name": workspace.folder.name,
        "n_segments": len(view),
        "n_clips": int(clips["n"]),
        "duration_s": float(clips["s"] or 0),
        "columns": [
            {
                "name": column.name,
                "kind": "category" if isinstance(column, Categories) else "number",
                "n_distinct": len(column.values) if isinstance(column, Categories) else None,
            }
            for column in view.columns()
        ],
        "spaces": [
            {
                "space": str(SpaceName(encoder=row.encoder, layer=row.layer, pooling=row.pooling)),
                "name": short_name(row.encoder, names),
                **row._asdict(),
            }
            for row in spaces.itertuples(index=False)
        ],
        "maps": [
            {
                "map": str(MapName(row.encoder, row.layer, row.pooling, row.method)),
                "space": str(SpaceName(encoder=row.encoder, layer=row.layer, pooling=row.pooling)),
                "encoder": row.encoder,
                "layer": row.layer,
                "pooling": row.pooling,
                "method": row.method,
                "n": row.n,
                "trustworthiness": row.trustworthiness,
                "n_judged": row.n_judged,
                "said": describe_faithfulness(
                    faithfulness(
                        maps[maps["encoder"] == row.encoder], row.layer, row.pooling, row.method
                    )
                ),
                "aligned": None,
            }
            for row in maps.itertuples(index=False)
        ],
        "tags": [],
    }


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
