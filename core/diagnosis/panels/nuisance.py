"""Nuisance factors (D8) and their erasure (D9): what embeddings carry that is not content.

Selectivity of an encoder minus the mean of the controls' is its ``excess``; the student's
profile of excesses beside a teacher's is ``profile_correlation`` on the teacher's rows.
``after_erasure`` is what a fresh probe on other clusters finds once the factor is erased;
``reliance`` is what each task of the domain loses with it, for the student's last layer.
``carried_share`` is the share of the similarity of the student's last layer to this teacher
or control that goes when both forget the factor; beside it what any labels take. A teacher's
``excess_similarity`` is its similarity minus that of the controls in its place: where it
falls to 0 after erasure, the factor is what was inherited.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from usad_workbench.core.bias.erasure import check_erasure, reliance
from usad_workbench.core.bias.factors import Factor, categorical
from usad_workbench.core.bias.nuisance import (
    NuisanceResult,
    amplification,
    probe_nuisance,
    profile_inheritance,
)
from usad_workbench.core.bias.nuisance_share import ErasedPair, NuisanceShare, carried_share
from usad_workbench.core.diagnosis.clip_factors import (
    ClipFactor,
    clip_factors,
    left_out_columns,
    spaces_of,
)
from usad_workbench.core.diagnosis.controls import controls_for
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    PanelRow,
    Shares,
    cell_name,
    join_reasons,
    most_influential,
    q_values,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.evaluation.testability import untestable
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity.layers import thin_clusters
from usad_workbench.core.similarity.resampling import Interval

NAME = "nuisance"
MAX_PERMUTATIONS = 99
"""Each is a fit of every cell: 99 keep the panel under a minute on a thousand clips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NuisanceRow(PanelRow):
    """How well a factor that is not content can be read from one layer in one domain."""

    factor: str
    domain: str
    encoder: str
    layer: int
    metric: str | None = None
    accuracy: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    chance: float = math.nan
    selectivity: float = math.nan
    """Accuracy above that on labels dealt at random."""
    null_mean: float = math.nan
    p_value: float = math.nan
    q_value: float = math.nan
    null_kind: str | None = None
    before_erasure: float = math.nan
    after_erasure: float = math.nan
    """What a fresh probe on other clusters finds once the factor is erased."""
    after_erasure_ci_low: float = math.nan
    after_erasure_ci_high: float = math.nan
    after_erasure_mlp: float = math.nan
    excess: float = math.nan
    """Selectivity minus the mean of the controls'."""
    amplification: float = math.nan
    amplification_ci_low: float = math.nan
    amplification_ci_high: float = math.nan
    profile_correlation: float = math.nan
    n_factors: int | None = None
    reliance: Shares | None = None
    """What each task loses with the factor; student's last layer alone."""
    reliance_ci_low: Shares | None = None
    reliance_ci_high: Shares | None = None
    similarity: float = math.nan
    similarity_after_erasure: float = math.nan
    carried_share: float = math.nan
    """Share of the similarity to the student that goes when both forget the factor."""
    carried_share_ci_low: float = math.nan
    carried_share_ci_high: float = math.nan
    carried_by_chance: float = math.nan
    excess_similarity: float = math.nan
    excess_similarity_after_erasure: float = math.nan
    n_clips: int
    n_clusters: int
    reason: str = ""


@dataclass(kw_only=True, eq=False)
class _Cells:
    """All encoders on one factor of one domain."""

    factor: ClipFactor
    domain: str
    rows: dict[tuple[str, int], NuisanceRow] = field(default_factory=dict)
    """By encoder and layer."""
    results: dict[tuple[str, int], NuisanceResult] = field(default_factory=dict)


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """One row per factor, domain and space; its clips: those that are misread most."""
    spaces = spaces_of(data)
    cells = [
        _Cells(factor=factor, domain=domain)
        for domain in data.domains
        for factor in clip_factors(data, domain, data.rows(domain))
    ]
    clips: list[InfluentialClips] = []
    for done, cell in enumerate(cells, start=1):
        for encoder, layer in spaces:
            cell.rows[encoder, layer] = _row(data, cell, encoder, layer)
            result = cell.results.get((encoder, layer))
            if result is not None:
                name = cell_name(
                    factor=cell.factor.name, domain=cell.domain, encoder=encoder, layer=layer
                )
                ids = data.clips.clip_id.iloc[cell.factor.rows].tolist()
                clips.append(most_influential(name, ids, result.misread, "error"))
        _compare(data, cell, spaces)
        _carried(data, cell, dict(spaces))
        progress(done, len(cells), NAME)
    _profiles(data, cells, spaces)
    rows = [row for cell in cells for row in cell.rows.values()]
    q = q_values(row.p_value for row in rows)
    rows = [replace(row, q_value=value) for row, value in zip(rows, q, strict=True)]
    warnings = left_out_columns(data, data.domains)
    return Panel(name=NAME, row_type=NuisanceRow, rows=rows, influential=clips, warnings=warnings)


