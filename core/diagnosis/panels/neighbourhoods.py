"""Neighbourhoods (D12): hubs, label purity and cross-domain neighbours of each encoder."""

import math
from typing import Any

import numpy as np

from usad_workbench.core.arrays import Indices
from usad_workbench.core.bias.neighbourhoods import (
    Leakage,
    bad_occurrences,
    centred_neighbours,
    expected_purity,
    hubness,
    label_purity,
    leakage,
    mean_interval,
)
from usad_workbench.core.diagnosis.clip_factors import content_label, spaces_of
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

NAME = "neighbourhoods"
SHARES = "MAP(VARCHAR, DOUBLE)"
COLUMNS = {
    "domain": "VARCHAR",
    "encoder": "VARCHAR",
    "layer": "INTEGER",
    "hubness": "DOUBLE",
    "hubness_ci_low": "DOUBLE",
    "hubness_ci_high": "DOUBLE",
    "antihub_share": "DOUBLE",
    "robin_hood": "DOUBLE",
    "max_occurrence": "INTEGER",
    "purity": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "purity_expected": "DOUBLE",
    "bad_hub_share": "DOUBLE",
    "leakage": SHARES,
    "leakage_ci_low": SHARES,
    "leakage_ci_high": SHARES,
    "leakage_expected": SHARES,
    "label_column": "VARCHAR",
    "k": "INTEGER",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}
"""``ci_low`` and ``ci_high`` are of the purity; hubness and leakage have their own."""

Row = dict[str, Any]


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """One row per domain and space; drivers: hubs, and clips whose neighbours are elsewhere."""
    rows: list[Row] = []
    drivers: list[InfluentialClips] = []
    contents = {one: content_label(data, one) for one in data.domains}
    spaces = spaces_of(data)
    for done, (encoder, layer) in enumerate(spaces, start=1):
        leaks = _leakages(data, encoder, layer)
        for domain in data.domains:
            row, clips = _row(data, domain, encoder, layer, contents[domain])
            leak = leaks.get(domain)
            if isinstance(leak, str):
                row["reason"] = row["reason"] or leak
            elif leak is not None:
                row |= _leakage_columns(leak)
                clips["leakage"] = leak.leaking
            rows.append(row)
            cell = cell_name(domain=domain, encoder=encoder, layer=layer)
            ids = data.clips.clip_id.iloc[data.rows(domain)].tolist()
            drivers += [most_influential(cell, ids, values, kind) for kind, values in clips.items()]
        progress(done, len(spaces), NAME)
    return Panel(name=NAME, columns=COLUMNS, rows=rows, drivers=drivers)


def _row(
    data: DiagnosisData, domain: str, encoder: str, layer: int, content: tuple[str, list[str]]
) -> tuple[Row, dict[str, np.ndarray]]:
    where = data.rows(domain)
    x, clusters = data.vectors(encoder, layer, where), data.clusters(where)
    column, labels = content
    k = data.config.k
    row: Row = {
        "domain": domain,
        "encoder": encoder,
        "layer": layer,
        "label_column": column,
        "k": k,
        "hubness": math.nan,
        "purity": math.nan,
        "n_clips": len(where),
        "n_clusters": len(set(clusters)),
        "reason": "",
    }
    try:
        hubs = hubness(x, k, clusters)
    except (ShapeError, DegenerateError) as error:
        return row | {"reason": str(error)}, {}
    row |= {
        "hubness": hubs.skewness,
        "hubness_ci_low": hubs.interval.ci_low,
        "hubness_ci_high": hubs.interval.ci_high,
        "antihub_share": hubs.antihub_share,
        "robin_hood": hubs.robin_hood,
        "max_occurrence": hubs.max_occurrence,
        "reason": hubs.interval.reason,
    }
    clips = {"hub": hubs.occurrences.astype(np.float64)}
    if not column:
        return row | {"reason": "no purity: no label has two clusters or more"}, clips
    try:
        near = centred_neighbours(x, k, clusters)
        purity = mean_interval(label_purity(near, labels), clusters)
        row |= {
            "purity": purity.value,
            "ci_low": purity.ci_low,
            "ci_high": purity.ci_high,
            "purity_expected": expected_purity(labels, clusters),
            "bad_hub_share": float(np.mean(bad_occurrences(near, labels) > k)),
        }
    except (ShapeError, DegenerateError) as error:
        row["reason"] = str(error)
    return row, clips


def _leakages(data: DiagnosisData, encoder: str, layer: int) -> dict[str, Leakage | str]:
    """By domain; a reason where there is none."""
    rows: Indices = np.sort(np.concatenate([data.rows(one) for one in data.domains]))
    domains = data.clips.domain.iloc[rows].tolist()
    if len(data.domains) < 2:
        return {one: "no leakage: one domain only" for one in data.domains}
    try:
        clusters = data.clusters(rows)
        near = centred_neighbours(data.vectors(encoder, layer, rows), data.config.k, clusters)
        return {one: leakage(near, domains, clusters, one) for one in data.domains}
    except (ShapeError, DegenerateError) as error:
        return {one: str(error) for one in data.domains}


def _leakage_columns(found: Leakage) -> Row:
    return {
        "leakage": {name: one.value for name, one in found.shares.items()},
        "leakage_ci_low": {name: one.ci_low for name, one in found.shares.items()},
        "leakage_ci_high": {name: one.ci_high for name, one in found.shares.items()},
        "leakage_expected": dict(found.expected),
    }


PANEL = PanelKind(
    name=NAME,
    question="Are there hubs, do neighbours share the label, and do they come from the domain?",
    columns=COLUMNS,
    compute=compute,
)
