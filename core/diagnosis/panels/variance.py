"""Variance: how much of the student is a linear mixture of its teachers, and of whom."""

import math
from typing import Any

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
from usad_workbench.core.similarity.r2_calibration import CUTS, calibrated_r2
from usad_workbench.core.similarity.variance import SUPPRESSION, partition_variance

NAME = "variance"
COLUMNS = {
    "domain": "VARCHAR",
    "layer": "INTEGER",
    "total": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "unique": "MAP(VARCHAR, DOUBLE)",
    "unique_ci_low": "MAP(VARCHAR, DOUBLE)",
    "unique_ci_high": "MAP(VARCHAR, DOUBLE)",
    "shared": "DOUBLE",
    "residual": "DOUBLE",
    "cells": "MAP(VARCHAR, DOUBLE)",
    "alone": "MAP(VARCHAR, DOUBLE)",
    "retention": "MAP(VARCHAR, DOUBLE)",
    "corrected_total": "DOUBLE",
    "corrected_total_90": "DOUBLE",
    "corrected_total_99": "DOUBLE",
    "nonlinear_total": "DOUBLE",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """All teachers together, home or not, in every domain and at each of the few layers."""
    rows: list[dict[str, Any]] = []
    drivers: list[InfluentialClips] = []
    jobs = [(d, n) for d in data.domains for n in data.student_layers]
    for done, (domain, layer) in enumerate(jobs, start=1):
        row, behind = _cell(data, domain, layer)
        rows.append(row)
        drivers += behind
        progress(done, len(jobs), NAME)
    return Panel(name=NAME, columns=COLUMNS, rows=rows, drivers=drivers)


def _cell(
    data: DiagnosisData, domain: str, layer: int
) -> tuple[dict[str, Any], list[InfluentialClips]]:
    places = data.thinned_rows(domain)
    clusters = data.clusters(places)
    row: dict[str, Any] = {
        "domain": domain,
        "layer": layer,
        "total": math.nan,
        "unique": {},
        "shared": math.nan,
        "residual": math.nan,
        "n_clips": len(places),
        "n_clusters": len(set(clusters)),
        "reason": "",
    }
    teachers = {
        name: data.vectors(name, data.matching_layer(name, layer), places) for name in data.teachers
    }
    student = data.vectors(data.student, layer, places)
    seed = data.config.seed
    try:
        found = partition_variance(student, teachers, clusters)
        correction = calibrated_r2(student, teachers, clusters, seed=seed)
    except (ShapeError, DegenerateError) as error:
        return row | {"reason": str(error)}, []
    notes = [found.reason] if found.reason else []
    if not correction.do_cuts_agree:
        notes.append(
            "the correction for few clips differs between its cuts: the residual is an upper "
            "bound of what is new"
        )
    if min(one.value for one in found.unique.values()) < SUPPRESSION:
        notes.append("a negative share: suppression, or too few clips")
    low, high = CUTS
    row |= {
        "total": found.total.value,
        "ci_low": found.total.ci_low,
        "ci_high": found.total.ci_high,
        "unique": {name: one.value for name, one in found.unique.items()},
        "unique_ci_low": {name: one.ci_low for name, one in found.unique.items()},
        "unique_ci_high": {name: one.ci_high for name, one in found.unique.items()},
        "shared": found.shared,
        "residual": found.residual,
        "cells": dict(found.cells),
        "alone": dict(found.alone),
        "retention": dict(found.retention),
        "corrected_total": correction.value,
        "corrected_total_90": correction.corrected[low],
        "corrected_total_99": correction.corrected[high],
        "nonlinear_total": found.nonlinear_total,
        "reason": "; ".join(notes),
    }
    ids = data.clips.clip_id.to_numpy()[places].tolist()
    return row, [
        most_influential(
            cell_name(domain=domain, layer=layer, teacher=name), ids, gain, "attribution"
        )
        for name, gain in found.clip_gain.items()
    ]


PANEL = PanelKind(
    name=NAME,
    question="How much of the student is a linear mixture of its teachers, and of which?",
    columns=COLUMNS,
    compute=compute,
)