def _row(data: DiagnosisData, cell: _Cells, encoder: str, layer: int) -> NuisanceRow:
    factor, clip_rows = cell.factor.factor, cell.factor.rows
    clusters = data.clusters(clip_rows)
    row = NuisanceRow(
        factor=cell.factor.name,
        domain=cell.domain,
        encoder=encoder,
        layer=layer,
        n_clips=len(clip_rows),
        n_clusters=len(set(clusters)),
        reason=cell.factor.reason,
    )
    if factor is None:
        return row
    x, config = data.vectors(encoder, layer, clip_rows), data.config
    try:
        result = probe_nuisance(
            x,
            factor,
            clusters,
            seed=config.seed,
            n_permutations=min(config.n_permutations, MAX_PERMUTATIONS),
        )
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason=str(error))
    cell.results[encoder, layer] = result
    row = replace(
        row,
        metric="r2" if factor.is_continuous else "balanced_accuracy",
        accuracy=result.value,
        ci_low=result.ci_low,
        ci_high=result.ci_high,
        chance=result.chance,
        selectivity=result.selectivity,
        null_mean=result.null_mean,
        p_value=result.p_value,
        null_kind=result.null_kind,
        reason=result.reason,
    )
    return _with_erasure(row, data, cell.factor, factor)


def _with_erasure(
    row: NuisanceRow, data: DiagnosisData, of_clips: ClipFactor, factor: Factor
) -> NuisanceRow:
    """Adds what erasure leaves; perceptron and tasks for the student's last layer alone."""
    x = data.vectors(row.encoder, row.layer, of_clips.rows)
    clusters, seed = data.clusters(of_clips.rows), data.config.seed
    try:
        check = check_erasure(x, factor, clusters, seed=seed)
        erased = replace(
            row,
            before_erasure=check.before,
            after_erasure=check.after,
            after_erasure_ci_low=check.after_ci_low,
            after_erasure_ci_high=check.after_ci_high,
        )
        if row.encoder != data.student or row.layer != data.student_layers[-1]:
            return erased
        if not factor.is_continuous:
            by_mlp = check_erasure(x, factor, clusters, reader="mlp", n_folds=3, seed=seed)
            erased = replace(erased, after_erasure_mlp=by_mlp.after)
        reliances = _reliances(data, of_clips, factor, row.layer)
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason="; ".join(filter(None, [row.reason, str(error)])))
    return replace(
        erased,
        reliance={name: interval.value for name, interval in reliances.items()},
        reliance_ci_low={name: interval.ci_low for name, interval in reliances.items()},
        reliance_ci_high={name: interval.ci_high for name, interval in reliances.items()},
    )


def _reliances(
    data: DiagnosisData, of_clips: ClipFactor, factor: Factor, layer: int
) -> dict[str, Interval]:
    """What each task of these clips loses with the factor, read from the student."""
    reliances = {}
    for task in data.tasks():
        task_rows = data.rows_of_clips(task.clip_ids)
        kept = np.flatnonzero(np.isin(task_rows, of_clips.rows))
        subtask = task.take(kept)
        if untestable(subtask):
            continue
        here = np.searchsorted(of_clips.rows, task_rows[kept])
        nuisance = factor.with_values(factor.values[here])
        if np.ptp(nuisance.values) == 0 or _is_decided(subtask, nuisance.values):
            continue
        try:
            reliances[task.name] = reliance(
                data.vectors(data.student, layer, task_rows[kept]),
                nuisance,
                categorical(subtask.labels.tolist()),
                subtask.units.tolist(),
                subtask.groups.tolist(),
                seed=data.config.seed,
            )
        except (ShapeError, DegenerateError):
            continue  # a label in one group alone: the task has no folds on these clips
    return reliances


