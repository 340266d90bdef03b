"""Similarity: every student layer against every layer of every other encoder, per domain."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.nearest import SIMILARITIES, TeacherSimilarityRow
from usad_workbench.core.diagnosis.panel import Panel, PanelKind, PanelRow
from usad_workbench.core.diagnosis.teacher_similarity import (
    MEASURES,
    SimilarityConfig,
    compare_with_teachers,
    similarity_rows,
    with_q_values,
)
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import layer_similarity
from usad_workbench.core.storage.clip_vectors import ClipVectors
from usad_workbench.core.storage.rows import read_rows

NAME = "similarity"
ORDER = ("domain", "measure", "teacher", "student_layer", "teacher_layer")


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarityRow(PanelRow):
    """A row of ``teacher_similarity`` of the student in question."""

    student_layer: int
    teacher: str
    """The other encoder, whatever it is to the student."""
    teacher_layer: int
    domain: str
    measure: str
    value: float
    ci_low: float
    ci_high: float
    null_kind: str | None
    null_q95: float
    """The similarity that 95% of the permutations stay below."""
    p_value: float
    q_value: float = math.nan
    n_clips: int
    n_clusters: int
    reason: str


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """The table ``teacher_similarity``; of a selection its own, which leaves the table alone."""
    is_selection = bool(data.config.where or data.config.clip_ids)
    rows = (_of_selection if is_selection else _of_workspace)(data, progress)
    return Panel(name=NAME, row_type=SimilarityRow, rows=_panel_rows(rows))


def _panel_rows(rows: Iterable[TeacherSimilarityRow]) -> list[SimilarityRow]:
    names = [column.name for column in fields(SimilarityRow)]
    return [SimilarityRow(**{name: getattr(row, name) for name in names}) for row in rows]


def _of_workspace(data: DiagnosisData, progress: Progress) -> list[TeacherSimilarityRow]:
    # What the report warns of, domains that are too small, the data have said.
    report = compare_with_teachers(
        data.workspace,
        data.student,
        roles=data.roles,
        config=_config(data),
        progress=progress,
    )
    rows = read_rows(
        data.workspace,
        TeacherSimilarityRow,
        SIMILARITIES,
        key={"student": data.student},
        order_by=ORDER,
    )
    return [row for row in rows if row.teacher in report.encoders]


def _of_selection(data: DiagnosisData, progress: Progress) -> list[TeacherSimilarityRow]:
    config = _config(data)
    rows: list[TeacherSimilarityRow] = []
    others = data.encoders[1:]
    jobs = [(d, o, m) for d in data.domains for o in others for m in MEASURES]
    for done, (domain, other, measure) in enumerate(jobs, start=1):
        clip_rows = data.rows(domain)
        layers = {name: data.layers(name) for name in (data.student, other)}
        vectors: dict[str, list[ClipVectors]] = {
            name: [data.vectors(name, layer, clip_rows) for layer in layers[name]]
            for name in layers
        }
        matrix = layer_similarity(
            vectors[data.student],
            vectors[other],
            data.clusters(clip_rows),
            measure=measure,
            k=config.k,
            n_permutations=config.n_permutations,
            seed=config.seed,
            max_clips=config.max_clips,
        )
        rows += similarity_rows(
            data.student, layers[data.student], other, layers[other], domain, matrix, ""
        )
        progress(done, len(jobs), NAME)
    return with_q_values(rows)


def _config(data: DiagnosisData) -> SimilarityConfig:
    config = data.config
    return SimilarityConfig(
        k=config.k,
        n_permutations=config.n_permutations,
        seed=config.seed,
        max_clips=config.max_clips,
        alpha=config.rules.alpha,
    )


PANEL = PanelKind(
    name=NAME,
    question="Which layer of which encoder has the geometry of which student layer?",
    row_type=SimilarityRow,
    compute=compute,
)
