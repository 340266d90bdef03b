"""Interventions: what moves each encoder, and whose sensitivities the student has.

Three kinds of rows. ``sensitivity``: how far one change moves one layer of one encoder.
``profile``: the correlation over all changes of the student's log displacements with a
teacher's, above the controls'. ``cause``: one change that moves student and teacher both
more (a fragility) or both less (an invariance) than it moves the controls.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.bias.displacement import (
    Sensitivity,
    excess_of_cause,
    excess_similarity,
    inherited_trait,
    profile_slope,
    sensitivity,
    spread,
)
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.intervention_runs import (
    NOT_MEASURED,
    Measured,
    measure_interventions,
)
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    PanelRow,
    cell_name,
    most_influential,
    q_values,
)
from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.verdicts import answer_of, limit_at
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.interventions import INTERVENTIONS
from usad_workbench.core.progress import Progress

NAME = "interventions"


@dataclass(frozen=True, kw_only=True, slots=True)
class InterventionRow(PanelRow):
    """What a change of the sound does to a layer, or whose sensitivities the student has."""

    kind: str
    """sensitivity, profile or cause."""
    intervention: str | None = None
    strength: float = math.nan
    unit: str | None = None
    domain: str
    encoder: str
    layer: int
    teacher: str | None = None
    teacher_layer: int | None = None
    displacement: float = math.nan
    """How far the change moves the clips, in units of the layer's spread."""
    invariance: float = math.nan
    similarity: float = math.nan
    """Correlation of the student's profile with the teacher's."""
    slope: float = math.nan
    controls: float = math.nan
    """What the controls show instead, mean."""
    excess: float = math.nan
    ci_low: float = math.nan
    """Of the displacement for a sensitivity, else of the excess; ``ci_high`` likewise."""
    ci_high: float = math.nan
    p_value: float = math.nan
    q_value: float = math.nan
    inherited: str | None = None
    n_controls: int | None = None
    n_clips: int
    n_clusters: int
    reason: str = ""


@dataclass(kw_only=True)
class _PanelRows:
    """What the rows are made from."""

    data: DiagnosisData
    measured: Measured
    sensitivities: dict[tuple[str, int, str], Sensitivity] = field(default_factory=dict)
    """By encoder, layer and domain."""
    rows: list[InterventionRow] = field(default_factory=list)
    clips: list[InfluentialClips] = field(default_factory=list)


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Sensitivities of every layer, profiles and causes at the student's chosen layers."""
    job = _PanelRows(data=data, measured=measure_interventions(data, progress))
    for domain in data.domains:
        for encoder in data.encoders:
            for layer in data.layers(encoder):
                _sensitivity_rows(job, encoder, layer, domain)
    for domain in data.domains:
        for layer in data.student_layers:
            for teacher in data.teachers:
                _profile_rows(job, teacher, layer, domain)
    return Panel(
        name=NAME,
        row_type=InterventionRow,
        rows=_answered(job.rows, data.config.rules),
        influential=job.clips,
        warnings=job.measured.warnings,
    )


def _answered(rows: Sequence[InterventionRow], rules: Rules) -> list[InterventionRow]:
    """q over the profiles of the panel, then an answer for each that was tested."""
    q = iter(q_values(row.p_value for row in rows if row.kind == "profile"))
    return [_answer(row, next(q), rules) if row.kind == "profile" else row for row in rows]


def _answer(row: InterventionRow, q_value: float, rules: Rules) -> InterventionRow:
    if not math.isfinite(q_value):
        return replace(row, q_value=q_value)
    df = (row.n_controls or 2) - 1
    low, high = (limit_at(row.excess, x, rules.alpha, df) for x in (row.ci_low, row.ci_high))
    is_shown = q_value <= rules.alpha and row.excess > 0
    smallest = rules.interventions.smallest_correlation
    return replace(row, q_value=q_value, inherited=answer_of(is_shown, low, high, smallest))


def _sensitivity_rows(job: _PanelRows, encoder: str, layer: int, domain: str) -> None:
    """One row for each change, with the clips that it moves most."""
    measured = job.measured
    sample = np.flatnonzero((measured.clips.domain == domain).to_numpy())
    distances = measured.distances.get((encoder, layer))
    reason = NOT_MEASURED
    rows = [
        InterventionRow(
            kind="sensitivity",
            intervention=intervention.name,
            strength=intervention.strength,
            unit=intervention.unit,
            domain=domain,
            encoder=encoder,
            layer=layer,
            n_clips=0,
            n_clusters=0,
        )
        for intervention in INTERVENTIONS
    ]
    if distances is not None and np.isfinite(distances[:, sample]).any():
        try:
            result = _sensitivity(job, encoder, layer, domain, distances[:, sample])
        except (DegenerateError, ShapeError) as error:
            reason = str(error)
        else:
            _add_sensitivity(job, rows, result, distances[:, sample])
            return
    job.rows += [replace(row, reason=reason) for row in rows]