def _is_decided(task: Task, values: np.ndarray) -> bool:
    """Whether the label decides the factor: then erasing one erases the other."""
    pairs = len(set(zip(task.labels, values.tolist(), strict=True)))
    return pairs == len(set(task.labels))


def _compare(data: DiagnosisData, cell: _Cells, spaces: Sequence[tuple[str, int]]) -> None:
    """Adds the excess over the controls, and the student against its best teacher."""
    layers = dict(reversed(spaces))
    level = _mean([cell.rows[name, layers[name]].selectivity for name in data.controls])
    for key, row in cell.rows.items():
        cell.rows[key] = replace(row, excess=row.selectivity - level)
    teachers = [
        cell.results[name, layers[name]]
        for name in data.teachers
        if (name, layers[name]) in cell.results
    ]
    if not teachers or cell.factor.factor is None:
        return
    clusters = data.clusters(cell.factor.rows)
    for layer in data.student_layers:
        result = cell.results.get((data.student, layer))
        if result is not None:
            gap = amplification(cell.factor.factor, result, teachers, clusters, data.config.seed)
            cell.rows[data.student, layer] = replace(
                cell.rows[data.student, layer],
                amplification=gap.value,
                amplification_ci_low=gap.ci_low,
                amplification_ci_high=gap.ci_high,
            )


def _carried(data: DiagnosisData, cell: _Cells, layers: Mapping[str, int]) -> None:
    """Adds how much of the similarity to each teacher and control the factor carries."""
    shares = _carried_shares(data, cell.factor, layers)
    for name, share in shares.items():
        row = cell.rows[name, layers[name]]
        cell.rows[name, layers[name]] = replace(
            row,
            similarity=share.similarity,
            similarity_after_erasure=share.after,
            carried_share=share.share,
            carried_share_ci_low=share.ci_low,
            carried_share_ci_high=share.ci_high,
            carried_by_chance=share.by_chance,
            reason=join_reasons(row.reason, share.reason),
        )
    for name in data.teachers:
        others = [shares[n] for n in controls_for(data, name, "teacher") if n in shares]
        if name in shares and others:
            share, row = shares[name], cell.rows[name, layers[name]]
            cell.rows[name, layers[name]] = replace(
                row,
                excess_similarity=share.similarity - _mean([o.similarity for o in others]),
                excess_similarity_after_erasure=share.after - _mean([o.after for o in others]),
            )


def _carried_shares(
    data: DiagnosisData, of_clips: ClipFactor, layers: Mapping[str, int]
) -> dict[str, NuisanceShare]:
    """By teacher and control; none where the similarity or the erasure cannot be had."""
    seed = data.config.seed
    if of_clips.factor is None:
        return {}
    chosen = thin_clusters(data.clusters(of_clips.rows), data.config.max_clips, seed)
    rows = of_clips.rows[chosen]
    factor = of_clips.factor.with_values(of_clips.factor.values[chosen])
    shares: dict[str, NuisanceShare] = {}
    try:
        student = ErasedPair(data.vectors(data.student, layers[data.student], rows))
    except DegenerateError:
        return {}  # its own row says why
    for name in (*data.teachers, *data.controls):
        try:
            other = ErasedPair(data.vectors(name, layers[name], rows))
            shares[name] = carried_share(student, other, factor, data.clusters(rows), seed=seed)
        except (ShapeError, DegenerateError):
            continue  # its own row says why
    return shares


def _profiles(
    data: DiagnosisData, cells: Sequence[_Cells], spaces: Sequence[tuple[str, int]]
) -> None:
    """Adds how the student's profile follows each teacher's, both above the controls."""
    if not cells or not data.controls:
        return
    layers = dict(spaces)  # the student's last layer

    def profile(name: str) -> list[float]:
        return [cell.rows[name, layers[name]].selectivity for cell in cells]

    controls = [profile(name) for name in data.controls]
    for name in data.teachers:
        inheritance = profile_inheritance(profile(data.student), profile(name), controls)
        for cell in cells:
            row = cell.rows[name, layers[name]]
            cell.rows[name, layers[name]] = replace(
                row,
                profile_correlation=inheritance.correlation,
                n_factors=inheritance.n_factors,
                reason="; ".join(filter(None, [row.reason, inheritance.reason])),
            )


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


PANEL = PanelKind(
    name=NAME,
    question="What can be read that no task asks for, and does the student carry more of it?",
    row_type=NuisanceRow,
    compute=compute,
)
