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
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from usad_workbench.core.bias.erasure import check_erasure, reliance
from usad_workbench.core.bias.factors import categorical
from usad_workbench.core.bias.nuisance import (
    NuisanceResult,
    amplification,
    probe_nuisance,
    profile_inheritance,
)
from usad_workbench.core.bias.nuisance_share import ErasedPair, NuisanceShare, carried_share
from usad_workbench.core.diagnosis.clip_factors import ClipFactor, clip_factors, spaces_of
from usad_workbench.core.diagnosis.controls import controls_for
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    cell_name,
    most_influential,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.evaluation.tasks import Task, untestable
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import benjamini_hochberg
from usad_workbench.core.similarity.layers import thin_clusters

NAME = "nuisance"
SHARES = "MAP(VARCHAR, DOUBLE)"
COLUMNS = {
    "factor": "VARCHAR",
    "domain": "VARCHAR",
    "encoder": "VARCHAR",
    "layer": "INTEGER",
    "metric": "VARCHAR",
    "accuracy": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "chance": "DOUBLE",
    "selectivity": "DOUBLE",
    "null_mean": "DOUBLE",
    "p_value": "DOUBLE",
    "q_value": "DOUBLE",
    "null_kind": "VARCHAR",
    "before_erasure": "DOUBLE",
    "after_erasure": "DOUBLE",
    "after_erasure_ci_low": "DOUBLE",
    "after_erasure_ci_high": "DOUBLE",
    "after_erasure_mlp": "DOUBLE",
    "excess": "DOUBLE",
    "amplification": "DOUBLE",
    "amplification_ci_low": "DOUBLE",
    "amplification_ci_high": "DOUBLE",
    "profile_correlation": "DOUBLE",
    "n_factors": "INTEGER",
    "reliance": SHARES,
    "reliance_ci_low": SHARES,
    "reliance_ci_high": SHARES,
    "similarity": "DOUBLE",
    "similarity_after_erasure": "DOUBLE",
    "carried_share": "DOUBLE",
    "carried_share_ci_low": "DOUBLE",
    "carried_share_ci_high": "DOUBLE",
    "carried_by_chance": "DOUBLE",
    "excess_similarity": "DOUBLE",
    "excess_similarity_after_erasure": "DOUBLE",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}
MAX_PERMUTATIONS = 99
"""Each is a fit of every cell: 99 keep the panel under a minute on a thousand clips."""

Row = dict[str, Any]


@dataclass(kw_only=True, eq=False)
class _Cells:
    """All encoders on one factor of one domain."""

    factor: ClipFactor
    domain: str
    rows: dict[tuple[str, int], Row] = field(default_factory=dict)
    results: dict[tuple[str, int], NuisanceResult] = field(default_factory=dict)


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """One row per factor, domain and space; drivers: the clips that are misread most."""
    spaces = spaces_of(data)
    cells = [
        _Cells(factor=one, domain=domain)
        for domain in data.domains
        for one in clip_factors(data, domain)
    ]
    drivers: list[InfluentialClips] = []
    for done, cell in enumerate(cells, start=1):
        for encoder, layer in spaces:
            cell.rows[encoder, layer] = _row(data, cell, encoder, layer)
            found = cell.results.get((encoder, layer))
            if found is not None:
                name = cell_name(
                    factor=cell.factor.name, domain=cell.domain, encoder=encoder, layer=layer
                )
                ids = data.clips.clip_id.iloc[cell.factor.rows].tolist()
                drivers.append(most_influential(name, ids, found.misread, "error"))
        _compare(data, cell, spaces)
        _carried(data, cell, dict(spaces))
        progress(done, len(cells), NAME)
    _profiles(data, cells, spaces)
    rows = [row for cell in cells for row in cell.rows.values()]
    q = benjamini_hochberg(np.array([row["p_value"] for row in rows], dtype=np.float64))
    for row, value in zip(rows, q.tolist(), strict=True):
        row["q_value"] = value
    return Panel(name=NAME, columns=COLUMNS, rows=rows, drivers=drivers)


