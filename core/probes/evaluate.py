"""Frozen probes: how well a label can be read from embeddings of clips never trained on.

Predictions are out of fold, folds keep groups whole, settings (penalty, layer) are chosen on
folds within the training part: nothing that is tested has been looked at. The interval resamples
whole clusters of tested clips; it does not hold the luck of the training part.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import Ids, Matrix
from usad_workbench.core.errors import ShapeError, UnknownNameError, did_you_mean
from usad_workbench.core.probes.blocks import Features, as_blocks
from usad_workbench.core.probes.folds import Codes, Fold, codes_of, grouped_folds, thin_training
from usad_workbench.core.probes.knn import KnnProbe
from usad_workbench.core.probes.linear import CHOICE_TOLERANCE, PENALTIES, LinearProbe
from usad_workbench.core.probes.metrics import (
    Metric,
    chance_level,
    check_metric,
    count_hits,
    metric_of_counts,
)
from usad_workbench.core.similarity.resampling import (
    bootstrap_limits,
    bootstrap_samples,
    too_few_clusters,
)

ProbeName = Literal["knn", "linear", "hear", "hear-frames", "marble", "marble-frames"]
"""Names of the probes as the command line has them; the last four are ``evaluate_head``'s."""
N_INNER_FOLDS = 3
N_RESAMPLES = 2000
MAX_TRAIN_CLIPS = 5000
"""Clips that a probe is trained on in one fold; more are thinned class by class, and every clip
is tested all the same. So k-NN costs clips × 5,000 and a linear fit does not grow. What that
costs in accuracy: ``docs/statistics.md``, "Large collections"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeResult:
    """One label read from one encoder."""

    protocol: ProbeName
    metric: Metric
    value: float
    """Mean over the seeds."""
    ci_low: float
    ci_high: float
    """95%, bootstrap over clusters; NaN where ``reason`` says why.

    Where all or none are right: Clopper-Pearson with each cluster as one trial.
    """
    n_test: int
    """Clips tested, each once per seed."""
    n_classes: int
    n_groups: int
    """Units that folds keep whole."""
    n_clusters: int
    """Units that the interval resamples."""
    n_unseen: int
    """Tests whose class was in no training row, over all seeds: they count as wrong."""
    chance: float
    """What the class sizes alone give."""
    predictions: NDArray[Any]
    """Out-of-fold labels `[seed, clip]`."""
    layers: Codes | None
    """Layer used `[seed, fold]`, as a position; none where there was no choice."""
    validation: Matrix | None
    """The metric on folds within the training part `[seed, fold]`, of the layer and penalty
    that were used; NaN without a choice, none for predictions made elsewhere."""
    reason: str
    note: str = ""
    """What goes with the number, such as that a part of the clips was trained on."""


class Probe(Protocol):
    """Predictions for any split of one set of clips."""

    def predict(
        self, train: Codes, test: Codes, n_settings: int = ..., tolerance: float = ...
    ) -> Codes:
        """Class numbers `[setting, test]` of the first settings."""


def evaluate_probe(
    x: Features,
    labels: Ids,
    groups: Ids,
    clusters: Ids | None = None,
    protocol: ProbeName = "knn",
    metric: Metric = "accuracy",
    n_folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
) -> ProbeResult:
    """A label read from one layer, or from several encoders side by side.

    Args:
        x: Embeddings `[clip, dim]`, or a list of such blocks, each centred and scaled with
            the training fold's statistics.
        labels: Class of each clip.
        groups: What folds keep whole: the task's group column.
        clusters: What the interval resamples; where groups hold whole clusters, the groups.
        protocol: k-NN or linear.
        metric: Accuracy or balanced accuracy.
        n_folds: Folds, at most as many as groups.
        seeds: One split of the clips for each.

    Returns:
        The metric on the clips that were left out, between 0 and 1, with its interval, what
        chance gives, and the number of clips.

    Raises:
        ShapeError: other numbers of clips, or a clip without label or group.
        DegenerateError: one group only, or values that are not finite.
        UnknownNameError: no such protocol or metric.

    >>> labels = np.arange(40) % 2
    >>> x = np.random.default_rng(0).normal(size=(40, 3)) + 9 * labels[:, None] * [1, 0, 0]
    >>> found = evaluate_probe(x, labels, np.arange(40) // 4)
    >>> found.value, found.chance, found.n_test
    (1.0, 0.5, 40)
    """
    return _evaluate([x], labels, groups, clusters, protocol, metric, n_folds, seeds)


def evaluate_best_layer(
    layers: Sequence[Features],
    labels: Ids,
    groups: Ids,
    clusters: Ids | None = None,
    protocol: ProbeName = "knn",
    metric: Metric = "accuracy",
    n_folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
) -> ProbeResult:
    """A label read from the layer that ``select_layer`` takes, anew for each training part.

    The value is that of the procedure, choice included: it is not too high by the best of
    many layers. Every encoder gets the same budget: all its layers, the same inner folds.

    Args:
        layers: Embeddings of each layer; the rest as for ``evaluate_probe``.
        labels: Class of each clip.
        groups: What folds keep whole.
        clusters: What the interval resamples.
        protocol: k-NN or linear.
        metric: Accuracy or balanced accuracy.
        n_folds: Folds, at most as many as groups.
        seeds: One split of the clips for each.

    Raises:
        ShapeError: no layers; the rest as for ``evaluate_probe``.
        DegenerateError: as for ``evaluate_probe``.
        UnknownNameError: as for ``evaluate_probe``.
    """
    return _evaluate(layers, labels, groups, clusters, protocol, metric, n_folds, seeds)


def select_layer(
    layers: Sequence[Features],
    labels: Ids,
    groups: Ids,
    train: Codes,
    protocol: ProbeName = "knn",
    metric: Metric = "accuracy",
    seed: int = 0,
) -> int:
    """The position of the layer that is best on folds within the training rows.

    Args:
        layers: Embeddings of each layer, all clips.
        labels: Class of each clip.
        groups: What folds keep whole.
        train: The only rows that are looked at.
        protocol: k-NN or linear.
        metric: What best means.
        seed: Of the inner folds.

    Raises:
        ShapeError: no layers; the rest as for ``evaluate_probe``.
        DegenerateError: values that are not finite.
        UnknownNameError: no such protocol or metric.
    """
    return validated_layer(layers, labels, groups, train, protocol, metric, seed)[0]


def validated_layer(
    layers: Sequence[Features],
    labels: Ids,
    groups: Ids,
    train: Codes,
    protocol: ProbeName = "knn",
    metric: Metric = "accuracy",
    seed: int = 0,
) -> tuple[int, float]:
    """The selected layer and its score on the inner folds, which is NaN without a choice."""
    codes = codes_of(labels, "label")
    check_metric(metric)
    rows, members = np.asarray(train, dtype=np.intp), codes_of(groups, "group")
    (choice,) = _choose(_some(layers), codes, members, [rows], protocol, metric, [seed])
    return choice[0], choice[2]


def _evaluate(
    layers: Sequence[Features],
    labels: Ids,
    groups: Ids,
    clusters: Ids | None,
    protocol: ProbeName,
    metric: Metric,
    n_folds: int,
    seeds: Sequence[int],
) -> ProbeResult:
    check_metric(metric)
    codes, members = codes_of(labels, "label"), codes_of(groups, "group")
    if not seeds:
        raise ShapeError("There are no seeds, expected at least one. Pass seeds=(0,).")
    _some(layers)
    splits = [grouped_folds(codes, members, n_folds, seed) for seed in seeds]
    seed_of = [seed for seed, folds in zip(seeds, splits, strict=True) for _ in folds]
    row_of = [row for row, folds in enumerate(splits) for _ in folds]
    parts = [fold for folds in splits for fold in folds]
    trains = [
        thin_training(fold.train, codes, MAX_TRAIN_CLIPS, seed)
        for fold, seed in zip(parts, seed_of, strict=True)
    ]
    choices = _choose(layers, codes, members, trains, protocol, metric, seed_of)
    predicted = np.empty((len(seeds), len(codes)), dtype=np.intp)
    for used in sorted({layer for layer, _, _ in choices}):
        probe = _build(layers[used], codes, protocol)
        for row, fold, train, (layer, setting, _) in zip(
            row_of, parts, trains, choices, strict=True
        ):
            if layer == used:
                found = probe.predict(train, fold.test, setting + 1)
                predicted[row, fold.test] = found[setting]
    shape = (len(seeds), -1)
    return replace(
        evaluate_predictions(_names(labels)[predicted], labels, groups, clusters, protocol, metric),
        n_unseen=sum(len(fold.unseen) for fold in parts),
        layers=None if len(layers) == 1 else np.array([c[0] for c in choices]).reshape(shape),
        validation=np.array([c[2] for c in choices]).reshape(shape),
        note=_describe_training(max(len(fold.train) for fold in parts)),
    )


def _describe_training(n_train: int) -> str:
    """What is said of a probe that was trained on a part of what it could have been."""
    if n_train <= MAX_TRAIN_CLIPS:
        return ""
    return (
        f"each fold trained on {MAX_TRAIN_CLIPS:,} of up to {n_train:,} clips, drawn class by "
        "class; all clips are tested"
    )


def evaluate_predictions(
    predictions: NDArray[Any],
    labels: Ids,
    groups: Ids,
    clusters: Ids | None = None,
    protocol: ProbeName = "knn",
    metric: Metric = "accuracy",
) -> ProbeResult:
    """Value and interval of predictions that are out of fold already, as those of a router.

    Args:
        predictions: Labels `[seed, clip]`, each one of the labels.
        labels: Class of each clip.
        groups: What folds kept whole.
        clusters: What the interval resamples.
        protocol: Of the probes that predicted.
        metric: Accuracy or balanced accuracy.

    Raises:
        ShapeError: other numbers of clips, or a predicted label that no clip has.
        UnknownNameError: no such metric.
    """
    check_metric(metric)
    codes, members = codes_of(labels, "label"), codes_of(groups, "group")
    units = resampling_units(members, clusters)
    names = _names(labels)
    table = np.atleast_2d(predictions)
    if table.shape[1] != len(codes) or not np.isin(table, names).all():
        raise ShapeError(
            f"The predictions have shape {table.shape} for {len(codes)} clips, expected labels of "
            "these clips [seed, clip]. Evaluate on the same clips."
        )
    predicted = np.searchsorted(names, table).astype(np.intp)
    value, low, high, reason = _with_interval(codes, predicted, units, metric)
    return ProbeResult(
        protocol=protocol,
        metric=metric,
        value=value,
        ci_low=low,
        ci_high=high,
        n_test=len(codes),
        n_classes=len(names),
        n_groups=int(members.max()) + 1,
        n_clusters=int(units.max()) + 1,
        n_unseen=0,
        chance=chance_level(codes, metric),
        predictions=table,
        layers=None,
        validation=None,
        reason=reason,
    )


def _names(labels: Ids) -> NDArray[Any]:
    """The classes in the order of their numbers."""
    is_plain = np.asarray(labels).dtype.kind in "iub"
    return np.unique(np.asarray(labels if is_plain else [str(label) for label in labels]))


def resampling_units(groups: Codes, clusters: Ids | None) -> Codes:
    """What the interval resamples: the coarser of groups and clusters, `[clip]`.

    Where neither holds the other whole, as with speakers crossed with prompts, the clusters.

    Raises:
        ShapeError: other numbers of groups and clusters.

    >>> resampling_units(np.array([0, 0, 1]), ["a", "b", "c"]).tolist()
    [0, 0, 1]
    >>> resampling_units(np.array([0, 1, 1]), ["a", "a", "a"]).tolist()
    [0, 0, 0]
    """
    if clusters is None:
        return groups
    units = codes_of(clusters, "cluster")
    if len(units) != len(groups):
        raise ShapeError(
            f"There are {len(units)} clusters for {len(groups)} clips, expected one for each. "
            "Pass the cluster_id column in the order of the rows."
        )
    pairs = len(np.unique(np.stack([units, groups]), axis=1).T)
    # As many pairs as clusters: every cluster lies within one group.
    return groups if pairs == int(units.max()) + 1 else units


def _build(x: Features, codes: Codes, protocol: ProbeName) -> Probe:
    blocks = as_blocks(x)
    if len(blocks[0]) != len(codes):
        raise ShapeError(
            f"There are {len(blocks[0])} embeddings and {len(codes)} labels, expected one label "
            "for each clip. Select the clips that have a label."
        )
    if protocol == "knn":
        return KnnProbe(blocks, codes)
    if protocol == "linear":
        return LinearProbe(blocks[0] if isinstance(x, np.ndarray) else blocks, codes)
    names = get_args(ProbeName)[:2]
    raise UnknownNameError(f"Unknown protocol {protocol!r}. {did_you_mean(protocol, names)}")


def _some(layers: Sequence[Features]) -> Sequence[Features]:
    if len(layers) == 0:
        raise ShapeError("There are no layers, expected at least one. Embed the clips first.")
    return layers


def _choose(
    layers: Sequence[Features],
    codes: Codes,
    members: Codes,
    trains: Sequence[Codes],
    protocol: ProbeName,
    metric: Metric,
    seeds: Sequence[int],
) -> list[tuple[int, int, float]]:
    """Layer, setting and score of the best out-of-fold metric within each part of training rows.

    Ties go to the lower layer and the stronger penalty. Layers are asked for one after the other.
    """
    n_settings = 1 if protocol == "knn" else len(PENALTIES)
    if len(layers) * n_settings == 1:
        return [(0, 0, math.nan)] * len(trains)
    scores = np.full((len(trains), len(layers), n_settings), math.nan)
    can_choose = [len(np.unique(members[train])) > 1 for train in trains]
    inner = [
        grouped_folds(codes[train], members[train], N_INNER_FOLDS, seed) if is_choice else []
        for train, seed, is_choice in zip(trains, seeds, can_choose, strict=True)
    ]
    for layer, x in enumerate(layers):
        probe = _build(x, codes, protocol)
        for part, (train, folds) in enumerate(zip(trains, inner, strict=True)):
            if folds:
                scores[part, layer] = _inner_scores(probe, codes, train, folds, n_settings, metric)
    chosen = []
    for of_part, is_choice in zip(scores, can_choose, strict=True):
        best = int(np.argmax(np.round(of_part, 12))) if is_choice else n_settings // 2
        chosen.append((best // n_settings, best % n_settings, float(of_part.flat[best])))
    return chosen


def _inner_scores(
    probe: Probe, codes: Codes, train: Codes, inner: Sequence[Fold], n_settings: int, metric: Metric
) -> Matrix:
    """The out-of-fold metric of each setting within the training rows `[setting]`."""
    predicted = np.empty((n_settings, len(train)), dtype=np.intp)
    for fold in inner:
        predicted[:, fold.test] = probe.predict(
            train[fold.train], train[fold.test], n_settings, CHOICE_TOLERANCE
        )
    together = np.zeros(len(train), dtype=np.intp)
    scores = np.empty(n_settings)
    for setting in range(n_settings):
        hits, clips = count_hits(codes[train], predicted[setting], together)
        scores[setting] = metric_of_counts(hits[0], clips[0], metric)
    return scores


def _with_interval(
    codes: Codes, predicted: Codes, units: Codes, metric: Metric
) -> tuple[float, float, float, str]:
    hits, clips = count_hits(codes, predicted, units)
    value = float(metric_of_counts(hits.sum(axis=0), clips.sum(axis=0), metric))
    reason = too_few_clusters(len(hits))
    if reason:
        return value, math.nan, math.nan, reason
    if value in (0.0, 1.0):
        # Every resample would say the same: Clopper and Pearson with clusters as the trials.
        far = 0.025 ** (1 / len(hits))
        return (value, far, 1.0, "") if value == 1.0 else (value, 0.0, 1 - far, "")
    samples = bootstrap_samples(
        lambda counts: metric_of_counts(counts @ hits, counts @ clips, metric),
        len(hits),
        N_RESAMPLES,
    )
    return value, *bootstrap_limits(samples, len(hits)), ""
