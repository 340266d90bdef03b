"""Workspaces of given vectors, made in seconds at sizes that importing takes minutes for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from usad_workbench.core.models.spec import EncoderSpec
from usad_workbench.core.storage.spaces import EncoderRecord, append_vectors, register_encoder
from usad_workbench.core.storage.workspace import Workspace

ENCODER = "made"


def clustered(n: int, dim: int, n_clusters: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around centres, with an offset as embeddings have; and the centre of each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_clusters, dim))
    which = rng.integers(n_clusters, size=n)
    vectors = centres[which] + 0.5 * rng.normal(size=(n, dim)) + 0.3
    return vectors.astype(np.float32), which


def record(dim: int, n_layers: int = 0) -> EncoderRecord:
    """An encoder without a model."""
    spec = EncoderSpec(
        name=ENCODER,
        role="teacher",
        domain=None,
        n_layers=n_layers,
        dims=(dim,) * (n_layers + 1),
        frame_rates_hz=(1.0,) * (n_layers + 1),
        sample_rate_hz=16_000,
        n_params=1,
        licence="MIT",
        citation="these tests",
    )
    return EncoderRecord(spec=spec, weights_sha256="0" * 64)


def store(folder: Path, vectors: np.ndarray, domains: Sequence[str] = ()) -> Workspace:
    """A workspace of clips ``c000000`` and on without audio, one segment and one vector each."""
    n = len(vectors)
    workspace = Workspace.create(folder)
    ids = [f"c{i:06}" for i in range(n)]
    clips = pa.table(
        {"segment_id": np.arange(n), "clip_id": ids, "domain": list(domains) or ["sound"] * n}
    )
    with workspace.database.write() as connection:
        connection.register("made", clips)
        connection.execute(
            "INSERT INTO clips (clip_id, path, domain, dataset, cluster_id) "
            "SELECT clip_id, '', domain, 'made', clip_id FROM made"
        )
        connection.execute(
            "INSERT INTO segments SELECT segment_id, clip_id, 0, 0, '10.0s' FROM made"
        )
    add(workspace, vectors)
    return workspace


def add(workspace: Workspace, vectors: np.ndarray, first: int = 0, pooling: str = "mean") -> None:
    """Stores vectors for the segments from ``first`` on."""
    made = record(vectors.shape[1])
    register_encoder(workspace, made)
    ids = np.arange(first, first + len(vectors))
    append_vectors(workspace, made, pooling, ids, {0: vectors.astype(np.float32)})


def literal_nearest(
    vectors: np.ndarray, query: np.ndarray, k: int, rows: np.ndarray | None = None
) -> list[int]:
    """The definition: rows by the product of unit vectors, best first, equal ones by number.

    Unit vectors and their product are rounded to float32, as ``core.cosine`` says: at a near
    tie that decides the order.
    """
    rows = np.arange(len(vectors)) if rows is None else np.asarray(rows)
    products = (_unit(vectors[rows]) * _unit(query[None])).sum(axis=1).astype(np.float32)
    return [int(rows[i]) for i in np.lexsort((rows, -products))[:k]]


def _unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(lengths > 0, lengths, 1)).astype(np.float32).astype(np.float64)
