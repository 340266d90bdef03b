"""What training changed: similarity to each teacher less that of an untrained student.

An encoder of random weights is like every teacher already, most of all in its first layers, which
look at the same spectra. What is left after that is subtracted is no proof of inheritance either
(``panels.inheritance`` tests that, beside peers and placebos): it is where to look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from usad_workbench.core.arrays import Indices
from usad_workbench.core.diagnosis.clip_sample import ClipSample
from usad_workbench.core.diagnosis.rules import MIN_CLIPS
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.similarity import LayerMatrix, Measure, layer_similarity
from usad_workbench.core.similarity.layers import describe_thinning
from usad_workbench.core.similarity.resampling import jackknife_limits
from usad_workbench.core.storage.clip_vectors import ClipVectors, common_clips
from usad_workbench.core.storage.workspace import Workspace

MAX_CLIPS = 500
"""Of a domain, in whole clusters: somebody waits for the picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GainRow:
    """What a layer of a student has of a teacher beyond what the untrained student has."""

    student: str
    baseline: str
    """The untrained student; empty where none has vectors, and nothing is subtracted."""
    teacher: str
    domain: str
    kind: Literal["pair", "nearest"]
    """``pair``: one pair of layers in both students. ``nearest``: each at the teacher's layer that
    it is nearest to."""
    student_layer: int
    teacher_layer: int
    """Of the student; the untrained one's may be another where it is the nearest."""
    value: float
    ci_low: float
    ci_high: float
    """95%, jackknife over clusters of the difference: both students on the same clips."""
    student_value: float
    baseline_value: float
    n_clips: int
    n_clusters: int
    reason: str


def gains(
    workspace: Workspace,
    student: str,
    teachers: Sequence[str],
    *,
    baseline: str = "",
    measure: Measure = "debiased_linear_cka",
    max_clips: int = MAX_CLIPS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> list[GainRow]:
    """Similarity of a student's layers to its teachers', less that of the untrained student.

    Args:
        workspace: Holds the vectors of all of them.
        student: Whose layers.
        teachers: Or any other encoders.
        baseline: A student of random weights with the same layers; none: nothing is subtracted.
        measure: Of similarity.
        max_clips: Of a domain; a larger one is thinned to whole clusters.
        seed: Of the thinning.
        progress: Called after each teacher and domain.

    Returns:
        Rows for each teacher, domain and pair of layers, and one for each layer of the student.
        Domains of fewer than ``MIN_CLIPS`` clips that all have are left out.

    Raises:
        UnknownNameError: an encoder without vectors.
    """
    names = [student, *teachers, *([baseline] if baseline else [])]
    clips = common_clips(workspace, names)
    counts = clips.domain.value_counts()
    domains = [name for name in sorted(counts.index) if counts[name] >= MIN_CLIPS]
    clips = clips[clips.domain.isin(domains)].reset_index(drop=True)
    if not domains:
        return []
    sample = ClipSample(clips, (max_clips,), seed)
    layers = {name: workspace.layers(name) for name in names}

    def of(name: str, rows: Indices) -> list[ClipVectors]:
        return [sample.vectors(workspace, name, layer, rows) for layer in layers[name]]

    found: list[GainRow] = []
    todo = [(domain, teacher) for domain in domains for teacher in teachers]
    for done, (domain, teacher) in enumerate(todo, start=1):
        rows = sample.of_domain(domain, max_clips)
        clusters = clips.cluster_id.to_numpy()[rows].tolist()
        matrices = {
            name: layer_similarity(
                of(name, rows),
                of(teacher, rows),
                clusters,
                measure=measure,
                n_permutations=0,
                max_clips=len(rows),
            )
            for name in (student, baseline)
            if name
        }
        head = {"student": student, "baseline": baseline, "teacher": teacher, "domain": domain}
        note = describe_thinning(len(rows), int(counts[domain]))
        found += _rows(head, matrices, layers[student], layers[teacher], note)
        progress(done, len(todo), f"{teacher} in {domain}")
    return found


def _rows(
    head: Mapping[str, str],
    matrices: Mapping[str, LayerMatrix],
    student_layers: Sequence[int],
    teacher_layers: Sequence[int],
    note: str,
) -> list[GainRow]:
    """The rows of one teacher and domain."""
    own, base = matrices[head["student"]], matrices.get(head["baseline"])
    nearest = _nearest(own.values)
    places = {
        "pair": [(i, j, j) for i in range(len(own.values)) for j in range(len(own.values[i]))],
        "nearest": [
            (i, j, k)
            for i, (j, k) in enumerate(
                zip(nearest, nearest if base is None else _nearest(base.values), strict=True)
            )
        ],
    }
    rows = []
    for kind, of_kind in places.items():
        i, j, k = (np.array(index) for index in zip(*of_kind, strict=True))
        value = own.values[i, j] - (0 if base is None else base.values[i, k])
        low, high = _limits(own, base, (i, j, k))
        rows += [
            GainRow(
                **head,
                kind="pair" if kind == "pair" else "nearest",
                student_layer=student_layers[i[n]],
                teacher_layer=teacher_layers[j[n]],
                value=float(value[n]),
                ci_low=float(low[n]),
                ci_high=float(high[n]),
                student_value=float(own.values[i[n], j[n]]),
                baseline_value=np.nan if base is None else float(base.values[i[n], k[n]]),
                n_clips=own.n_clips,
                n_clusters=own.n_clusters,
                reason="; ".join(filter(None, (note, own.reason))),
            )
            for n in range(len(i))
        ]
    return rows


def _nearest(values: np.ndarray) -> Indices:
    """For each row the column of the largest value; the first where none is a number."""
    nearest: Indices = np.where(np.isfinite(values), values, -np.inf).argmax(axis=1)
    return nearest


def _limits(
    own: LayerMatrix, base: LayerMatrix | None, at: tuple[Indices, Indices, Indices]
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the difference: the same clusters are left out of both."""
    i, j, k = at
    if base is None:
        return own.ci_low[i, j], own.ci_high[i, j]
    value = own.values[i, j] - base.values[i, k]
    if own.jackknife_values is None or base.jackknife_values is None:
        none = np.full(len(value), np.nan)
        return none, none
    replicates = own.jackknife_values[:, i, j] - base.jackknife_values[:, i, k]
    return jackknife_limits(value, replicates, largest=2.0)
