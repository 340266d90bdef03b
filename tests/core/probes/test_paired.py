import math

import numpy as np
import pytest

from usad_workbench.core.errors import ShapeError, UnknownNameError
from usad_workbench.core.probes import PairedTask, mean_paired_difference, paired_difference
from usad_workbench.core.probes.metrics import count_hits, metric_of_counts
from usad_workbench.core.similarity.resampling import bootstrap_limits


@pytest.fixture
def task():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(24), 8)
    labels = rng.integers(0, 2, size=192)
    is_hard = (rng.random(24) < 0.5)[clusters]  # the same clips are hard for both
    right_a = np.where(is_hard, rng.random(192) < 0.55, True)
    right_b = np.where(is_hard, rng.random(192) < 0.45, True)
    return (
        np.where(right_a, labels, 1 - labels),
        np.where(right_b, labels, 1 - labels),
        (labels),
        clusters,
    )


def test_pairing_sharpens_the_interval(task):
    a, b, labels, clusters = task
    found = paired_difference(a, b, labels, clusters)
    assert found.value == pytest.approx(np.mean(a == labels) - np.mean(b == labels))
    assert found.ci_low < found.value < found.ci_high
    assert found.n_clusters == 24
    halves = []
    for side in (a, b):
        hits, clips = count_hits(labels, side, clusters)
        counts = np.random.default_rng(0).multinomial(24, np.full(24, 1 / 24), size=2000)
        low, high = bootstrap_limits(
            metric_of_counts(counts @ hits, counts @ clips, "accuracy"), 24
        )
        halves.append((high - low) / 2)
    assert (found.ci_high - found.ci_low) / 2 < 0.8 * np.hypot(*halves)


def test_equal_encoders_differ_by_nothing(task):
    a, _, labels, clusters = task
    found = paired_difference(a, a, labels, clusters, metric="balanced_accuracy")
    assert (found.value, found.ci_low, found.ci_high) == (0, 0, 0)


def test_seeds_are_averaged_and_labels_may_be_text(task):
    a, b, labels, clusters = task
    words = np.array(["no", "yes"])
    both = np.stack([words[a], words[b]])
    found = paired_difference(both, words[b], words[labels], clusters)
    plain = paired_difference(a, b, labels, clusters)
    assert found.value == pytest.approx(plain.value / 2)


def test_mean_over_tasks_draws_shared_clusters_once(task):
    a, b, labels, clusters = task
    one = PairedTask(pred_a=a, pred_b=b, labels=labels, clusters=clusters)
    swapped = PairedTask(pred_a=b, pred_b=a, labels=labels, clusters=clusters)
    alone, twice = (mean_paired_difference(tasks) for tasks in ([one], [one, one]))
    assert (twice.ci_low, twice.ci_high) == pytest.approx((alone.ci_low, alone.ci_high))
    against = mean_paired_difference([one, swapped])
    assert (against.value, against.ci_low, against.ci_high) == pytest.approx((0, 0, 0))
    other = PairedTask(pred_a=a, pred_b=b, labels=labels, clusters=clusters + 100)
    apart = mean_paired_difference([one, other])
    assert apart.n_clusters == 48
    assert apart.ci_high - apart.ci_low < 0.85 * (alone.ci_high - alone.ci_low)


def test_few_clusters_and_wrong_input(task):
    a, b, labels, clusters = task
    few = paired_difference(a, b, labels, clusters % 5)
    assert math.isnan(few.ci_low)
    assert "5 clusters" in few.reason
    with pytest.raises(ShapeError, match="same clips"):
        paired_difference(a[:-1], b, labels, clusters)
    with pytest.raises(ShapeError, match="no tasks"):
        mean_paired_difference([])
    with pytest.raises(UnknownNameError, match="accuracy"):
        paired_difference(a, b, labels, clusters, metric="kappa")
