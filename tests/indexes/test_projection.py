"""Maps: from the index's neighbours, faithful, and honest about it."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from tests.conftest import SpectrumEncoder
from tests.stored_vectors import ENCODER, clustered, store
from usad_workbench.core.cosine import normalise
from usad_workbench.core.embedding import embed
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import project, projection
from usad_workbench.indexes.building import build_index
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.projection import neighbours, pca_of, project_space, umap_of
from usad_workbench.indexes.spaces import update_index
from usad_workbench.workbench.cli import main
from usad_workbench.workbench.presenters.maps import available_maps


def _blobs(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), n // 4)
    return (4 * np.eye(4, 20)[labels] + rng.normal(size=(n, 20))).astype(np.float32), labels


def test_neighbours_start_with_the_row_itself() -> None:
    vectors = normalise(np.repeat(_blobs()[0][:30], 3, axis=0))  # exact copies
    ids = np.arange(90) * 2
    rows, distances = neighbours(build_index(ids, vectors).index, vectors, ids, 10)
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
    points = umap_of(unit, *neighbours(build_index(ids, unit).index, unit, ids, 15))
    nearest = np.argsort(((points[:, None] - points[None]) ** 2).sum(-1), axis=1)[:, 1:6]
    assert (labels[nearest] == labels[:, None]).mean() > 0.95
    again = umap_of(unit, *neighbours(build_index(ids, unit).index, unit, ids, 15))
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
    points = umap_of(unit, *neighbours(build_index(ids, unit).index, unit, ids, 15))
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
        normalise(stored.vectors),
        rows[["x", "y"]].to_numpy()[mixed],
        n_neighbors=10,
        metric="cosine",
    )
    assert report.trustworthiness > shuffled + 0.1
    assert not project_space(workspace, "spectrum", 1).is_new


@pytest.mark.parametrize("n", [1, 2, 3, 12, 19])
def test_few_points_get_pca_and_are_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    vectors = np.random.default_rng(0).normal(size=(n, 4))
    workspace = store(tmp_path / "w", vectors)
    with workspace.database.write() as connection:  # as maps of so few were noted before
        connection.execute(
            "INSERT INTO projections SELECT ?, 0, 'mean', 'umap', segment_id, 0, 0 FROM segments",
            [ENCODER],
        )
        connection.execute(
            "INSERT INTO projection_quality VALUES (?, 0, 'mean', 'umap', ?, NULL, ?, 0, NULL)",
            [ENCODER, n, n],
        )
    monkeypatch.setattr(projection, "umap_of", lambda *_: pytest.fail("too few for UMAP"))
    for is_new in (True, False):
        report = project_space(workspace, ENCODER, 0)
        assert (report.method, report.n, report.is_new) == ("pca", n, is_new)
        assert f"there are {n}" in report.reason and report.trustworthiness is None
        for table in ("projections", "projection_quality"):
            assert set(workspace.read(f"SELECT method FROM {table}").method) == {"pca"}
    stored = workspace.read("SELECT x, y FROM projections ORDER BY segment_id").to_numpy()
    np.testing.assert_allclose(stored, pca_of(normalise(vectors.astype(np.float32))), atol=1e-6)
    assert project_space(workspace, ENCODER, 0, method="pca").reason == ""


def test_the_command_and_the_page_call_few_points_pca(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = store(tmp_path / "w", np.random.default_rng(0).normal(size=(7, 4)))
    assert main(["project", "--workspace", str(workspace.folder), "--json"]) == 0
    out, err = capsys.readouterr()
    (row,) = json.loads(out)
    assert row["method"] == "pca" and "there are 7" in row["reason"] and row["reason"] in err
    assert available_maps(workspace.read).method.tolist() == ["pca"]


def test_a_collection_that_grows_gets_umap(tmp_path: Path) -> None:
    workspace = store(tmp_path / "w", np.random.default_rng(0).normal(size=(20, 4)))
    report = project_space(workspace, ENCODER, 0)
    assert (report.method, report.reason) == ("umap", "")
    assert not project_space(workspace, ENCODER, 0).is_new


@pytest.mark.parametrize("n_pieces", [2, 7, 40])
def test_graphs_in_pieces_end_and_keep_their_pieces(n_pieces: int) -> None:
    """Each piece has its own axes: no neighbour is in another, as in large collections."""
    rng = np.random.default_rng(0)
    which = np.repeat(np.arange(n_pieces), 840 // n_pieces)
    vectors = np.zeros((len(which), 3 * n_pieces), np.float32)
    for row, piece in enumerate(which):
        vectors[row, 3 * piece : 3 * piece + 3] = 1 + 0.3 * rng.normal(size=3)
    unit, ids = normalise(vectors), np.arange(len(which))
    points = umap_of(unit, *neighbours(build_index(ids, unit).index, unit, ids, 15))
    assert np.isfinite(points).all()
    nearest = np.argsort(((points[:, None] - points[None]) ** 2).sum(-1), axis=1)[:, 1:6]
    assert (which[nearest] == which[:, None]).mean() > 0.9


def test_the_start_is_one_that_always_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    import umap.umap_

    monkeypatch.setattr(
        umap.umap_, "spectral_layout", lambda *_, **__: pytest.fail("a start that may not end")
    )
    unit = normalise(_blobs()[0])
    ids = np.arange(len(unit))
    assert len(umap_of(unit, *neighbours(build_index(ids, unit).index, unit, ids, 15))) == 120


def test_a_graph_with_poor_recall_is_not_what_a_map_is_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(400, 6, 4)[0]
    workspace = store(tmp_path / "w", vectors)
    seen: list[str] = []

    def noted(index: VectorIndex, *rest: object) -> object:
        seen.append(index.kind)
        return neighbours(index, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(projection, "neighbours", noted)
    for kind in ("hnsw", "ivf"):
        update_index(workspace, ENCODER, 0, kind=kind)  # type: ignore[arg-type]
        project_space(workspace, ENCODER, 0)
        with workspace.database.write() as connection:
            connection.execute("DELETE FROM projection_quality")
    assert seen == ["flat", "ivf"]


def test_one_call_makes_the_maps_of_several_layers(workspace: Workspace) -> None:
    embed(workspace, ["log-mel-statistics", "untrained-student"], layers=[0], n_processes=1)
    embed(workspace, "untrained-student", layers=[4, 8])
    seen: list[tuple[int, int]] = []
    some = project(
        workspace,
        "untrained-student",
        [0, -1],
        method="pca",
        progress=lambda done, total, what: seen.append((done, total)),
    )
    assert [(report.layer, report.is_new) for report in some] == [(0, True), (8, True)]
    assert seen == [(1, 2), (2, 2)]
    every = project(workspace, method="pca")
    assert [(r.encoder, r.layer, r.is_new) for r in every] == [
        ("log-mel-statistics", 0, True),
        ("untrained-student", 0, False),
        ("untrained-student", 4, True),
        ("untrained-student", 8, False),
    ]
    assert len(project(workspace, layers=-1, method="pca")) == 2
    with pytest.raises(UnknownNameError, match="no layer 7"):
        project(workspace, "untrained-student", 7)
