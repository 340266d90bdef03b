"""Shortcuts: do neighbours share corpus, recorder, loudness, bandwidth or duration?"""

import math
from typing import Any

import numpy as np

from usad_workbench.core.bias.neighbourhoods import centred_neighbours
from usad_workbench.core.bias.shortcuts import neighbour_attribute
from usad_workbench.core.diagnosis.clip_factors import (
    ClipFactor,
    clip_factors,
    content_label,
    spaces_of,
)
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    cell_name,
    most_influential,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import benjamini_hochberg

NAME = "shortcuts"
COLUMNS = {
    "domain": "VARCHAR",
    "encoder": "VARCHAR",
    "layer": "INTEGER",
    "attribute": "VARCHAR",
    "value": "DOUBLE",
    "null": "DOUBLE",
    "excess": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "p_value": "DOUBLE",
    "q_value": "DOUBLE",
    "measure": "VARCHAR",
    "label_column": "VARCHAR",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}
"""The interval is of the excess: value minus null."""

Row = dict[str, Any]


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """One row per domain, space and attribute; drivers: clips that share it most."""
    rows: list[Row] = []
    drivers: list[InfluentialClips] = []
    spaces = spaces_of(data)
    for done, domain in enumerate(data.domains, start=1):
        factors, content = clip_factors(data, domain), content_label(data, domain)
        for encoder, layer in spaces:
            for one in factors:
                row, influence = _row(data, domain, encoder, layer, one, content)
                rows.append(row)
                if influence is not None:
                    cell = cell_name(
                        domain=domain, encoder=encoder, layer=layer, attribute=one.name
                    )
                    ids = data.clips.clip_id.iloc[one.rows].tolist()
                    drivers.append(most_influential(cell, ids, influence, "overlap"))
        progress(done, len(data.domains), NAME)
    q = benjamini_hochberg(np.array([row["p_value"] for row in rows], dtype=np.float64))
    for row, value in zip(rows, q.tolist(), strict=True):
        row["q_value"] = value
    return Panel(name=NAME, columns=COLUMNS, rows=rows, drivers=drivers)


def _row(
    data: DiagnosisData,
    domain: str,
    encoder: str,
    layer: int,
    one: ClipFactor,
    content: tuple[str, list[str]],
) -> tuple[Row, np.ndarray | None]:
    column, labels = content
    clusters = data.clusters(one.rows)
    row: Row = {
        "domain": domain,
        "encoder": encoder,
        "layer": layer,
        "attribute": one.name,
        "value": math.nan,
        "null": math.nan,
        "excess": math.nan,
        "p_value": math.nan,
        "measure": "share",
        "label_column": column,
        "n_clips": len(one.rows),
        "n_clusters": len(set(clusters)),
        "reason": one.reason,
    }
    if one.factor is None:
        return row, None
    places = np.searchsorted(data.rows(domain), one.rows)
    config = data.config
    try:
        near = centred_neighbours(data.vectors(encoder, layer, one.rows), config.k, clusters)
        found = neighbour_attribute(
            near,
            one.factor,
            clusters,
            [labels[i] for i in places],
            n_permutations=config.n_permutations,
            seed=config.seed,
        )
    except (ShapeError, DegenerateError) as error:
        return row | {"reason": str(error)}, None
    reason = found.reason if column else "; ".join(filter(None, ["no content label", found.reason]))
    row |= {
        "value": found.value,
        "null": found.null,
        "excess": found.excess,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "p_value": found.p_value,
        "measure": "correlation" if one.factor.is_continuous else "share",
        "reason": reason,
    }
    return row, found.influence


PANEL = PanelKind(
    name=NAME,
    question="Do neighbours share how they were recorded, beyond what their labels explain?",
    columns=COLUMNS,
    compute=compute,
)
