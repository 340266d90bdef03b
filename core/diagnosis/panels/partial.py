"""Partial: is a teacher near only because it is like another teacher?"""

import math
from dataclasses import dataclass, replace

from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    Panel,
    PanelKind,
    PanelRow,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity.partial import partial_cka

NAME = "partial"


@dataclass(frozen=True, kw_only=True, slots=True)
class PartialRow(PanelRow):
    """Partial CKA of student and teacher, all other teachers taken out."""

    domain: str
    layer: int
    teacher: str
    given: tuple[str, ...]
    """The teachers that are taken out."""
    value: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    plain: float = math.nan
    """The same with nobody taken out."""
    plain_ci_low: float = math.nan
    plain_ci_high: float = math.nan
    n_clips: int
    n_clusters: int
    reason: str = ""


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Each teacher with all others taken out, in every domain and at each of the few layers."""
    rows: list[PartialRow] = []
    jobs = [(d, n) for d in data.domains for n in data.student_layers]
    for done, (domain, layer) in enumerate(jobs, start=1):
        rows += _rows(data, domain, layer)
        progress(done, len(jobs), NAME)
    return Panel(name=NAME, row_type=PartialRow, rows=rows)


def _rows(data: DiagnosisData, domain: str, layer: int) -> list[PartialRow]:
    clip_rows = data.thinned_rows(domain)
    clusters = data.clusters(clip_rows)
    teachers = {
        name: data.vectors(name, data.matching_layer(name, layer), clip_rows)
        for name in data.teachers
    }
    empty = {
        name: PartialRow(
            domain=domain,
            layer=layer,
            teacher=name,
            given=tuple(other for other in teachers if other != name),
            n_clips=len(clip_rows),
            n_clusters=len(set(clusters)),
        )
        for name in teachers
    }
    try:
        similarities = partial_cka(data.vectors(data.student, layer, clip_rows), teachers, clusters)
    except (ShapeError, DegenerateError) as error:
        return [replace(row, reason=str(error)) for row in empty.values()]
    return [
        replace(
            empty[name],
            value=similarity.value,
            ci_low=similarity.ci_low,
            ci_high=similarity.ci_high,
            plain=similarity.plain,
            plain_ci_low=similarity.plain_ci_low,
            plain_ci_high=similarity.plain_ci_high,
            reason=similarity.reason,
        )
        for name, similarity in similarities.items()
    ]


PANEL = PanelKind(
    name=NAME,
    question="Is a teacher near only because it is like another teacher?",
    row_type=PartialRow,
    compute=compute,
)
