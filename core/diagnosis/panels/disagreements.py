"""Disagreements: the nearest teacher by every family of measures, and where they differ."""

from typing import Any

from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import Panel, PanelKind
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity.disagreement import FAMILIES, nearest_by_measure

NAME = "disagreements"
COLUMNS = {
    "domain": "VARCHAR",
    "layer": "INTEGER",
    **dict.fromkeys(FAMILIES, "VARCHAR"),
    "readings": "MAP(VARCHAR, DOUBLE)",
    "n_nearest": "INTEGER",
    "warning": "VARCHAR",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """One row for each domain and each of the few student layers; teachers only.

    The values are the measures of each teacher without interval: who is nearest by a hair
    is nearest all the same, which the panel of similarities has intervals for.
    """
    rows: list[dict[str, Any]] = []
    jobs = [(d, n) for d in data.domains for n in data.student_layers]
    for done, (domain, layer) in enumerate(jobs, start=1):
        rows.append(_row(data, domain, layer))
        progress(done, len(jobs), NAME)
    differ = sorted({row["domain"] for row in rows if row["n_nearest"] > 1})
    warnings = []
    if differ:
        warnings.append(
            f"measures disagree on the nearest teacher in {', '.join(differ)}: what one of them "
            "says there is no finding"
        )
    return Panel(name=NAME, columns=COLUMNS, rows=rows, warnings=warnings)


def _row(data: DiagnosisData, domain: str, layer: int) -> dict[str, Any]:
    rows = data.thinned_rows(domain)
    clusters = data.clusters(rows)
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {
        "domain": domain,
        "layer": layer,
        "readings": {},
        "n_nearest": 0,
        "warning": "",
        "n_clips": len(rows),
        "n_clusters": len(set(clusters)),
        "reason": "",
        "measures": {},
    }
    try:
        found = nearest_by_measure(
            data.vectors(data.student, layer, rows),
            {
                name: data.vectors(name, data.matching_layer(name, layer), rows)
                for name in data.teachers
            },
            k=data.config.k,
            clusters=clusters,
        )
    except (ShapeError, DegenerateError) as error:
        return row | {"reason": str(error)}
    values = {
        f"{measure}|{name}": value
        for measure, by_encoder in found.values.items()
        for name, value in by_encoder.items()
    }
    return (
        row
        | found.nearest
        | {
            "measures": found.nearest,
            "readings": values,
            "n_nearest": len(set(found.nearest.values())),
            "warning": found.warning,
            "reason": "values without interval",
        }
    )


PANEL = PanelKind(
    name=NAME,
    question="Do the measures agree on which teacher is nearest?",
    columns=COLUMNS,
    compute=compute,
)
