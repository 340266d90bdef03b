"""Attribution: the share of the student's geometry that each teacher explains."""

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
from usad_workbench.core.similarity.attribution import MIN_FIT, attribute, false_attribution

NAME = "attribution"
N_PERMUTATIONS = 100
COLUMNS = {
    "domain": "VARCHAR",
    "layer": "INTEGER",
    "shares": "MAP(VARCHAR, DOUBLE)",
    "ci_low": "MAP(VARCHAR, DOUBLE)",
    "ci_high": "MAP(VARCHAR, DOUBLE)",
    "null_q95": "MAP(VARCHAR, DOUBLE)",
    "p_value": "MAP(VARCHAR, DOUBLE)",
    "novel": "DOUBLE",
    "novel_ci_low": "DOUBLE",
    "novel_ci_high": "DOUBLE",
    "fit_r2": "DOUBLE",
    "is_reliable": "BOOLEAN",
    "false_attribution": "DOUBLE",
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
        "novel": math.nan,
        "fit_r2": math.nan,
        "shares": {},
        "n_clips": len(places),
        "n_clusters": len(set(clusters)),
        "reason": "",
    }

    def of(name: str) -> Any:
        return data.vectors(name, data.matching_layer(name, layer), places)

    teachers = {name: of(name) for name in data.teachers}
    student = data.vectors(data.student, layer, places)
    try:
        found = attribute(
            student,
            teachers,
            clusters,
            seed=data.config.seed,
            n_permutations=min(N_PERMUTATIONS, data.config.n_permutations),
        )
        controls = [of(name) for name in data.controls]
        wrongly = false_attribution(student, teachers, controls, clusters) if controls else math.nan
    except (ShapeError, DegenerateError) as error:
        return row | {"reason": str(error)}, []
    notes = [found.reason] if found.reason else []
    if found.is_overfull:
        notes.append(
            "the shares sum to more than 1, as the student stretches few directions: read the "
            "variance panel"
        )
    if found.fit_r2 < MIN_FIT:
        notes.append(f"the mixture fits badly (R2 below {MIN_FIT}): read the variance panel")
    row |= {
        "shares": found.shares,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "null_q95": found.null_q95,
        "p_value": found.p_value,
        "novel": found.novel,
        "novel_ci_low": found.novel_ci_low,
        "novel_ci_high": found.novel_ci_high,
        "fit_r2": found.fit_r2,
        "is_reliable": found.is_reliable,
        "false_attribution": wrongly,
        "reason": "; ".join(notes),
    }
    ids = data.clips.clip_id.to_numpy()[places].tolist()
    return row, [
        most_influential(
            cell_name(domain=domain, layer=layer, teacher=name), ids, shares, "attribution"
        )
        for name, shares in found.clip_shares.items()
    ]


PANEL = PanelKind(
    name=NAME,
    question="What share of the student's geometry comes from each teacher?",
    columns=COLUMNS,
    compute=compute,
)
