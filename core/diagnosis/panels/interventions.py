"""Interventions: what moves each encoder, and whose sensitivities the student has.

Three kinds of rows. ``sensitivity``: how far one change moves one layer of one encoder.
``profile``: the correlation over all changes of the student's log displacements with a
teacher's, above the controls'. ``cause``: one change that moves student and teacher both
more (a fragility) or both less (an invariance) than it moves the controls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    cell_name,
    most_influential,
)
from usad_workbench.core.diagnosis.verdicts import answer_of
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.interventions import INTERVENTIONS
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import benjamini_hochberg

NAME = "interventions"
COLUMNS = {
    "kind": "VARCHAR",
    "intervention": "VARCHAR",
    "strength": "DOUBLE",
    "unit": "VARCHAR",
    "domain": "VARCHAR",
    "encoder": "VARCHAR",
    "layer": "INTEGER",
    "teacher": "VARCHAR",
    "teacher_layer": "INTEGER",
    "displacement": "DOUBLE",
    "invariance": "DOUBLE",
    "similarity": "DOUBLE",
    "slope": "DOUBLE",
    "controls": "DOUBLE",
    "excess": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "p_value": "DOUBLE",
    "q_value": "DOUBLE",
    "inherited": "VARCHAR",
    "n_controls": "INTEGER",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}
Row = dict[str, Any]


@dataclass(kw_only=True)
class _Job:
    """What the rows are made from."""

    data: DiagnosisData
    measured: Measured
    found: dict[tuple[str, int, str], Sensitivity] = field(default_factory=dict)
    """By encoder, layer and domain."""
    rows: list[Row] = field(default_factory=list)
    drivers: list[InfluentialClips] = field(default_factory=list)


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Sensitivities of every layer, profiles and causes at the student's chosen layers."""
    job = _Job(data=data, measured=measure_interventions(data, progress))
    for domain in data.domains:
        for encoder in data.encoders:
            for layer in data.layers(encoder):
                _sensitivity_rows(job, encoder, layer, domain)
    for domain in data.domains:
        for layer in data.student_layers:
            for teacher in data.teachers:
                _profile_rows(job, teacher, layer, domain)
    profiles = [row for row in job.rows if row["kind"] == "profile"]
    q = benjamini_hochberg(np.array([row["p_value"] for row in profiles]))
    for row, value in zip(profiles, q.tolist(), strict=True):
        row["q_value"] = value
        if np.isfinite(value):
            is_shown = value <= data.config.rules.alpha and row["excess"] > 0
            row["inherited"] = answer_of(is_shown, row["ci_low"], row["ci_high"])
    return Panel(
        name=NAME,
        columns=COLUMNS,
        rows=job.rows,
        drivers=job.drivers,
        warnings=job.measured.warnings,
    )


def _sensitivity_rows(job: _Job, encoder: str, layer: int, domain: str) -> None:
    """One row for each change, with the clips that it moves most."""
    measured = job.measured
    base = {"kind": "sensitivity", "domain": domain, "encoder": encoder, "layer": layer}
    sample = np.flatnonzero((measured.clips.domain == domain).to_numpy())
    distances = measured.distances.get((encoder, layer))
    reason = NOT_MEASURED
    if distances is not None and np.isfinite(distances[:, sample]).any():
        try:
            result = _sensitivity(job, encoder, layer, domain, distances[:, sample])
        except (DegenerateError, ShapeError) as error:
            reason = str(error)
        else:
            _add_sensitivity(job, base, result, distances[:, sample])
            return
    job.rows += [
        base
        | {
            "intervention": one.name,
            "strength": one.strength,
            "unit": one.unit,
            "displacement": np.nan,
            "n_clips": 0,
            "n_clusters": 0,
            "reason": reason,
        }
        for one in INTERVENTIONS
    ]


def _sensitivity(
    job: _Job, encoder: str, layer: int, domain: str, distances: np.ndarray[Any, Any]
) -> Sensitivity:
    data = job.data
    rows = data.rows(domain)
    labels = data.clips.label.to_numpy()[rows]
    known = np.array([isinstance(one, str) for one in labels], dtype=bool)
    # A clip without a label is a class of its own: it is nobody's neighbour within a class.
    names = np.array(
        [f"l:{a}" if ok else f"c:{i}" for i, (a, ok) in enumerate(zip(labels, known, strict=True))]
    )
    scale = spread(data.vectors(encoder, layer, rows), names, data.clusters(rows))
    mine = (job.measured.clips.domain == domain).to_numpy()
    usable = np.isfinite(distances).any(axis=0)
    clusters = [str(one) for one in job.measured.clips.cluster_id.to_numpy()[mine][usable]]
    result = sensitivity(distances[:, usable], clusters, scale)
    job.found[encoder, layer, domain] = result
    return result


