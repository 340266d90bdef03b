"""What a folder holds, in a form that two runs of the same commands have in common."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import soundfile

from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.spaces import search

DATABASE = "workspace.duckdb"
_OF_TABLES = ("clips", "segments", "encoders", "tasks", "distillation", "projections", "failures")
_SPACE_KEY = ["encoder", "layer", "pooling"]


def state_of(folder: Path) -> dict[str, Any]:
    """Files below a folder and what is in them: values, and neither ids nor times.

    Index files are named after spaces, whose ids are never used again: they count by what the table of indexes says.
    """
    found: dict[str, Any] = {}
    for database in folder.rglob(DATABASE):
        Workspace.open(database.parent)  # clears away what a kill has left beside it
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    for database in [path for path in files.values() if path.name == DATABASE]:
        name = database.parent.relative_to(folder).as_posix()
        workspace = Workspace.open(database.parent)
        found |= {f"{name}: {what}": value for what, value in _in_workspace(workspace).items()}
        for file in workspace.read("SELECT file FROM indexes").file:
            files.pop(f"{name}/{file}", None)
        files.pop(f"{name}/{DATABASE}")
    for name, path in files.items():
        found[f"file {name}"] = "folder" if path.is_dir() else _content(path)
    return found


def stored_vectors(folder: Path, encoder: str) -> dict[str, list[Any]]:
    """Vectors of an encoder by space, as text, for comparing."""
    inside = _in_workspace(Workspace.open(folder))
    return {key: value for key, value in inside.items() if key.startswith(f"vectors of {encoder}")}


def _content(path: Path) -> str:
    if path.suffix == ".parquet" and ".part" not in str(path):
        table = pq.read_table(path)
        return f"{table.schema.names} {table.to_pylist()}"
    if path.suffix == ".wav" and ".partial" not in str(
        path
    ):  # the header of a float file says when it was written
        samples, rate_hz = soundfile.read(path, dtype="float32")
        return f"{rate_hz} Hz {hashlib.sha256(samples.tobytes()).hexdigest()}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _in_workspace(workspace: Workspace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    tables = set(workspace.read("SELECT table_name FROM duckdb_tables()").table_name)
    spaces = workspace.read("SELECT * FROM spaces ORDER BY encoder, layer, pooling")
    ids = [f"vectors_{one}" for one in spaces.space_id]
    found["tables"] = sorted(tables - set(ids))
    assert set(ids) <= tables, f"spaces without their table: {set(ids) - tables}"
    for name in _OF_TABLES:
        if name in tables:
            found[name] = _rows(workspace.read(f"SELECT * FROM {name}"))
    found["spaces"] = _rows(spaces)
    for row in spaces.itertuples():
        stored = workspace.embeddings(row.encoder, int(row.layer), row.pooling)
        order = np.argsort(stored.segment_ids)
        found[f"vectors of {row.encoder} {row.layer} {row.pooling}"] = (
            stored.segment_ids[order].tolist(),
            stored.vectors[order].tobytes().hex(),
        )
        if len(stored):
            hits = search(
                workspace, stored.vectors[0], row.encoder, int(row.layer), pooling=row.pooling, k=5
            )
            found[f"hits in {row.encoder} {row.layer}"] = (
                hits.segment_ids.tolist(),
                np.round(hits.scores, 5).tolist(),
            )
    judged = workspace.read(  # its settings say how long it took, too
        "SELECT * EXCLUDE (settings), settings ->> 'vectors_digest' AS digest "
        "FROM projection_quality"
    )
    found["maps"] = _rows(judged)
    noted = workspace.read(
        "SELECT s.encoder, s.layer, s.pooling, i.kind, i.n FROM indexes i "
        "JOIN spaces s USING (space_id)"
    )
    found["indexes"] = _rows(noted)
    return found


def _rows(table: pd.DataFrame) -> list[str]:
    """The rows as sorted text, without what differs from run to run."""
    changing = [name for name in table if name in {"space_id", "seconds", "time", "at", "made_at"}]
    return sorted(str(row) for row in table.drop(columns=changing).to_dict("records"))
