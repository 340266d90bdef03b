"""Shallow-network heads out of fold: one layer by the cheap probe, then the head on it.

All choices lie within the training part: the layer by the linear probe on inner folds, then
grid point and epoch on a quarter of the training groups. HEAR chooses its grid point once, on
the first fold, whose validation clips later test; the benchmarks of ``evaluation.benchmarks`` do as
HEAR does, tasks of a workspace choose anew for each fold.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from usad_workbench.core.arrays import Ids, Vectors
from usad_workbench.core.errors import ShapeError, UnknownNameError, did_you_mean
from usad_workbench.core.probes.blocks import Features
from usad_workbench.core.probes.evaluate import (
    ProbeName,
    ProbeResult,
    evaluate_predictions,
    validated_layer,
)
from usad_workbench.core.probes.folds import Codes, codes_of, grouped_folds
from usad_workbench.core.probes.metrics import Metric
from usad_workbench.core.probes.mlp import HEADS, DownstreamHead, MlpProbe

FRAMES = "-frames"
"""Behind the name of a head: it is given segments instead of their mean."""


def head_of(protocol: str) -> DownstreamHead | None:
    """The head of a protocol; none for k-NN and linear probes.

    >>> head_of("hear-frames").name, head_of("knn")
    ('hear', None)
    """
    return HEADS.get(protocol.removesuffix(FRAMES))


def evaluate_head(
    layers: Sequence[Features],
    labels: Ids,
    groups: Ids,
    protocol: ProbeName = "hear",
    metric: Metric = "accuracy",
    n_folds: int = 5,
    seeds: Sequence[int] = (0,),
    segments: Sequence[tuple[Vectors, Codes]] = (),
) -> ProbeResult:
    """A label read by a shallow network from the layer that validation selects.

    Args:
        layers: Embeddings of each layer `[clip, dim]`, or blocks of them.
        labels: Class of each clip.
        groups: What folds and validation keep whole, and the interval resamples.
        protocol: ``hear``, ``marble``, or either with ``-frames``.
        metric: Accuracy or balanced accuracy.
        n_folds: Folds, at most as many as groups.
        seeds: One split of the clips for each; a network for each fold and grid point.
        segments: At frame level, for each layer the vectors `[segment, dim]` and the place
            of the clip of each.

    Raises:
        ShapeError: no layers or seeds, other numbers of clips, no segments at frame level.
        DegenerateError: one group only, or values that are not finite.
        UnknownNameError: no such protocol or metric.
    """
    chosen = head_of(protocol)
    if chosen is None:
        raise UnknownNameError(f"Unknown head {protocol!r}. {did_you_mean(protocol, HEADS)}")
    is_frames = protocol.endswith(FRAMES)
    if not seeds or (is_frames and len(segments) != len(layers)):
        raise ShapeError(
            f"There are {len(seeds)} seeds, {len(layers)} layers and segments of "
            f"{len(segments)}, expected a seed, and at frame level the segments of every layer."
        )
    classes = np.unique(np.asarray(labels))
    codes, members = codes_of(labels, "label"), codes_of(groups, "group")
    predicted = np.empty((len(seeds), len(codes)), dtype=np.intp)
    used, scores, n_unseen = [], [], 0
    for row, seed in enumerate(seeds):
        for fold in grouped_folds(codes, members, n_folds, seed):
            layer, score = validated_layer(
                layers, codes, members, fold.train, "linear", metric, seed
            )
            x, clips = segments[layer] if is_frames else (layers[layer], None)
            probe = MlpProbe(x, codes, members, clips, chosen, metric, seed)
            predicted[row, fold.test] = probe.predict(fold.train, fold.test)[0]
            used.append(layer)
            scores.append(score)
            n_unseen += len(fold.unseen)
    result = evaluate_predictions(classes[predicted], labels, groups, None, protocol, metric)
    shape = (len(seeds), -1)
    return replace(
        result,
        n_unseen=n_unseen,
        layers=None if len(layers) == 1 else np.asarray(used, dtype=np.intp).reshape(shape),
        validation=np.asarray(scores, dtype=np.float64).reshape(shape),
    )
