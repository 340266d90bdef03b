"""Maps: from the index's neighbours, faithful, and honest about it."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from tests.conftest import SpectrumEncoder
from usad_workbench.core.cosine import normalise
from usad_workbench.core.embedding import embed
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import projection
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.projection import neighbours, pca_of, project_space, umap_of


def _blobs(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), n // 4)
    return (4 * np.eye(4, 20)[labels] + rng.normal(size=(n, 20))).astype(np.float32), labels


def test_neighbours_start_with_the_row_itself() -> None:
    vectors = normalise(np.repeat(_blobs()[0][:30], 3, axis=0))  # exact copies
    ids = np.arange(90) * 2
    rows, distances = neighbours(VectorIndex.build(vectors, ids), vectors, ids, 10)
    np.testing.assert_array_equal(rows[:, 0], np.arange(90))
    np.testing.assert_array_equal(distances[:, 0], 0.0)
    assert all(len(set(row)) == 10 for row in rows.tolist())
    np.testing.assert_allclose(
        distances[:, 5], [1 - vectors[i] @ vectors[rows[i, 5]] for i in range(90)], atol=1e-5
    )


def test_umap_keeps_planted_clusters_apart() -> None:
    vectors, labels = _blobs()
    unit = normalise(vectors)
    ids = np.arange(len(unit))
    points = umap_of(unit, *neighbours(VectorIndex.build(unit, ids), unit, ids, 15))
    nearest = np.argsort(((points[:, None] - points[None]) ** 2).sum(-1), axis=1)[:, 1:6]
    assert (labels[nearest] == labels[:, None]).mean() > 0.95
    again = umap_of(unit, *neighbours(VectorIndex.build(unit, ids), unit, ids, 15))
    np.testing.assert_allclose(points, again, atol=1e-4)


def test_umap_is_given_our_neighbours_and_searches_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import umap.umap_

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("umap searched for neighbours itself")

    monkeypatch.setattr(umap.umap_, "nearest_neighbors", refuse)
    unit = normalise(_blobs()[0])
    ids = np.arange(len(unit))
    points = umap_of(unit, *neighbours(VectorIndex.build(unit, ids), unit, ids, 15))
    assert np.isfinite(points).all()


def test_pca_handles_tiny_sets() -> None:
    for n in (0, 1, 2, 5):
        points = pca_of(np.eye(5, 8, dtype=np.float32)[:n])
        assert points.shape == (n, 2)
        assert np.isfinite(points).all()


def test_project_stores_points_and_their_faithfulness(workspace: Workspace) -> None:
    embed(workspace, SpectrumEncoder())
    report = project_space(workspace, "spectrum", 1)
    rows = workspace.sql(
        "SELECT segment_id, x, y FROM projections WHERE encoder = 'spectrum' AND layer = 1 "
        "ORDER BY segment_id"
    )
    stored = workspace.embeddings("spectrum", 1)
    assert rows.segment_id.tolist() == stored.segment_ids.tolist()
    expected = trustworthiness(
        normalise(stored.vectors), rows[["x", "y"]].to_numpy(), n_neighbors=10, metric="cosine"
    )
    assert report.trustworthiness == pytest.approx(expected, abs=1e-6)
    mixed = np.random.default_rng(0).permutation(len(rows))
    shuffled = trustworthiness(
        normalise(stored.vectors), rows[["x", "y"]].to_numpy()[mixed], n_neighbors=10,
        metric="cosine",
    )  # fmt: skip
    assert report.trustworthiness > shuffled + 0.1
    assert not project_space(workspace, "spectrum", 1).is_new


def test_few_points_get_pca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.conftest import write_tone
    from usad_workbench.core.storage.importing import SourceClip, import_clips

    workspace = Workspace.create(tmp_path / "w")
    import_clips(
        workspace,
        [SourceClip(path=write_tone(tmp_path / f"{i}.wav", 100 + i)) for i in range(3)],
    )
    embed(workspace, SpectrumEncoder())
    monkeypatch.setattr(projection, "umap_of", lambda *_: pytest.fail("too few for UMAP"))
    report = project_space(workspace, "spectrum", 0)
    assert (report.n, report.trustworthiness) == (3, None)
