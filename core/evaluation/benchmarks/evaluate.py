"""Frozen evaluation on official splits: choices on validation, then one look at the test.

k-NN and linear probes take layer and penalty by validation and are then fitted on training
and validation clips. The heads of HEAR and MARBLE see one layer, the one that the linear
probe validates best; validation then chooses the epoch, and on the first split the grid
point, which the other splits keep (HEAR's rule; with folds, the first split's validation
clips are tested in another one). The value is the mean of the splits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from usad_workbench.core.arrays import Matrix, Vectors
from usad_workbench.core.errors import DegenerateError, UnknownNameError, did_you_mean
from usad_workbench.core.evaluation.benchmarks.embeddings import SegmentVectors
from usad_workbench.core.evaluation.benchmarks.task import BenchmarkTask, Mode, Published, Split
from usad_workbench.core.probes.folds import Codes, codes_of
from usad_workbench.core.probes.knn import KnnProbe
from usad_workbench.core.probes.linear import LinearProbe
from usad_workbench.core.probes.mlp import HEADS, LINEAR, GridPoint, MlpProbe
from usad_workbench.core.probes.scores import Truth, metric_of_scores
from usad_workbench.core.similarity.resampling import (
    bootstrap_limits,
    bootstrap_samples,
    too_few_clusters,
)

PROTOCOLS = ("knn", "linear", *HEADS)
FRAMES = "-frames"
"""Behind the name of a head: it sees segments instead of their mean."""
N_RESAMPLES = {"accuracy": 2000, "balanced_accuracy": 2000, "map": 200, "auroc": 200}
"""Sorting scores of 527 classes for 20 000 clips takes 0.1 s for each resample."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitScores:
    """What was said about the test clips of one split."""

    test: Codes
    scores: Matrix
    """`[test, class]`."""
    layer: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkScore:
    """One encoder on one task of a benchmark under one protocol.

    A task or pairing that is not evaluated has the value NaN, and ``reason`` says why.
    """

    benchmark: str = ""
    encoder: str
    layer: int | None = None
    """The layer that most splits chose; none for fine-tuning."""
    task: str
    mode: str = ""
    """Frozen or fine-tuned."""
    protocol: str
    metric: str = ""
    value: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    """95%, bootstrap over clusters."""
    n_test: int = 0
    n_clusters: int | None = None
    n_classes: int | None = None
    n_splits: int | None = None
    published: tuple[Published, ...] = ()
    """Results of papers on the same task in the same mode."""
    notes: tuple[str, ...] = ()
    reason: str
    nearest_published: str = ""
    """The published result nearest to the value, for a table."""


