"""Maps that somebody brings: each row gets its own coordinates, and what is wrong is said."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.manifold import trustworthiness

from tests.stored_vectors import ENCODER, clustered, store
from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import ConfigError
from usad_workbench.indexes.given import give_map
from usad_workbench.workbench.cli import main

N = 60


@pytest.mark.parametrize("key", ["segment_id", "clip_id"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_every_segment_gets_its_own_place(tmp_path: Path, key: str, kind: str) -> None:
    vectors = clustered(N, 6, 4)[0]
    workspace = store(tmp_path / "w", vectors)
    rng = np.random.default_rng(3)
    segments = workspace.read("SELECT segment_id, clip_id FROM segments ORDER BY 1")
    places = segments.assign(x=rng.normal(size=N), y=rng.normal(size=N))
    mixed = places.sample(frac=1, random_state=1)[[key, "y", "x"]]
    if kind == "csv":
        mixed.to_csv(tmp_path / "places.csv", index=False)
    else:
        mixed.to_parquet(tmp_path / "places.parquet")
    report = give_map(workspace, tmp_path / f"places.{kind}", ENCODER, 0, name="site")
    stored = workspace.read("SELECT * FROM projections ORDER BY segment_id")
    np.testing.assert_allclose(stored[["x", "y"]], places[["x", "y"]], rtol=1e-6)
    assert set(stored.method) == {"site"} and (report.method, report.n) == ("site", N)
    expected = trustworthiness(
        normalise(vectors), places[["x", "y"]].to_numpy(), n_neighbors=10, metric="cosine"
    )
    assert report.trustworthiness == pytest.approx(expected, abs=1e-5)


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    workspace = store(tmp_path / "w", clustered(N, 6, 4)[0])
    file = tmp_path / "places.csv"
    for text, said in {
        "segment_id,x\n0,1\n": "y",
        "segment_id,x,y\n0,1,nan\n": "row 1: found y = 'nan'",
        "segment_id,x,y\n0,one,2\n": "row 1: found x = 'one'",
        "segment_id,x,y\n9999,1,2\n": "none of its 1 values of segment_id",
    }.items():
        file.write_text(text)
        with pytest.raises(ConfigError, match=said):
            give_map(workspace, file, ENCODER, 0)
    for name in ("umap", "a/b", ""):
        with pytest.raises(ConfigError, match="Found the name"):
            give_map(workspace, file, ENCODER, 0, name=name)


def test_the_command_takes_coordinates_for_a_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = store(tmp_path / "w", clustered(N, 6, 4)[0])
    pd.DataFrame({"segment_id": range(5), "x": range(5), "y": range(5)}).to_csv(
        tmp_path / "p.csv", index=False
    )
    words = [
        "project",
        "--workspace",
        str(workspace.folder),
        "--coordinates",
        str(tmp_path / "p.csv"),
    ]
    assert main(words) == 2 and "--encoder and --layer" in capsys.readouterr().err
    assert main([*words, "--encoder", ENCODER, "--layer", "0", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["method"], row["n"], row["trustworthiness"]) == ("given", 5, None)
