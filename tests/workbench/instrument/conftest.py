from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from starlette.applications import Starlette
from starlette.testclient import TestClient

from usad_workbench.core.storage.importing import import_clips
from usad_workbench.core.storage.importing_embeddings import import_embeddings
from usad_workbench.core.storage.projection_tables import MapQuality, replace_map
from usad_workbench.core.storage.sources import SourceClip
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.instrument.routes import instrument_routes

RATE_HZ = 16_000
N = 120
ENCODERS = {"made-a": "student", "made-b": "teacher"}


def samples_of(number: int) -> np.ndarray:
    """A tone of its own for each clip, of its own length."""
    times = np.arange(RATE_HZ // 4 + 40 * number) / RATE_HZ
    return (0.5 * np.sin(2 * np.pi * (200 + 10 * number) * times)).astype(np.float32)


def fields_of(number: int) -> dict[str, str]:
    return {
        "clip_id": f"clip <b>{number}</b>",
        "domain": ("speech", "sound", "music")[number % 3],
        "label": f"label {number % 7}",
        "cluster_id": f"cluster {number % 11}",
        "pitch": str(200 + 10 * number),
        "quality": "good" if number % 5 else "",
    }


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Tones with two encoders' vectors and a map of each; tests that write take a copy."""
    folder = tmp_path_factory.mktemp("instrument")
    workspace = Workspace.create(folder / "workspace")
    sources = []
    for number in range(N):
        path = folder / f"tone {number}.wav"
        sf.write(path, samples_of(number), RATE_HZ, subtype="PCM_16")
        sources.append(SourceClip(path=path, fields=fields_of(number)))
    import_clips(workspace, sources)
    rng = np.random.default_rng(0)
    ids = workspace.read("SELECT segment_id, clip_id FROM segments ORDER BY 1")
    for name, role in ENCODERS.items():
        frame = ids.assign(encoder=name, layer=0, vector=list(rng.normal(size=(N, 6)).astype("f4")))
        frame[["clip_id", "encoder", "layer", "vector"]].to_parquet(folder / "v.parquet")
        import_embeddings(workspace, folder / "v.parquet", role=role)
        quality = MapQuality(
            encoder=name,
            layer=0,
            pooling="mean",
            method="umap",
            n=N,
            trustworthiness=0.9,
            n_judged=N,
            seconds=1.0,
        )
        points = rng.normal(size=(N, 2)).astype(np.float32)
        space = workspace.space(name, 0)
        assert replace_map(workspace, quality, space, ids["segment_id"].to_numpy(), points)
    return workspace


def client_of(folder: Path) -> TestClient:
    return TestClient(Starlette(routes=instrument_routes(folder)))


@pytest.fixture
def client(made: Workspace) -> Iterator[TestClient]:
    with client_of(made.folder) as opened:
        yield opened