def evaluate_frozen(
    task: BenchmarkTask,
    layers: Mapping[int, SegmentVectors],
    protocol: str,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> list[SplitScores]:
    """Scores of the test clips of every official split.

    Args:
        task: With its splits; clips numbered as its items.
        layers: Every layer of one encoder.
        protocol: ``knn``, ``linear``, ``hear``, ``marble``, or a head with ``-frames``.
        seed: Of the heads.
        device: Of the heads.

    Raises:
        UnknownNameError: no such protocol.
        DegenerateError: a task that cannot be tested, k-NN where clips have several labels, or
            vectors that are not finite.
    """
    head = HEADS.get(protocol.removesuffix(FRAMES))
    if protocol not in ("knn", "linear") and head is None:
        raise UnknownNameError(
            f"Unknown protocol {protocol!r}. {did_you_mean(protocol, list(PROTOCOLS))}"
        )
    reason = task.untestable()
    if reason:
        raise DegenerateError(f"not tested: {reason}. Use labels that several parts share.")
    truth, means = task.truth(), {layer: x.mean() for layer, x in layers.items()}
    splits, points = [], None
    for split in task.splits:
        parts = _rows(task, split)
        layer, setting = _choose(
            task, means, truth, parts, "knn" if protocol == "knn" else "linear"
        )
        if head is None:
            both = np.concatenate([parts.train, parts.valid])
            scores = _cheap_scores(task, means[layer], truth, replace(parts, train=both), protocol)
            splits.append(SplitScores(test=parts.test, scores=scores[setting], layer=layer))
            continue
        is_frames = protocol.endswith(FRAMES)
        probe = MlpProbe(
            layers[layer].vectors if is_frames else means[layer],
            truth,
            clips=layers[layer].clips if is_frames else None,
            head=head,
            metric=task.metric,
            seed=seed,
            device=device,
        )
        scores = probe.log_probabilities(parts.train, parts.test, parts.valid, points)
        points = [probe.point] if isinstance(probe.point, GridPoint) else None
        splits.append(SplitScores(test=parts.test, scores=scores, layer=layer))
    return splits


def benchmark_score(
    task: BenchmarkTask, encoder: str, mode: Mode, protocol: str, splits: Sequence[SplitScores]
) -> BenchmarkScore:
    """The score over all splits: value, interval by cluster, counts, and published results.

    Args:
        task: What was evaluated.
        encoder: Name.
        mode: Frozen or fine-tuned.
        protocol: Probe or training.
        splits: Scores of the test clips of every split.
    """
    layers = [one.layer for one in splits if one.layer is not None]
    tested = np.unique(np.concatenate([one.test for one in splits]))
    units = codes_of([task.items[i].cluster for i in tested], "cluster")
    unit_of = np.zeros(len(task.items), dtype=np.intp)
    unit_of[tested] = units
    n_units = int(units.max()) + 1
    value = float(_metric(task, splits, unit_of, np.ones((1, n_units)))[0])
    reason = too_few_clusters(n_units)
    low = high = math.nan
    if not reason:
        samples = bootstrap_samples(
            lambda counts: _metric(task, splits, unit_of, counts), n_units, N_RESAMPLES[task.metric]
        )
        low, high = bootstrap_limits(samples, n_units)
    published = task.published.get(mode, ())
    nearest = min(published, key=lambda number: abs(number.value - value), default=None)
    return BenchmarkScore(
        encoder=encoder,
        layer=max(set(layers), key=layers.count) if layers else None,
        task=task.name,
        mode=mode,
        protocol=protocol,
        metric=task.metric,
        value=value,
        ci_low=low,
        ci_high=high,
        n_test=len(tested),
        n_clusters=n_units,
        n_classes=len(task.class_names),
        n_splits=len(splits),
        published=tuple(published),
        notes=tuple(task.notes),
        reason=reason,
        nearest_published=f"{nearest.model} {nearest.value:.3f}" if nearest else "",
    )


def _metric(
    task: BenchmarkTask, splits: Sequence[SplitScores], unit_of: Codes, counts: Matrix
) -> Matrix:
    """Mean over the splits for each row of counts `[resample, cluster]`."""
    values = [
        metric_of_scores(
            task.truth(one.test.tolist()), one.scores, task.metric, counts[:, unit_of[one.test]]
        )
        for one in splits
    ]
    return np.asarray(np.mean(values, axis=0))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    train: Codes
    valid: Codes
    test: Codes


def _rows(task: BenchmarkTask, split: Split) -> _Parts:
    parts = _Parts(
        train=task.rows(split.train), valid=task.rows(split.valid), test=task.rows(split.test)
    )
    if min(len(parts.train), len(parts.valid), len(parts.test)) == 0:
        raise DegenerateError(
            f"{task.name} has {len(parts.train)} training, {len(parts.valid)} validation and "
            f"{len(parts.test)} test clips, expected some of each. Complete the copy."
        )
    return parts


def _choose(
    task: BenchmarkTask, means: Mapping[int, Vectors], truth: Truth, parts: _Parts, protocol: str
) -> tuple[int, int]:
    """Layer and setting with the best validation; ties go to the lower and the stronger."""
    best, best_value = (next(iter(means)), 0), -math.inf
    asked = replace(parts, test=parts.valid)
    for layer, x in means.items():
        for setting, scores in enumerate(_cheap_scores(task, x, truth, asked, protocol)):
            value = float(metric_of_scores(truth[parts.valid], scores, task.metric)[0])
            if value > best_value + 1e-12:
                best, best_value = (layer, setting), value
    return best


def _cheap_scores(
    task: BenchmarkTask, x: Vectors, truth: Truth, parts: _Parts, protocol: str
) -> Matrix:
    """Scores of ``parts.test`` for each setting `[setting, test, class]`."""
    n_classes = len(task.class_names)
    if task.has_several_labels:
        if protocol == "knn":
            raise DegenerateError(
                f"{task.name} has several labels per clip, for which no k-NN probe is defined "
                "here. Use the protocol linear or hear."
            )
        probe = MlpProbe(x, truth, head=LINEAR, metric=task.metric)
        # Where the clips that validate have joined the training, the probe holds out its own.
        valid = None if np.isin(parts.valid, parts.train).any() else parts.valid
        return probe.log_probabilities(parts.train, parts.test, valid)[None]
    codes = truth.astype(np.intp)
    if protocol == "knn":
        picked = KnnProbe(x, codes).predict(parts.train, parts.test)
        return np.asarray(picked[:, :, None] == np.arange(n_classes), dtype=np.float64)
    scores = LinearProbe(x, codes).scores(parts.train, parts.test)
    padded = np.full((*scores.shape[:2], n_classes), -np.inf)
    padded[:, :, : scores.shape[2]] = scores
    # A class without a training clip comes last, and stays a number that can be sorted.
    return np.maximum(padded, -1e30)
