"""Variance: how much of the student is a linear mixture of its teachers, and of whom."""

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
    most_influential,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity.r2_calibration import CUTS, calibrated_r2
from usad_workbench.core.similarity.variance import SUPPRESSION, partition_variance

NAME = "variance"
NO_INTERVAL = "intervals of the total and of unique shares; the rest are values without interval"


@dataclass(frozen=True, kw_only=True, slots=True)
class VarianceRow(PanelRow):
    """How much of a student layer is linear in its teachers, in one domain (R2)."""

    domain: str
    layer: int
    total: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    unique: Shares = field(default_factory=dict)
    """What only this teacher explains."""
    unique_ci_low: Shares | None = None
    unique_ci_high: Shares | None = None
    shared: float = math.nan
    """What several teachers explain."""
    residual: float = math.nan
    """What no teacher explains: 1 minus the total. Its limits are 1 minus those."""
    cells: Shares | None = None
    """By set of teachers: what exactly these explain."""
    alone: Shares | None = None
    retention: Shares | None = None
    """The other way: how much of each teacher the student explains."""
    corrected_total: float = math.nan
    """The total calibrated for few clips; ``_90`` and ``_99`` at each cut alone."""
    corrected_total_90: float = math.nan
    corrected_total_99: float = math.nan
    nonlinear_total: float = math.nan
    n_clips: int
    n_clusters: int
    reason: str = ""


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """All teachers together, home or not, in every domain and at each of the few layers."""
    rows, clips = cells_of_domains_and_layers(data, NAME, _cell, progress)
    return Panel(name=NAME, row_type=VarianceRow, rows=rows, influential=clips)


def _cell(
    data: DiagnosisData, domain: str, layer: int
) -> tuple[VarianceRow, list[InfluentialClips]]:
    clip_rows = data.thinned_rows(domain)
    clusters = data.clusters(clip_rows)
    row = VarianceRow(
        domain=domain, layer=layer, n_clips=len(clip_rows), n_clusters=len(set(clusters))
    )
    teachers = {
        name: data.vectors(name, data.matching_layer(name, layer), clip_rows)
        for name in data.teachers
    }
    student = data.vectors(data.student, layer, clip_rows)
    seed = data.config.seed
    try:
        partition = partition_variance(student, teachers, clusters)
        correction = calibrated_r2(student, teachers, clusters, seed=seed)
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason=str(error)), []
    notes = [partition.reason] if partition.reason else []
    notes.append(NO_INTERVAL)
    if partition.total.value < 0:
        notes.append(
            "nothing of the student can be predicted on other clusters: the total is below 0, and the "
            "residual above 1 says nothing of what is new"
        )
    if not correction.do_cuts_agree:
        notes.append(
            "the correction for few clips differs between its cuts: the residual is an upper "
            "bound of what is new"
        )
    if min(share.value for share in partition.unique.values()) < SUPPRESSION:
        notes.append("a negative share: suppression, or too few clips")
    low, high = CUTS
    row = replace(
        row,
        total=partition.total.value,
        ci_low=partition.total.ci_low,
        ci_high=partition.total.ci_high,
        unique={name: share.value for name, share in partition.unique.items()},
        unique_ci_low={name: share.ci_low for name, share in partition.unique.items()},
        unique_ci_high={name: share.ci_high for name, share in partition.unique.items()},
        shared=partition.shared,
        residual=partition.residual,
        cells=dict(partition.cells),
        alone=dict(partition.alone),
        retention=dict(partition.retention),
        corrected_total=correction.value,
        corrected_total_90=correction.corrected[low],
        corrected_total_99=correction.corrected[high],
        nonlinear_total=partition.nonlinear_total,
        reason="; ".join(notes),
    )
    ids = data.clips.clip_id.to_numpy()[clip_rows].tolist()
    return row, [
        most_influential(
            cell_name(domain=domain, layer=layer, teacher=name), ids, gain, "attribution"
        )
        for name, gain in partition.clip_gain.items()
    ]


PANEL = PanelKind(
    name=NAME,
    question="How much of the student is a linear mixture of its teachers, and of which?",
    row_type=VarianceRow,
    compute=compute,
)
