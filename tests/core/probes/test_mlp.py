"""The MLP probe on planted classes: what it must find, and what a leak would show."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.probes.linear import LinearProbe
from usad_workbench.core.probes.mlp import HEAR, LINEAR, MARBLE, MlpProbe, grid_points
from usad_workbench.core.probes.scores import metric_of_scores

SMALL = replace(HEAR, width=64, max_epochs=30, patience=3, n_points=2, batch_size=64)
TRAIN, TEST = np.arange(200), np.arange(200, 300)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rings(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes at two distances from the origin: nothing linear separates them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(300) % 2
    directions = rng.normal(size=(300, 8))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * (1 + 2 * labels)[:, None], labels


def test_finds_what_a_linear_probe_cannot() -> None:
    x, labels = rings()
    found = MlpProbe(x, labels, head=SMALL).predict(TRAIN, TEST)
    assert found.shape == (1, 100)
    assert np.mean(found[0] == labels[TEST]) > 0.95
    linear = LinearProbe(x, labels).predict(TRAIN, TEST, 1)
    assert np.mean(linear[0] == labels[TEST]) < 0.7


def test_permuted_labels_are_at_chance() -> None:
    x, labels = rings()
    shuffled = labels[np.random.default_rng(1).permutation(300)]
    found = MlpProbe(x, shuffled, head=SMALL).predict(TRAIN, TEST)
    assert abs(np.mean(found[0] == shuffled[TEST]) - 0.5) < 0.15


def test_the_test_labels_are_never_looked_at() -> None:
    x, labels = rings()
    other = labels.copy()
    other[TEST] = 1 - other[TEST]
    one = MlpProbe(x, labels, head=SMALL).log_probabilities(TRAIN, TEST)
    two = MlpProbe(x, other, head=SMALL).log_probabilities(TRAIN, TEST)
    np.testing.assert_array_equal(one, two)


def test_the_seed_decides() -> None:
    x, labels = rings()
    before = torch.get_rng_state()
    one, two, three = (
        MlpProbe(x, labels, head=SMALL, seed=seed).log_probabilities(TRAIN, TEST)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - three).max() > 1e-3
    assert torch.equal(before, torch.get_rng_state())


def test_scale_and_offset_of_the_embeddings_do_not_matter() -> None:
    x, labels = rings()
    one = MlpProbe(x, labels, head=SMALL).predict(TRAIN, TEST)
    two = MlpProbe(1e-4 * x + 5e-3, labels, head=SMALL).predict(TRAIN, TEST)
    assert np.mean(one == two) > 0.98


def test_validation_keeps_groups_whole() -> None:
    # Labels belong to groups at random: with siblings in training, validation would be 1.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    x = rng.normal(size=(40, 16))[groups] + 0.01 * rng.normal(size=(200, 16))
    probe = MlpProbe(x, rng.integers(0, 2, 40)[groups], groups, head=SMALL)
    fitted, valid = probe._hold_out(TRAIN)
    assert not set(groups[fitted]) & set(groups[valid])
    assert sorted([*fitted, *valid]) == TRAIN.tolist()


def test_segments_are_averaged_over_their_clip() -> None:
    # One segment in three says the class, the others say nothing: 300 clips of 3 segments.
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    x = rng.normal(size=(300, 3, 6))
    x[:, 0, 0] += 6 * (2 * labels - 1)
    clips = np.repeat(np.arange(300), 3)
    order = rng.permutation(900)  # segments of a clip need not lie together
    flat = x.reshape(900, 6)[order]
    probe = MlpProbe(flat, labels, clips=clips[order], head=SMALL)
    scores = probe.log_probabilities(TRAIN, TEST)
    assert scores.shape == (100, 2)
    assert np.mean(scores.argmax(axis=1) == labels[TEST]) > 0.95


def test_several_labels_per_clip() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((300, 3)) < 0.4
    x = rng.normal(size=(300, 8))
    x[:, :3] += 4 * labels
    for head in (SMALL, replace(LINEAR, max_epochs=60)):
        probe = MlpProbe(x, labels, head=head, metric="map")
        scores = probe.log_probabilities(TRAIN, TEST)
        assert metric_of_scores(labels[TEST], scores, "map")[0] > 0.95


def test_marble_head() -> None:
    x, labels = rings()
    head = replace(MARBLE, max_epochs=20, n_points=2)
    assert np.mean(MlpProbe(x, labels, head=head).predict(TRAIN, TEST)[0] == labels[TEST]) > 0.9


def test_the_grid_is_the_published_one() -> None:
    points = grid_points(HEAR)
    assert {p.learning_rate for p in grid_points(replace(HEAR, n_points=16))} == {
        3.2e-3,
        1e-3,
        3.2e-4,
        1e-4,
    }
    assert len(points) == len(set(points)) == 8
    assert (HEAR.width, HEAR.batch_size, HEAR.max_epochs, HEAR.patience) == (1024, 1024, 500, 20)
    assert grid_points(HEAR, seed=1) != points


def test_what_has_no_meaning_is_refused() -> None:
    x, labels = rings()
    with pytest.raises(DegenerateError, match="one group"):
        MlpProbe(x, labels, np.zeros(300), head=SMALL).predict(TRAIN, TEST)
    with pytest.raises(ShapeError, match="labels"):
        MlpProbe(x, labels[:5], head=SMALL)
    with pytest.raises(ShapeError, match="Embed the rest"):
        MlpProbe(x, np.zeros(301, dtype=int), clips=np.arange(300), head=SMALL)
    x[3] = np.nan
    with pytest.raises(DegenerateError, match="not finite"):
        MlpProbe(x, labels, head=SMALL)


def test_torch_is_imported_when_it_is_needed() -> None:
    code = (
        "import sys; import usad_workbench.core.probes.mlp; "
        "import usad_workbench.core.probes; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
