"""What leaves by the routes, and what changes between two spaces."""

import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from starlette.testclient import TestClient

from tests.workbench.instrument.conftest import N, fields_of, samples_of
from usad_workbench.core import Workspace, selection
from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.core.storage.annotations import tag_segments
from usad_workbench.core.storage.segment_table import mixed

SELECT = [{"column": "domain", "in": ["speech"]}]
SPACE = "made-a/0/mean"


def exported(client: TestClient, kind: str, **more: str) -> bytes:
    parameters = {"select": json.dumps(SELECT), "format": kind, **more}
    answer = client.get("/instrument/export", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith("attachment")
    return answer.content


def test_tables_hold_what_was_selected(client: TestClient, made: Workspace) -> None:
    expected = made.read("SELECT * FROM segments_of_clips WHERE domain = 'speech' ORDER BY 1")
    csv = pd.read_csv(io.BytesIO(exported(client, "csv", space=SPACE)))
    parquet = pd.read_parquet(io.BytesIO(exported(client, "parquet", space=SPACE)))
    for frame in (csv, parquet):
        assert frame["segment_id"].tolist() == expected["segment_id"].tolist()
        assert frame["label"].tolist() == expected["label"].tolist()
        assert all(Path(path).is_file() for path in frame["path"])
        points = made.read(
            "SELECT x, y FROM projections WHERE encoder = 'made-a' AND list_contains(?, segment_id)"
            " ORDER BY segment_id",
            [expected["segment_id"].tolist()],
        )
        np.testing.assert_allclose(frame[["x", "y"]], points, rtol=1e-6)
    stored = made.embeddings("made-a", 0, where="domain = 'speech'")
    np.testing.assert_array_equal(np.stack(parquet["vector"]), stored.vectors)


def test_sounds_are_those_of_their_segments(client: TestClient) -> None:
    with zipfile.ZipFile(io.BytesIO(exported(client, "wav"))) as archive:
        manifest = pd.read_csv(archive.open("manifest.csv"))
        assert sorted([*manifest["path"], "manifest.csv"]) == sorted(archive.namelist())
        assert not any(".." in name or "/" in name or "<" in name for name in archive.namelist())
        numbers = {fields_of(i)["clip_id"]: i for i in range(N)}
        for row in manifest.iloc[:5].itertuples():
            samples, _ = sf.read(io.BytesIO(archive.read(row.path)), dtype="float32")
            np.testing.assert_allclose(samples, samples_of(numbers[row.clip_id]), atol=1 / 32_000)


@pytest.mark.parametrize("more", [{"format": "exe"}, {"select": '[{"segments": []}]'}])
def test_nothing_and_the_unknown_are_refused(client: TestClient, more: dict[str, str]) -> None:
    answer = client.get("/instrument/export", params={"format": "csv", **more})
    assert answer.status_code == 400


def test_moved_is_the_share_of_neighbours_that_are_others(
    client: TestClient, made: Workspace
) -> None:
    answer = client.get(
        "/instrument/moved",
        params={"from": "made-a/0/mean/umap", "to": "made-b/0/mean/umap", "k": 7},
    )
    near = []
    for name in ("made-a", "made-b"):
        vectors = made.embeddings(name, 0).vectors.astype(np.float64)
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = unit @ unit.T
        np.fill_diagonal(scores, -2)
        near.append(np.argsort(-scores, axis=1)[:, :7])
    shares = [1 - len(set(a) & set(b)) / 7 for a, b in zip(*near, strict=True)]
    in_rows = np.array(shares)[np.argsort(mixed(made.embeddings("made-a", 0).segment_ids))]
    np.testing.assert_array_equal(np.frombuffer(answer.content, "u1"), np.rint(in_rows * 254))
    assert 0.5 < in_rows.mean() < 1


def test_a_notebook_gets_a_selection_by_its_name(made: Workspace, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    tag_segments(workspace, np.array([3, 4, 5]), "check by ear", "Ada")
    tag_segments(workspace, np.array([4]), "loud", "Ada")
    frame = selection(workspace, "check by ear", SPACE)
    assert frame["segment_id"].tolist() == [3, 4, 5]
    assert frame["tags"].tolist() == [["check by ear"], ["check by ear", "loud"], ["check by ear"]]
    assert frame["x"].notna().all() and frame["note"].tolist() == ["", "", ""]
    link = "http://127.0.0.1:8501/map?map=made-a%2F0&select=" + json.dumps(SELECT).replace(
        " ", "%20"
    )
    for name in (link, json.dumps(SELECT)):
        assert set(selection(workspace, name)["domain"]) == {"speech"}
        assert len(selection(workspace, name)) == N // 3
    with pytest.raises(UnknownNameError, match="check by ear"):
        selection(workspace, "check by eye")
    with pytest.raises(ConfigError):
        selection(workspace, '[{"colum": 1}]')


def test_a_tag_may_look_like_a_selection(made: Workspace, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    for number, tag in enumerate(("[draft]", "?select=[]", "“loud” 🔊 it's")):
        tag_segments(workspace, np.array([number]), tag)
        assert selection(workspace, tag)["segment_id"].tolist() == [number]