def _sensitivity(
    job: _PanelRows, encoder: str, layer: int, domain: str, distances: Matrix
) -> Sensitivity:
    data = job.data
    rows = data.rows(domain)
    labels = data.clips.label.to_numpy()[rows]
    is_labelled = np.array([isinstance(one, str) for one in labels], dtype=bool)
    # A clip without a label is a class of its own: it is nobody's neighbour within a class.
    names = np.array(
        [
            f"l:{a}" if ok else f"c:{i}"
            for i, (a, ok) in enumerate(zip(labels, is_labelled, strict=True))
        ]
    )
    scale = spread(data.vectors(encoder, layer, rows), names, data.clusters(rows))
    is_of_domain = (job.measured.clips.domain == domain).to_numpy()
    usable = np.isfinite(distances).any(axis=0)
    clusters = [str(one) for one in job.measured.clips.cluster_id.to_numpy()[is_of_domain][usable]]
    result = sensitivity(distances[:, usable], clusters, scale)
    job.sensitivities[encoder, layer, domain] = result
    return result


def _add_sensitivity(
    job: _PanelRows,
    rows: Sequence[InterventionRow],
    result: Sensitivity,
    distances: Matrix,
) -> None:
    low, high, reason = result.limits()
    clips = job.measured.clips
    ids = clips.clip_id[clips.domain == rows[0].domain].tolist()
    for i, row in enumerate(rows):
        job.rows.append(
            replace(
                row,
                displacement=float(result.displacement[i]),
                invariance=float(result.invariance[i]),
                ci_low=float(low[i]),
                ci_high=float(high[i]),
                n_clips=int(result.n_clips[i]),
                n_clusters=result.n_clusters,
                reason=reason,
            )
        )
        if row.encoder == job.data.student:
            cell = cell_name(
                kind=row.kind,
                intervention=row.intervention,
                strength=row.strength,
                domain=row.domain,
                encoder=row.encoder,
                layer=row.layer,
            )
            job.clips.append(most_influential(cell, ids, distances[i], "displacement"))


def _profile_rows(job: _PanelRows, teacher: str, layer: int, domain: str) -> None:
    """The profile's similarity to one teacher's, and the causes behind it."""
    data = job.data
    teacher_layer = data.matching_layer(teacher, layer)
    row = InterventionRow(
        kind="profile",
        teacher=teacher,
        teacher_layer=teacher_layer,
        domain=domain,
        encoder=data.student,
        layer=layer,
        inherited="not testable",
        n_clips=0,
        n_clusters=0,
    )
    of_student = job.sensitivities.get((data.student, layer, domain))
    of_teacher = job.sensitivities.get((teacher, teacher_layer, domain))
    if of_student is None or of_teacher is None:
        job.rows.append(replace(row, reason=NOT_MEASURED))
        return
    controls = _controls(job, layer, domain)
    row = replace(
        row,
        n_controls=len(controls),
        n_clips=max(of_student.n_clips),
        n_clusters=of_student.n_clusters,
    )
    try:
        excess = excess_similarity(of_student, of_teacher, controls)
        slope = profile_slope(of_student.profile, of_teacher.profile)
    except DegenerateError as error:
        job.rows.append(replace(row, reason=str(error)))
        return
    profile = replace(
        row,
        similarity=excess.value,
        slope=slope,
        controls=excess.controls,
        excess=excess.excess,
        ci_low=excess.ci_low,
        ci_high=excess.ci_high,
        p_value=excess.p_value,
        reason=excess.reason,
    )
    causes = _cause_rows(
        replace(row, kind="cause"), of_student, of_teacher, controls, job.data.config.rules.alpha
    )
    job.rows += [profile, *causes]


def _controls(job: _PanelRows, layer: int, domain: str) -> list[Sensitivity]:
    """The sensitivities of the controls of a domain at the matching layer, where measured."""
    data = job.data
    keys = [
        (name, data.matching_layer(name, layer), domain)
        for name in data.controls
        if data.roles[name].domain in (None, domain)
    ]
    return [job.sensitivities[key] for key in keys if key in job.sensitivities]


def _cause_rows(
    row: InterventionRow,
    student: Sensitivity,
    teacher: Sensitivity,
    controls: Sequence[Sensitivity],
    alpha: float,
) -> list[InterventionRow]:
    """One row for each change: does it move student and teacher alike, unlike the controls?"""
    rows = []
    for i, intervention in enumerate(INTERVENTIONS):
        of_student, of_teacher = (excess_of_cause(x, controls, i) for x in (student, teacher))
        rows.append(
            replace(
                row,
                intervention=intervention.name,
                strength=intervention.strength,
                unit=intervention.unit,
                displacement=float(student.displacement[i]),
                excess=of_student.excess,
                ci_low=of_student.ci_low,
                ci_high=of_student.ci_high,
                controls=of_student.controls,
                p_value=of_student.p_value,
                inherited=inherited_trait(of_student, of_teacher, alpha),
                reason=of_student.reason,
            )
        )
    return rows


PANEL = PanelKind(
    name=NAME,
    question="Which change of the sound moves which encoder, and whose sensitivities are these?",
    row_type=InterventionRow,
    compute=compute,
    uses_processes=True,
)
