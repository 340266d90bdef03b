"""A workspace from arrays: clips without audio, encoders whose vectors are known.

Trained students too, of which nothing is known but how they were trained.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from usad_workbench.core.models.checkpoint import save_student
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.spec import EncoderSpec, Role
from usad_workbench.core.models.student import build_student
from usad_workbench.core.storage.spaces import EncoderRecord, append_vectors, register_encoder
from usad_workbench.core.storage.workspace import Workspace


def record(
    name: str, role: Role, domain: str | None, layers: Sequence[np.ndarray]
) -> EncoderRecord:
    spec = EncoderSpec(
        name=name,
        role=role,
        domain=domain,
        n_layers=len(layers) - 1,
        dims=tuple(x.shape[1] for x in layers),
        frame_rates_hz=(50.0,) * len(layers),
        sample_rate_hz=16_000,
        n_params=1,
        licence="CC0",
        citation="this test",
    )
    return EncoderRecord(spec=spec, weights_sha256=name)


def add_encoder(
    workspace: Workspace, name: str, role: Role, domain: str | None, layers: Sequence[np.ndarray]
) -> None:
    """One vector `[clip, dim]` per layer, in the order of the clips."""
    entry = record(name, role, domain, layers)
    register_encoder(workspace, entry)
    ids = np.arange(len(layers[0]), dtype=np.int64)
    vectors = {i: x.astype(np.float32) for i, x in enumerate(layers)}
    append_vectors(workspace, entry, "mean", ids, vectors)


def add_clips(workspace: Workspace, columns: Mapping[str, Sequence[str | None]]) -> list[str]:
    """Clips c000, c001, ... with ``domain``, ``cluster_id`` and metadata columns."""
    n = len(columns["domain"])
    ids = [f"c{i:03}" for i in range(n)]
    known = ("domain", "cluster_id", "label", "dataset")
    with workspace.database.write() as connection:
        for name in columns:
            if name not in known:
                connection.execute(f'ALTER TABLE clips ADD COLUMN "{name}" VARCHAR')
        rows = {"clip_id": ids, "path": [""] * n, "dataset": ["made"] * n} | dict(columns)
        connection.register("new_clips", pa.table(rows))
        connection.execute("INSERT INTO clips BY NAME SELECT * FROM new_clips")
        connection.register(
            "new_segments",
            pa.table({"segment_id": list(range(n)), "clip_id": ids}),
        )
        connection.execute(
            "INSERT INTO segments SELECT segment_id, clip_id, 0, 1, '10s/10s' FROM new_segments"
        )
    return ids


def save_run(folder: Path, *starts: str, stage: int = 1, step: int = 100) -> str:
    """A run whose trainings began with these weights, the last one first; its name."""
    start: dict[str, Any] | None = None
    for weights in reversed(starts):
        start = {"weights_sha256": weights, "start": start}
    teachers = [{"teacher": "a", "domain": None, "stage": one + 1} for one in range(stage)]
    student = build_student(StudentConfig(dim=32, n_layers=1, n_heads=2))
    save_student(
        folder / "checkpoints" / f"step-{step}",
        student,
        None,
        {"teachers": teachers, "start": start},
    )
    return f"run:{folder}"