def _add_sensitivity(
    job: _Job, base: Row, result: Sensitivity, distances: np.ndarray[Any, Any]
) -> None:
    low, high, reason = result.limits()
    clips = job.measured.clips
    ids = clips.clip_id[clips.domain == base["domain"]].tolist()
    for i, one in enumerate(INTERVENTIONS):
        row = base | {
            "intervention": one.name,
            "strength": one.strength,
            "unit": one.unit,
            "displacement": float(result.displacement[i]),
            "invariance": float(result.invariance[i]),
            "ci_low": float(low[i]),
            "ci_high": float(high[i]),
            "n_clips": int(result.n_clips[i]),
            "n_clusters": result.n_clusters,
            "reason": reason,
        }
        job.rows.append(row)
        if base["encoder"] == job.data.student:
            cell = cell_name(
                **{
                    k: row[k]
                    for k in ("kind", "intervention", "strength", "domain", "encoder", "layer")
                }
            )
            job.drivers.append(most_influential(cell, ids, distances[i], "displacement"))


def _profile_rows(job: _Job, teacher: str, layer: int, domain: str) -> None:
    """The profile's similarity to one teacher's, and the causes behind it."""
    data = job.data
    theirs_layer = data.matching_layer(teacher, layer)
    student = job.found.get((data.student, layer, domain))
    theirs = job.found.get((teacher, theirs_layer, domain))
    base = {
        "kind": "profile",
        "teacher": teacher,
        "teacher_layer": theirs_layer,
        "domain": domain,
        "encoder": data.student,
        "layer": layer,
        "p_value": np.nan,
        "q_value": np.nan,
        "excess": np.nan,
        "similarity": np.nan,
        "inherited": "not testable",
    }
    if student is None or theirs is None:
        job.rows.append(base | {"n_clips": 0, "n_clusters": 0, "reason": NOT_MEASURED})
        return
    controls = [
        job.found[name, data.matching_layer(name, layer), domain]
        for name in data.controls
        if data.roles[name].domain in (None, domain)
        and (name, data.matching_layer(name, layer), domain) in job.found
    ]
    counts = {
        "n_controls": len(controls),
        "n_clips": max(student.n_clips),
        "n_clusters": student.n_clusters,
    }
    try:
        excess = excess_similarity(student, theirs, controls)
        slope = profile_slope(student.profile, theirs.profile)
    except DegenerateError as error:
        job.rows.append(base | counts | {"reason": str(error)})
        return
    job.rows.append(
        base
        | counts
        | {
            "similarity": excess.value,
            "slope": slope,
            "controls": excess.controls,
            "excess": excess.excess,
            "ci_low": excess.ci_low,
            "ci_high": excess.ci_high,
            "p_value": excess.p_value,
            "reason": excess.reason,
        }
    )
    job.rows += _cause_rows(base | counts, student, theirs, controls)


def _cause_rows(
    base: Row, student: Sensitivity, teacher: Sensitivity, controls: Sequence[Sensitivity]
) -> list[Row]:
    """One row for each change: does it move student and teacher alike, unlike the controls?"""
    rows = []
    for i, one in enumerate(INTERVENTIONS):
        mine, other = (excess_of_cause(x, controls, i) for x in (student, teacher))
        rows.append(
            base
            | {
                "kind": "cause",
                "intervention": one.name,
                "strength": one.strength,
                "unit": one.unit,
                "displacement": float(student.displacement[i]),
                "excess": mine.excess,
                "ci_low": mine.ci_low,
                "ci_high": mine.ci_high,
                "controls": mine.controls,
                "p_value": mine.p_value,
                "inherited": inherited_trait(mine, other),
                "reason": mine.reason,
            }
        )
    return rows


PANEL = PanelKind(
    name=NAME,
    question="Which change of the sound moves which encoder, and whose sensitivities are these?",
    columns=COLUMNS,
    compute=compute,
    uses_processes=True,
)
