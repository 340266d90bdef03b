"""Frozen evaluation: official splits, choices on validation alone, scikit-learn's metrics."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score

from tests.core.evaluation.benchmarks.layouts import CLASSES
from usad_workbench.core.errors import DegenerateError, UnknownNameError
from usad_workbench.core.evaluation.benchmarks.embeddings import SegmentVectors
from usad_workbench.core.evaluation.benchmarks.evaluate import benchmark_score, evaluate_frozen
from usad_workbench.core.evaluation.benchmarks.task import (
    FIXED_SPLIT,
    BenchmarkTask,
    Item,
    Published,
    rotating_splits,
)
from usad_workbench.core.probes.mlp import HEADS, HEAR

SMALL = replace(
    HEAR,
    width=16,
    max_epochs=24,
    patience=3,
    n_points=2,
    batch_size=32,
    learning_rates=(3e-2, 1e-2),
    hidden_layers=(1,),
)


@pytest.fixture(autouse=True)
def small_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "hear", SMALL)


def folds_task(labels: list[str], folds: list[int], clusters: list[str]) -> BenchmarkTask:
    items = tuple(
        Item(path=Path(f"{i}.wav"), labels=(label,), part=str(fold), cluster=cluster)
        for i, (label, fold, cluster) in enumerate(zip(labels, folds, clusters, strict=True))
    )
    numbers = (Published(model="X", value=0.9, source="a paper"),)
    return BenchmarkTask(
        name="made",
        items=items,
        splits=rotating_splits([str(f) for f in folds]),
        metric="accuracy",
        published={"frozen": numbers},
    )


def planted(n: int = 150, seed: int = 0) -> tuple[BenchmarkTask, dict[int, SegmentVectors]]:
    """Five folds; the second of three layers says the class."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 3
    task = folds_task(
        [CLASSES[k] for k in codes], [1 + i // 3 % 5 for i in range(n)], [f"s{i}" for i in range(n)]
    )
    layers = [rng.normal(size=(n, 6)) for _ in range(3)]
    layers[1][:, :3] += 2.2 * np.eye(3)[codes]
    return task, {i: segments(x) for i, x in enumerate(layers)}


def segments(x: np.ndarray, n: int = 1) -> SegmentVectors:
    """Each clip as ``n`` segments around its vector."""
    noise = np.random.default_rng(1).normal(size=(n, *x.shape)) * (n > 1)
    clips = np.tile(np.arange(len(x)), n)
    return SegmentVectors(np.vstack([x + part for part in noise]).astype(np.float32), clips)


@pytest.mark.parametrize("protocol", ["knn", "linear", "hear"])
def test_planted_classes_by_official_folds(protocol: str) -> None:
    task, layers = planted()
    found = evaluate_frozen(task, layers, protocol)
    for split, one in zip(task.splits, found, strict=True):
        assert one.test.tolist() == [i for i, x in enumerate(task.items) if (x.part,) == split.test]
    row = benchmark_score(task, "E", "frozen", protocol, found)
    picked = {i: k for one in found for i, k in zip(one.test, one.scores.argmax(1), strict=True)}
    truth = task.truth()
    assert row.value == pytest.approx(
        accuracy_score(truth, [picked[i] for i in range(len(truth))]), abs=1e-12
    )
    assert row.layer == 1 and row.value > 0.75
    assert row.ci_low < row.value < row.ci_high
    assert (row.n_test, row.n_clusters, row.n_splits) == (150, 150, 5)
    assert row.published == (Published(model="X", value=0.9, source="a paper"),)


@pytest.mark.parametrize("protocol", ["knn", "linear", "hear"])
def test_a_leak_across_folds_would_be_seen(protocol: str) -> None:
    # Fifty recordings of three clips with almost the same vector and a label by chance: whoever
    # has a sibling in training reads it. The official folds keep recordings whole.
    rng = np.random.default_rng(0)
    recording = np.repeat(np.arange(50), 3)
    labels = [CLASSES[k] for k in rng.integers(0, 3, 50)[recording]]
    x = rng.normal(size=(50, 24))[recording] + 0.01 * rng.normal(size=(150, 24))
    names = [f"r{k}" for k in recording]
    values = {}
    for kind, folds in (("official", recording % 5), ("leaking", np.arange(150) % 3)):
        task = folds_task(labels, [int(f) for f in folds], names)
        found = evaluate_frozen(task, {0: segments(x)}, protocol)
        values[kind] = benchmark_score(task, "E", "frozen", protocol, found)
    assert values["official"].value < 0.55
    # One sibling validates, another trains; k-NN with ten votes sees it among nine others.
    assert values["leaking"].value > (0.45 if protocol == "knn" else 0.8)
    assert values["official"].n_clusters == 50


def test_the_test_labels_are_never_looked_at() -> None:
    task, layers = planted()
    one = replace(task, splits=task.splits[:1])
    changed = replace(
        one,
        items=tuple(
            replace(item, labels=("rain",)) if item.part == "1" else item for item in task.items
        ),
    )
    for protocol in ("knn", "linear", "hear"):
        before = evaluate_frozen(one, layers, protocol)[0]
        after = evaluate_frozen(changed, layers, protocol)[0]
        np.testing.assert_array_equal(before.scores, after.scores)


def test_several_labels() -> None:
    rng = np.random.default_rng(0)
    table = rng.random((180, 3)) < 0.4
    parts = ["train", "train", "valid", "test"] * 45
    items = tuple(
        Item(
            path=Path(f"{i}.wav"),
            labels=tuple(np.array(CLASSES)[row]),
            part=parts[i],
            cluster=f"v{i}",
        )
        for i, row in enumerate(table)
    )
    task = BenchmarkTask(
        name="several",
        items=items,
        splits=FIXED_SPLIT,
        metric="map",
        has_several_labels=True,
        classes=CLASSES,
    )
    x = rng.normal(size=(180, 6))
    x[:, :3] += 3 * table
    layers = {0: segments(rng.normal(size=(180, 6))), 4: segments(x)}
    for protocol in ("linear", "hear"):
        found = evaluate_frozen(task, layers, protocol)
        row = benchmark_score(task, "E", "frozen", protocol, found)
        expected = average_precision_score(table[found[0].test], found[0].scores)
        assert row.value == pytest.approx(expected, abs=1e-12)
        assert row.layer == 4 and row.value > 0.85
    with pytest.raises(DegenerateError, match="several labels"):
        evaluate_frozen(task, layers, "knn")


def test_frame_level_sees_segments() -> None:
    task, layers = planted(90)
    task = replace(task, splits=task.splits[:2])
    four = {layer: segments(x.vectors, 2) for layer, x in layers.items()}
    found = evaluate_frozen(task, four, "hear-frames")
    assert benchmark_score(task, "E", "frozen", "hear-frames", found).value > 0.6
    with pytest.raises(UnknownNameError, match="hear"):
        evaluate_frozen(task, four, "heer")


def test_few_recordings_have_no_interval() -> None:
    task, layers = planted(30)
    few = replace(task, items=tuple(replace(x, cluster=x.part) for x in task.items))
    row = benchmark_score(few, "E", "frozen", "knn", evaluate_frozen(few, layers, "knn"))
    assert np.isnan(row.ci_low) and "5 clusters" in row.reason
