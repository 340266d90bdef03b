"""What ``usad export --space`` writes, opened by the loaders of other browsers of embeddings.

Each has a Python of its own, which a variable names; without it the test is left out, in words.
"""

import json
import os
import subprocess
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import SpectrumEncoder, write_tone
from usad_workbench.core.embedding import embed
from usad_workbench.core.storage.annotations import tag_segments
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import project_space
from usad_workbench.workbench.cli import main

N = 25
K = 4
ATLAS = """
from pathlib import Path
import json, sys
from embedding_atlas.cli import load_datasets
from embedding_atlas.data_source import DataSource
from embedding_atlas.server import make_server
frame = load_datasets([sys.argv[1]])
source = DataSource("it", frame, {})
make_server(source, static_path=str(Path(sys.argv[1]).parent), duckdb_uri="wasm")
print(json.dumps({"rows": len(frame), "x": frame.x.tolist(), "label": frame.label.tolist(),
    "ids": [list(map(int, one["ids"])) for one in frame.neighbors]}))
"""
SPOTLIGHT = """
import json, sys
from pathlib import Path
from renumics.spotlight import dtypes, plugin_loader
plugin_loader.load_plugins()
from renumics.spotlight.data_source.registry import create_datasource
from renumics.spotlight.data_store import DataStore
import pandas as pd
store = DataStore(create_datasource(pd.read_parquet(sys.argv[1])),
    {"path": dtypes.audio_dtype, "vector": dtypes.embedding_dtype})
vector = store.get_converted_values("vector", list(range(len(store))))
sounds = [store.get_converted_value("path", i) for i in range(len(store))]
print(json.dumps({"rows": len(store), "names": store.column_names,
    "vector": [list(map(float, one)) for one in vector], "bytes": list(map(len, sounds)),
    "x": store.get_converted_values("x", list(range(len(store))))}))
"""
FIFTYONE = """
import json, sys
import fiftyone, pandas as pd
frame = pd.read_parquet(sys.argv[1])
data = fiftyone.Dataset()
data.add_samples([fiftyone.Sample(filepath=row.path, label=row.label, xy=[row.x, row.y])
    for row in frame.itertuples()])
print(json.dumps({"rows": len(data), "label": data.values("label")}))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    made = Workspace.create(folder / "w")
    sources = [
        SourceClip(
            path=write_tone(folder / f"t{i}.wav", 100 + 40 * i), fields={"label": f"tone {i}"}
        )
        for i in range(N)
    ]
    import_clips(made, sources, domain="sound")
    embed(made, SpectrumEncoder(name="spectrum"))
    project_space(made, "spectrum", 0, method="pca")
    tag_segments(made, np.array([3]), "heard")
    words = ["--space", "spectrum/0", "--format", "parquet", "--neighbours", str(K)]
    out = folder / "out"
    assert main(["export", "--workspace", str(made.folder), *words, "--out", str(out)]) == 0
    return out / "vectors.parquet"


def opened(variable: str, code: str, file: Path) -> dict[str, list[object]]:
    """What a peer's own Python says of the file."""
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"NOT OPENED BY THE PEER: {variable} names no Python that has it.")
    done = subprocess.run(
        [python, "-c", code, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[object]] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def test_the_file_holds_what_other_browsers_ask_for(exported: Path) -> None:
    frame = pd.read_parquet(exported)
    needed = {"path", "label", "domain", "x", "y", "tags", "neighbors", "vector"}
    assert needed <= set(frame) and len(frame) == N
    for row in frame.itertuples():
        with wave.open(row.path) as sound:
            assert sound.getnframes() > 0
        assert row.label == f"tone {Path(row.path).stem[1:]}"
    unit = np.stack(frame.vector) / np.linalg.norm(np.stack(frame.vector), axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    for i, near in enumerate(frame.neighbors):
        others = [one for one in near["ids"] if one != i]
        kth = np.sort(scores[i])[-len(others)]
        assert (scores[i][others] >= kth - 1e-5).all()


def test_embedding_atlas_opens_it(exported: Path) -> None:
    found = opened("USAD_TEST_EMBEDDING_ATLAS", ATLAS, exported)
    frame = pd.read_parquet(exported)
    assert found["rows"] == N and found["label"] == frame.label.tolist()
    np.testing.assert_allclose(found["x"], frame.x, rtol=1e-6)
    assert found["ids"] == [list(one["ids"]) for one in frame.neighbors]


def test_spotlight_opens_it(exported: Path) -> None:
    found = opened("USAD_TEST_SPOTLIGHT", SPOTLIGHT, exported)
    frame = pd.read_parquet(exported)
    assert found["rows"] == N and {"path", "vector", "label", "domain"} <= set(found["names"])
    np.testing.assert_allclose(found["vector"], np.stack(frame.vector), rtol=1e-6)
    np.testing.assert_allclose(found["x"], frame.x, rtol=1e-6)
    assert all(size > 44 for size in found["bytes"])


def test_fiftyone_opens_it(exported: Path) -> None:
    found = opened("USAD_TEST_FIFTYONE", FIFTYONE, exported)
    assert found["rows"] == N and found["label"] == pd.read_parquet(exported).label.tolist()
