"""Whether encoders match those that stand in their place: accuracies on the domain's tasks.

Similarity grows with accuracy, whoever taught whom. So the mean of the students is held against
that of their peers, or the teacher against its controls, by cosine k-NN on the same clips. The
gap has two errors, that of clips (clusters as units, paired) and that of encoders (the spread of
those that stand beside); it counts as a gap where it is larger than the margin of the rules by
more than the larger one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.evaluation.testability import untestable
from usad_workbench.core.probes import evaluate_probe
from usad_workbench.core.probes.folds import codes_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """Some encoders beside those that stand in their place, in one domain; NaN: unknown."""

    accuracy: float
    """Cosine k-NN on the domain's tasks at the matching layer, mean over tasks and encoders."""
    control_accuracy: float
    gap_low: float
    gap_high: float
    """Limits of the gap at the level of the rules."""
    margin: float

    @property
    def is_matched(self) -> bool | None:
        """Whether the gap may be within the margin; none where it is unknown.

        >>> Match(accuracy=.9, control_accuracy=.8, gap_low=.02, gap_high=.18, margin=.01).is_matched
        False
        """
        if math.isnan(self.gap_low):
            return None
        return self.gap_low <= self.margin and self.gap_high >= -self.margin

    def describe(self) -> str:
        """The gap in words."""
        gap = self.accuracy - self.control_accuracy
        return (
            f"accuracy differs by {gap:+.2f} [{self.gap_low:+.2f}, {self.gap_high:+.2f}], more than "
            f"{self.margin:g}"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Rightness:
    """What each cluster adds to an encoder's accuracy, a mean over tasks `[cluster]`."""

    parts: Matrix
    weights: Matrix

    @property
    def accuracy(self) -> float:
        return float(self.parts.sum())


class MatchTable:
    """Matches of one diagnosis; each encoder is asked once."""

    def __init__(self, data: DiagnosisData) -> None:
        """Takes what the panels are computed from."""
        self._data = data
        self._tasks = data.tasks()
        self._known: dict[tuple[str, int, str], _Rightness | None] = {}

    def match(
        self, encoders: Sequence[str], beside: Sequence[str], layer: int, domain: str
    ) -> Match:
        """Encoders beside those that stand in their place.

        Args:
            encoders: The students, or the teacher.
            beside: Who stands in their place; at least one.
            layer: Of the student; the others are taken at the matching one.
            domain: Whose tasks.
        """
        sides = [[self._rightness(n, layer, domain) for n in names] for names in (encoders, beside)]
        margin = self._data.config.rules.margin
        own, others = ([one for one in side if one is not None] for side in sides)
        if not own or not others:
            nan = math.nan
            return Match(
                accuracy=nan, control_accuracy=nan, gap_low=nan, gap_high=nan, margin=margin
            )
        value, of_others = (
            float(np.mean([one.accuracy for one in side])) for side in (own, others)
        )
        half = self._half(own, others)
        return Match(
            accuracy=value,
            control_accuracy=of_others,
            gap_low=value - of_others - half,
            gap_high=value - of_others + half,
            margin=margin,
        )

    def _half(self, own: Sequence[_Rightness], others: Sequence[_Rightness]) -> float:
        """Half the interval of a gap, by clips or by encoders, whichever is wider."""
        alpha = self._data.config.rules.alpha
        parts = np.mean([a.parts for a in own], axis=0) - np.mean([b.parts for b in others], axis=0)
        weights = own[0].weights
        apart = parts - parts.sum() * weights / weights.sum()
        n, m = len(own), len(others)
        n_clusters = len(parts)
        halves = [0.0]
        if n_clusters > 1:
            error = math.sqrt(n_clusters / (n_clusters - 1) * float(np.sum(apart**2)))
            halves.append(float(stdtrit(n_clusters - 1, 1 - alpha / 2)) * error)
        if m > 1:
            spread = float(np.std([b.accuracy for b in others], ddof=1)) * math.sqrt(1 / n + 1 / m)
            halves.append(float(stdtrit(m - 1, 1 - alpha / 2)) * spread)
        return max(halves)

    def _rightness(self, name: str, layer: int, domain: str) -> _Rightness | None:
        key = (name, layer, domain)
        if key not in self._known:
            self._known[key] = self._measured(name, layer, domain)
        return self._known[key]

    def _measured(self, name: str, layer: int, domain: str) -> _Rightness | None:
        data = self._data
        inside = set(data.clips.clip_id[data.rows(domain)])
        units = codes_of(data.clusters(), "cluster")
        parts, weights = np.zeros((2, int(units.max()) + 1))
        n_tasks = 0
        for whole in self._tasks:
            rows = np.flatnonzero([clip_id in inside for clip_id in whole.clip_ids])
            task = whole.take(rows)
            if untestable(task):
                continue
            clips = data.rows_of_clips(task.clip_ids)
            x = data.vectors(name, data.matching_layer(name, layer), clips)
            score = evaluate_probe(
                x, task.labels, task.groups, task.units, metric=task.metric, seeds=(0,)
            )
            right = np.asarray(score.predictions[0] == np.asarray(task.labels), dtype=np.float64)
            weight = _clip_weights(task)
            parts += np.bincount(units[clips], weight * right, len(parts))
            weights += np.bincount(units[clips], weight, len(parts))
            n_tasks += 1
        if not n_tasks:
            return None
        used = weights > 0
        return _Rightness(parts=parts[used] / n_tasks, weights=weights[used] / n_tasks)


def _clip_weights(task: Task) -> Matrix:
    """What each clip counts in the metric of a task; the sum is 1."""
    labels = codes_of(task.labels, "label")
    if task.metric != "balanced_accuracy":
        return np.full(len(labels), 1.0 / len(labels))
    sizes = np.bincount(labels)
    return np.asarray(1.0 / (len(sizes) * sizes[labels]))