def _row(data: DiagnosisData, cell: _Cells, encoder: str, layer: int) -> Row:
    one = cell.factor
    clusters = data.clusters(one.rows)
    row: Row = {
        "factor": one.name,
        "domain": cell.domain,
        "encoder": encoder,
        "layer": layer,
        "accuracy": math.nan,
        "chance": math.nan,
        "selectivity": math.nan,
        "p_value": math.nan,
        "after_erasure": math.nan,
        "n_clips": len(one.rows),
        "n_clusters": len(set(clusters)),
        "reason": one.reason,
    }
    if one.factor is None:
        return row
    x, config = data.vectors(encoder, layer, one.rows), data.config
    try:
        found = probe_nuisance(
            x,
            one.factor,
            clusters,
            seed=config.seed,
            n_permutations=min(config.n_permutations, MAX_PERMUTATIONS),
        )
    except (ShapeError, DegenerateError) as error:
        return row | {"reason": str(error)}
    cell.results[encoder, layer] = found
    row |= {
        "metric": "r2" if one.factor.is_continuous else "balanced_accuracy",
        "accuracy": found.value,
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "chance": found.chance,
        "selectivity": found.selectivity,
        "null_mean": found.null_mean,
        "p_value": found.p_value,
        "null_kind": found.null_kind,
        "reason": found.reason,
    }
    return row | _erased(data, cell, encoder, layer, row["reason"])


def _erased(data: DiagnosisData, cell: _Cells, encoder: str, layer: int, reason: str) -> Row:
    """Erasure columns; the perceptron and the tasks for the student's last layer alone."""
    one = cell.factor
    if one.factor is None:
        return {}
    x, clusters = data.vectors(encoder, layer, one.rows), data.clusters(one.rows)
    seed = data.config.seed
    try:
        check = check_erasure(x, one.factor, clusters, seed=seed)
        row: Row = {
            "before_erasure": check.before,
            "after_erasure": check.after,
            "after_erasure_ci_low": check.after_ci_low,
            "after_erasure_ci_high": check.after_ci_high,
        }
        if encoder == data.student and layer == data.student_layers[-1]:
            if not one.factor.is_continuous:
                row["after_erasure_mlp"] = check_erasure(
                    x, one.factor, clusters, reader="mlp", n_folds=3, seed=seed
                ).after
            row |= _reliances(data, cell, encoder, layer)
    except (ShapeError, DegenerateError) as error:
        return {"reason": "; ".join(filter(None, [reason, str(error)]))}
    return row


def _reliances(data: DiagnosisData, cell: _Cells, encoder: str, layer: int) -> Row:
    """What each task of these clips loses with the factor."""
    one = cell.factor
    found = {}
    for task in data.tasks():
        places = data.rows_of_clips(task.clip_ids)
        kept = np.flatnonzero(np.isin(places, one.rows))
        part = task.take(kept)
        if one.factor is None or untestable(part):
            continue
        here = np.searchsorted(one.rows, places[kept])
        nuisance = one.factor.with_values(one.factor.values[here])
        if np.ptp(nuisance.values) == 0 or _is_decided(part, nuisance.values):
            continue
        try:
            found[task.name] = reliance(
                data.vectors(encoder, layer, places[kept]),
                nuisance,
                categorical(part.labels.tolist()),
                part.units.tolist(),
                part.groups.tolist(),
                seed=data.config.seed,
            )
        except (ShapeError, DegenerateError):
            continue  # a label in one group alone: the task has no folds on these clips
    return {
        "reliance": {name: one.value for name, one in found.items()},
        "reliance_ci_low": {name: one.ci_low for name, one in found.items()},
        "reliance_ci_high": {name: one.ci_high for name, one in found.items()},
    }


def _is_decided(task: Task, values: np.ndarray) -> bool:
    """Whether the label decides the factor: then erasing one erases the other."""
    pairs = len(set(zip(task.labels, values.tolist(), strict=True)))
    return pairs == len(set(task.labels))


