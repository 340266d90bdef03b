"""Maps: of their vectors, faithful, and honest about it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import trustworthiness

from tests.conftest import SpectrumEncoder
from tests.stored_vectors import ENCODER, clustered, record, store
from usad_workbench.core.cosine import normalise
from usad_workbench.core.embedding import embed
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.storage.deletion import delete_clips
from usad_workbench.core.storage.spaces import append_vectors, replacing, take_place
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import project, projection
from usad_workbench.indexes.layout import UmapSettings, pca_of
from usad_workbench.indexes.projection import project_space
from usad_workbench.indexes.spaces import update_index
from usad_workbench.workbench.cli import main
from usad_workbench.workbench.presenters.maps import available_maps


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
        normalise(stored.vectors).astype(float),
        rows[["x", "y"]].to_numpy(),
        n_neighbors=10,
        metric="cosine",
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


def _settings(workspace: Workspace) -> dict[str, object]:
    (text,) = workspace.read("SELECT settings FROM projection_quality").settings
    return json.loads(text)


def test_a_map_says_how_it_was_made_and_how_faithful_it_is(tmp_path: Path) -> None:
    vectors = clustered(400, 6, 4)[0]
    workspace = store(tmp_path / "w", vectors)
    report = project_space(workspace, ENCODER, 0)
    known = _settings(workspace)
    assert known == report.settings
    assert known["vectors_digest"] == workspace.space(ENCODER, 0).digest
    assert (known["n_neighbours"], known["seed"]) == (15, 0)
    assert (known["neighbours"], known["neighbour_recall"]) == ("exact", 1.0)
    assert known["trustworthiness"] == report.trustworthiness
    assert 0 < known["neighbours_kept"] < 1 and 0.5 < known["continuity"] <= 1


def test_an_index_of_poor_recall_is_not_what_a_map_is_made_of(tmp_path: Path) -> None:
    vectors = clustered(400, 6, 4)[0]
    workspace = store(tmp_path / "w", vectors)
    update_index(workspace, ENCODER, 0, kind="hnsw")
    assert project_space(workspace, ENCODER, 0).settings["neighbour_recall"] == 1.0


def test_a_map_is_kept_for_its_vectors_and_settings_only(tmp_path: Path) -> None:
    vectors = clustered(60, 6, 4)[0]
    workspace = store(tmp_path / "w", vectors)
    assert project_space(workspace, ENCODER, 0).is_new
    assert not project_space(workspace, ENCODER, 0).is_new
    other = UmapSettings(min_dist=0.5)
    assert project_space(workspace, ENCODER, 0, settings=other).is_new
    assert not project_space(workspace, ENCODER, 0, settings=other).is_new
    assert project_space(workspace, ENCODER, 0, method="pca").is_new
    assert not project_space(workspace, ENCODER, 0, method="pca", settings=other).is_new


def test_maps_of_other_settings_stand_beside_the_usual_one(tmp_path: Path) -> None:
    workspace = store(tmp_path / "w", clustered(60, 6, 4)[0])
    usual = project_space(workspace, ENCODER, 0)
    other = UmapSettings(n_neighbours=5, metric="euclidean")
    name = "umap:n_neighbours=5,metric=euclidean"
    assert project_space(workspace, ENCODER, 0, settings=other).method == name
    assert available_maps(workspace.read).method.tolist() == ["umap", name]
    kept = project_space(workspace, ENCODER, 0)
    assert (usual.method, kept.is_new) == ("umap", False)
    points = workspace.read("SELECT method, x FROM projections ORDER BY method, segment_id")
    assert not np.allclose(*(part.x for _, part in points.groupby("method")))
    assert project_space(workspace, ENCODER, 0, settings=UmapSettings(seed=None)).is_new


def test_as_many_other_vectors_are_mapped_again(tmp_path: Path) -> None:
    """A map whose vectors were replaced by as many, as a killed or an older command leaves it."""
    first = clustered(60, 6, 4, seed=0)[0]
    other = clustered(60, 6, 4, seed=1)[0]
    workspace = store(tmp_path / "w", first)
    expected = store(tmp_path / "other", other)
    project_space(workspace, ENCODER, 0, method="pca")
    project_space(expected, ENCODER, 0, method="pca")
    maps = [
        workspace.read(f"SELECT * FROM {table}") for table in ("projections", "projection_quality")
    ]
    with replacing(workspace) as run:
        made = record(6)
        ids = workspace.embeddings(ENCODER, 0).segment_ids
        append_vectors(workspace, made, "mean", ids, {0: other}, run)
        take_place(workspace, made, run)
    with workspace.database.write() as connection:
        for table, rows in zip(("projections", "projection_quality"), maps, strict=True):
            connection.register("old", rows)
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM old")
    assert project_space(workspace, ENCODER, 0, method="pca").is_new
    query = "SELECT x, y FROM projections ORDER BY segment_id"
    pd.testing.assert_frame_equal(workspace.read(query), expected.read(query))


def test_vectors_that_change_while_they_are_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(60, 6, 4)[0]
    workspace = store(tmp_path / "w", vectors)

    def slow(unit: np.ndarray) -> np.ndarray:
        delete_clips(workspace, ["c000003"])
        return pca_of(unit)

    monkeypatch.setattr(projection, "pca_of", slow)
    report = project_space(workspace, ENCODER, 0, method="pca")
    assert not report.is_new and "changed" in report.reason
    assert workspace.read("SELECT * FROM projections").empty
    monkeypatch.undo()
    assert project_space(workspace, ENCODER, 0, method="pca").n == 59


def test_progress_moves_within_a_map(tmp_path: Path) -> None:
    workspace = store(tmp_path / "w", clustered(60, 6, 4)[0])
    seen: list[tuple[int, int, str]] = []
    project(workspace, progress=lambda *call: seen.append(call))
    layout = [call for call in seen if call[2] == f"{ENCODER} layer 0: layout"]
    assert layout[0][0] == 0 and layout[-1][:2] == (500, 500)
    steps = list(dict.fromkeys(what.rpartition(": ")[2] for _, _, what in seen[:-1]))
    assert steps[0] == "reading" and steps[-3:] == [
        "graph of the neighbours",
        "layout",
        "faithfulness",
    ]
    assert seen[-1] == (1, 1, "project umap")


@pytest.mark.parametrize("seed", ["-1", "some", "4294967296"])
def test_seeds_are_whole_numbers_or_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: str
) -> None:
    store(tmp_path / "w", clustered(60, 6, 4)[0])
    with pytest.raises(SystemExit):
        main(["project", "--workspace", str(tmp_path / "w"), f"--seed={seed}"])
    assert "or none" in capsys.readouterr().err


def test_one_call_makes_the_maps_of_several_layers(workspace: Workspace) -> None:
    embed(workspace, ["log-mel-statistics", "untrained-student"], layers=[0], n_processes=1)
    embed(workspace, "untrained-student", layers=[4, 8])
    seen: list[tuple[int, int, str]] = []
    some = project(
        workspace,
        "untrained-student",
        [0, -1],
        method="pca",
        progress=lambda *call: seen.append(call),
    )
    assert [(report.layer, report.is_new) for report in some] == [(0, True), (8, True)]
    assert [call[:2] for call in seen if call[2] == "project pca"] == [(1, 2), (2, 2)]
    assert {what.split(":")[0] for _, _, what in seen} == {
        "project pca",
        "untrained-student layer 0",
        "untrained-student layer 8",
    }
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
