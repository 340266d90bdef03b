"""A head out of fold: the layer that validation selects, groups whole, labels as they came."""

from dataclasses import replace

import numpy as np
import pytest

from usad_workbench.core.errors import ShapeError, UnknownNameError
from usad_workbench.core.probes import evaluate_head
from usad_workbench.core.probes.mlp import HEADS, HEAR

SMALL = replace(
    HEAR, width=32, max_epochs=30, patience=3, n_points=1, batch_size=16, learning_rates=(1e-2,)
)


@pytest.fixture(autouse=True)
def small_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "hear", SMALL)


def planted(seed: int = 0) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Three layers of 120 clips in 30 groups; the second alone says the class."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(30), 4)
    labels = np.array(["b", "a"])[np.arange(120) % 2]
    layers = [rng.normal(size=(120, 6)) for _ in range(3)]
    layers[1][:, 0] += 6 * (labels == "a")
    return layers, labels, groups


def test_reads_the_planted_layer() -> None:
    layers, labels, groups = planted()
    found = evaluate_head(layers, labels, groups)
    assert found.value > 0.95 and found.ci_low > 0.85
    assert found.layers is not None and set(found.layers.ravel()) == {1}
    assert found.predictions.shape == (1, 120)
    assert found.protocol == "hear" and set(found.predictions.ravel()) == {"a", "b"}


def test_a_group_is_never_on_both_sides() -> None:
    # The label belongs to the group at random, the vectors to the group: siblings would give 1.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), 4)
    labels = rng.integers(0, 2, 30)[groups]
    x = rng.normal(size=(30, 16))[groups]
    assert evaluate_head([x], labels, groups).value < 0.75


def test_segments() -> None:
    layers, labels, groups = planted()
    order = np.random.default_rng(1).permutation(240)
    clips = np.tile(np.arange(120), 2)[order]
    segments = [(np.vstack([x, 0.0 * x])[order], clips) for x in layers]
    found = evaluate_head(layers, labels, groups, protocol="hear-frames", segments=segments)
    assert found.value > 0.9


def test_what_has_no_meaning_is_refused() -> None:
    layers, labels, groups = planted()
    with pytest.raises(UnknownNameError, match="hear"):
        evaluate_head(layers, labels, groups, protocol="knn")
    with pytest.raises(ShapeError, match="segments"):
        evaluate_head(layers, labels, groups, protocol="hear-frames")
