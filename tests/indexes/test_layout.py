"""Coordinates of a map: planted groups, starts that end, equal seeds."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.indexes import layout
from usad_workbench.indexes.layout import DEFAULT, UmapSettings, pca_of, umap_of
from usad_workbench.indexes.neighbours import find_neighbours


def _blobs(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), n // 4)
    return normalise(4 * np.eye(4, 20)[labels] + rng.normal(size=(n, 20))), labels


def _map(
    unit: np.ndarray, settings: UmapSettings = DEFAULT, progress: Progress = no_progress
) -> np.ndarray:
    return umap_of(unit, find_neighbours(unit, settings.n_neighbours), settings, progress)


def _kept(points: np.ndarray, labels: np.ndarray) -> float:
    """Share of neighbours on the map that have the label of the point."""
    nearest = np.argsort(((points[:, None] - points[None]) ** 2).sum(-1), axis=1)[:, 1:6]
    return float((labels[nearest] == labels[:, None]).mean())


def test_umap_keeps_planted_groups_and_repeats_itself() -> None:
    unit, labels = _blobs()
    points = _map(unit)
    assert _kept(points, labels) > 0.95
    np.testing.assert_array_equal(points, _map(unit))
    assert np.abs(points - _map(unit, UmapSettings(seed=1))).max() > 0.1


@pytest.mark.slow
def test_without_a_seed_groups_are_kept_too() -> None:
    """Compiled once more for several cores: 15 s."""
    unit, labels = _blobs()
    assert _kept(_map(unit, UmapSettings(seed=None)), labels) > 0.95


def test_settings_change_the_map() -> None:
    unit, _ = _blobs()
    spread = [
        np.median(np.linalg.norm(np.diff(_map(unit, UmapSettings(min_dist=d)), axis=0), axis=1))
        for d in (0.0, 0.9)
    ]
    assert spread[0] < spread[1]
    for wrong in ({"n_neighbours": 1}, {"min_dist": -0.1}, {"min_dist": 2.0}):
        with pytest.raises(ConfigError, match="expected"):
            UmapSettings(**wrong)


def test_epochs_are_reported_as_they_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    unit, _ = _blobs()
    seen: list[tuple[int, int, str]] = []
    every = layout._reporting
    monkeypatch.setattr(layout, "_reporting", lambda p: every(p) | {"mininterval": 0.0})
    _map(unit, progress=lambda *call: seen.append(call))
    assert seen.pop(0)[2] == "graph of the neighbours"
    done = [call[0] for call in seen]
    assert done == sorted(done) and done[0] == 0 and done[-1] == 500 and len(set(done)) > 10
    assert {call[1:] for call in seen} == {(500, "layout")}


def test_umap_is_given_our_neighbours_and_searches_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import umap.umap_

    for name in ("nearest_neighbors", "spectral_layout"):  # the second may not end
        monkeypatch.setattr(umap.umap_, name, lambda *_, **__: pytest.fail("searched"))
    assert np.isfinite(_map(_blobs()[0])).all()


@pytest.mark.parametrize("n_pieces", [2, 7, 33])
def test_graphs_in_pieces_end_and_keep_their_pieces(n_pieces: int) -> None:
    """Each piece has its own axes: no neighbour is in another, as in large collections."""
    rng = np.random.default_rng(0)
    which = np.repeat(np.arange(n_pieces), 840 // n_pieces)
    vectors = np.zeros((len(which), 3 * n_pieces), np.float32)
    for row, piece in enumerate(which):
        vectors[row, 3 * piece : 3 * piece + 3] = 1 + 0.3 * rng.normal(size=3)
    points = _map(normalise(vectors))
    assert np.isfinite(points).all()
    assert _kept(points, which) > 0.9


def test_copies_zeros_and_chance_are_mapped() -> None:
    rng = np.random.default_rng(0)
    unit = normalise(rng.normal(size=(200, 8)))
    unit[:60], unit[60:120] = 0.0, unit[60]
    line = normalise(np.outer(np.ones(60), [3.0, 4.0]) + [[0.0, 0.001 * i] for i in range(60)])
    for vectors in (unit, line):
        points = _map(vectors)
        assert np.isfinite(points).all() and (points.std(axis=0) > 0).all()
    zeros = np.concatenate([np.zeros(60), np.ones(140)])
    assert _kept(_map(unit)[:60], zeros[:60]) == 1.0


def test_components_are_those_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "BLOCK_ROWS", 64)  # several blocks, the last one short
    unit, _ = _blobs(200)
    peer = PCA(2).fit_transform(unit)
    found = pca_of(unit)
    np.testing.assert_allclose(np.abs(found), np.abs(peer), atol=1e-4)
    assert abs(np.corrcoef(found[:, 0], peer[:, 0])[0, 1]) > 0.9999


def test_the_start_of_a_map_does_not_depend_on_the_number_of_threads() -> None:
    """From a start that differs by rounding UMAP makes another map."""
    unit = normalise(np.random.default_rng(0).normal(size=(4000, 96)).astype(np.float32))
    made = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            made.append(pca_of(unit))
    np.testing.assert_array_equal(*made)


def test_pca_handles_tiny_sets() -> None:
    for n in (0, 1, 2, 5):
        points = pca_of(np.eye(5, 8, dtype=np.float32)[:n])
        assert points.shape == (n, 2)
        assert np.isfinite(points).all()
    assert pca_of(np.ones((4, 1), np.float32)).tolist() == [[0.0, 0.0]] * 4
