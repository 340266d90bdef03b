"""Partial: is a teacher near only because it is like another teacher?"""

import math
from typing import Any

from usad_workbench.core.diagnosis.material import Material
from usad_workbench.core.diagnosis.panel import Panel, PanelKind
from usad_workbench.core.diagnosis.thinning import thinned_rows
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


def compute(material: Material, progress: Progress) -> Panel:
    """Each teacher with all others taken out, in every domain and at each of the few layers."""
    rows: list[dict[str, Any]] = []
    jobs = [(d, n) for d in material.domains for n in material.student_layers]
    for done, (domain, layer) in enumerate(jobs, start=1):
        rows += _cells(material, domain, layer)
        progress(done, len(jobs), NAME)
    return Panel(name=NAME, columns=COLUMNS, rows=rows)


def _cells(material: Material, domain: str, layer: int) -> list[dict[str, Any]]:
    places = thinned_rows(material, domain)
    clusters = material.clusters(places)
    empty: dict[str, Any] = {
        "domain": domain,
        "layer": layer,
        "value": math.nan,
        "n_clips": len(places),
        "n_clusters": len(set(clusters)),
        "reason": "",
    }
    teachers = {
        name: material.vectors(name, material.matching_layer(name, layer), places)
        for name in material.teachers
    }
    given = {name: [other for other in teachers if other != name] for name in teachers}
    try:
        found = partial_cka(material.vectors(material.student, layer, places), teachers, clusters)
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