def _compare(data: DiagnosisData, cell: _Cells, spaces: Sequence[tuple[str, int]]) -> None:
    """Excess over the controls, and the student against its best teacher."""
    layers = dict(reversed(spaces))
    level = _mean([cell.rows[name, layers[name]]["selectivity"] for name in data.controls])
    for row in cell.rows.values():
        row["excess"] = row["selectivity"] - level
    teachers = [
        cell.results[name, layers[name]]
        for name in data.teachers
        if (name, layers[name]) in cell.results
    ]
    if not teachers or cell.factor.factor is None:
        return
    clusters = data.clusters(cell.factor.rows)
    for layer in data.student_layers:
        mine = cell.results.get((data.student, layer))
        if mine is not None:
            gap = amplification(cell.factor.factor, mine, teachers, clusters, data.config.seed)
            cell.rows[data.student, layer] |= {
                "amplification": gap.value,
                "amplification_ci_low": gap.ci_low,
                "amplification_ci_high": gap.ci_high,
            }


def _carried(data: DiagnosisData, cell: _Cells, layers: Mapping[str, int]) -> None:
    """How much of the similarity to each teacher and control the factor carries."""
    one, seed = cell.factor, data.config.seed
    if one.factor is None:
        return
    chosen = thin_clusters(data.clusters(one.rows), data.config.max_clips, seed)
    rows, factor = one.rows[chosen], one.factor.with_values(one.factor.values[chosen])
    known: dict[str, NuisanceShare] = {}
    try:
        student = ErasedPair(data.vectors(data.student, layers[data.student], rows))
    except DegenerateError:
        return  # its own row says why
    for name in (*data.teachers, *data.controls):
        try:
            other = ErasedPair(data.vectors(name, layers[name], rows))
            found = carried_share(student, other, factor, data.clusters(rows), seed=seed)
        except (ShapeError, DegenerateError):
            continue  # its own row says why
        known[name] = found
        row = cell.rows[name, layers[name]]
        row |= {
            "similarity": found.similarity,
            "similarity_after_erasure": found.after,
            "carried_share": found.share,
            "carried_share_ci_low": found.ci_low,
            "carried_share_ci_high": found.ci_high,
            "carried_by_chance": found.by_chance,
            "reason": _joined(row["reason"], found.reason),
        }
    for name in data.teachers:
        others = [known[n] for n in controls_for(data, name, "teacher") if n in known]
        if name in known and others:
            cell.rows[name, layers[name]] |= {
                "excess_similarity": known[name].similarity - _mean([o.similarity for o in others]),
                "excess_similarity_after_erasure": known[name].after
                - _mean([one.after for one in others]),
            }


def _joined(*reasons: str) -> str:
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def _profiles(
    data: DiagnosisData, cells: Sequence[_Cells], spaces: Sequence[tuple[str, int]]
) -> None:
    """Correlation of the student's profile with each teacher's, both above the controls."""
    if not cells or not data.controls:
        return
    layers = dict(spaces)  # the student's last layer

    def profile(name: str) -> list[float]:
        return [cell.rows[name, layers[name]]["selectivity"] for cell in cells]

    controls = [profile(name) for name in data.controls]
    for name in data.teachers:
        found = profile_inheritance(profile(data.student), profile(name), controls)
        for cell in cells:
            row = cell.rows[name, layers[name]]
            row["profile_correlation"], row["n_factors"] = found.correlation, found.n_factors
            row["reason"] = "; ".join(filter(None, [row["reason"], found.reason]))


def _mean(values: Sequence[float]) -> float:
    known = [one for one in values if math.isfinite(one)]
    return float(np.mean(known)) if known else math.nan


PANEL = PanelKind(
    name=NAME,
    question="What can be read that no task asks for, and does the student carry more of it?",
    columns=COLUMNS,
    compute=compute,
)
