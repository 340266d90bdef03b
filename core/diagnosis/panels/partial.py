"""Partial: is a teacher near only because it is like another teacher?"""

import math
from typing import Any

from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import Panel, PanelKind
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity.partial import partial_cka

NAME = "partial"
COLUMNS = {
    "domain": "VARCHAR",
    "layer": "INTEGER",
    "teacher": "VARCHAR",
    "given": "VARCHAR[]",
    "value": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "plain": "DOUBLE",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Each teacher with all others taken out, in every domain and at each of the few layers."""
    rows: list[dict[str, Any]] = []
    jobs = [(d, n) for d in data.domains for n in data.student_layers]
    for done, (domain, layer) in enumerate(jobs, start=1):
        rows += _cells(data, domain, layer)
        progress(done, len(jobs), NAME)
    return Panel(name=NAME, columns=COLUMNS, rows=rows)


def _cells(data: DiagnosisData, domain: str, layer: int) -> list[dict[str, Any]]:
    places = data.thinned_rows(domain)
    clusters = data.clusters(places)
    empty: dict[str, Any] = {
        "domain": domain,
        "layer": layer,
        "value": math.nan,
        "n_clips": len(places),
        "n_clusters": len(set(clusters)),
        "reason": "",
    }
    teachers = {
        name: data.vectors(name, data.matching_layer(name, layer), places) for name in data.teachers
    }
    given = {name: [other for other in teachers if other != name] for name in teachers}
    try:
        found = partial_cka(data.vectors(data.student, layer, places), teachers, clusters)
    except (ShapeError, DegenerateError) as error:
        return [
            empty | {"teacher": name, "given": given[name], "reason": str(error)}
            for name in teachers
        ]
    return [
        empty
        | {
            "teacher": name,
            "given": given[name],
            "value": one.value,
            "ci_low": one.ci_low,
            "ci_high": one.ci_high,
            "plain": one.plain,
            "reason": one.reason,
        }
        for name, one in found.items()
    ]


PANEL = PanelKind(
    name=NAME,
    question="Is a teacher near only because it is like another teacher?",
    columns=COLUMNS,
    compute=compute,
)
