"""Attribution: the student's geometry fitted as a mixture of its teachers', beside placebos."""

import math
from dataclasses import dataclass, field, replace

from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    PanelRow,
    Shares,
    cell_name,
    cells_of_domains_and_layers,
    join_reasons,
    most_influential,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity.attribution import attribute
from usad_workbench.core.storage.clip_vectors import ClipVectors

NAME = "attribution"
N_PERMUTATIONS = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class AttributionRow(PanelRow):
    """The shares of a student layer's geometry in one domain, by teacher."""

    domain: str
    layer: int
    shares: Shares = field(default_factory=dict)
    ci_low: Shares | None = None
    ci_high: Shares | None = None
    null_q95: Shares | None = None
    p_value: Shares | None = None
    novel: float = math.nan
    """What no teacher explains."""
    novel_ci_low: float = math.nan
    novel_ci_high: float = math.nan
    fit_r2: float = math.nan
    is_reliable: bool | None = None
    """Whether the shares can be read; ``reason`` says why not."""
    group_shares: Shares | None = None
    """Of teachers that cannot be told apart, their names joined by " + "."""
    group_ci_low: Shares | None = None
    group_ci_high: Shares | None = None
    false_attribution: float = math.nan
    """The share that encoders get together which taught nothing, offered beside the teachers."""
    false_shares: Shares | None = None
    """The share of each of them."""
    n_clips: int
    n_clusters: int
    reason: str = ""


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """All teachers together, home or not, in every domain and at each of the few layers."""
    rows, clips = cells_of_domains_and_layers(data, NAME, _cell, progress)
    return Panel(name=NAME, row_type=AttributionRow, rows=rows, influential=clips)


def _cell(
    data: DiagnosisData, domain: str, layer: int
) -> tuple[AttributionRow, list[InfluentialClips]]:
    clip_rows = data.thinned_rows(domain)
    clusters = data.clusters(clip_rows)
    row = AttributionRow(
        domain=domain, layer=layer, n_clips=len(clip_rows), n_clusters=len(set(clusters))
    )

    def of(name: str) -> ClipVectors:
        return data.vectors(name, data.matching_layer(name, layer), clip_rows)

    teachers = {name: of(name) for name in data.teachers}
    student = data.vectors(data.student, layer, clip_rows)
    try:
        shares = attribute(
            student,
            teachers,
            clusters,
            placebos={name: of(name) for name in placebos(data)},
            seed=data.config.seed,
            n_permutations=min(N_PERMUTATIONS, data.config.n_permutations),
        )
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason=str(error)), []
    groups = {" + ".join(group.teachers): group for group in shares.collinear}
    row = replace(
        row,
        shares=shares.shares,
        ci_low=shares.ci_low,
        ci_high=shares.ci_high,
        null_q95=shares.null_q95,
        p_value=shares.p_value,
        novel=shares.novel,
        novel_ci_low=shares.novel_ci_low,
        novel_ci_high=shares.novel_ci_high,
        fit_r2=shares.fit_r2,
        is_reliable=shares.is_reliable,
        group_shares={name: group.share for name, group in groups.items()} or None,
        group_ci_low={name: group.ci_low for name, group in groups.items()} or None,
        group_ci_high={name: group.ci_high for name, group in groups.items()} or None,
        false_attribution=shares.false_share,
        false_shares=shares.false_shares or None,
        reason=join_reasons(shares.reason, *shares.doubts),
    )
    ids = data.clips.clip_id.to_numpy()[clip_rows].tolist()
    return row, [
        most_influential(
            cell_name(domain=domain, layer=layer, teacher=name), ids, clip_shares, "attribution"
        )
        for name, clip_shares in shares.clip_shares.items()
    ]


def placebos(data: DiagnosisData) -> list[str]:
    """Encoders that never taught the student, and are no students of its teachers either.

    What they get of the student's geometry shows what a teacher would get for nothing. A
    student of the same teachers is no placebo: it has their geometry.
    """
    students = set(data.workspace.read("SELECT DISTINCT student FROM distillation").student)
    kept = data.workspace.encoders()
    students |= set(kept.encoder[kept.role == "student"])
    others = [*data.controls, *data.baselines]
    return [name for name in others if name not in students | data.once_taught]


PANEL = PanelKind(
    name=NAME,
    question="How far can the student's geometry be written as a mixture of its teachers'?",
    row_type=AttributionRow,
    compute=compute,
)
