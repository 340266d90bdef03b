"""What a diagnosis measures on audio, or takes in from elsewhere, beside its own tables.

``interventions``: how far each encoder moves when a clip is changed. ``clip_loudness``: the level
of each clip. ``llm_results``: scores of benchmarks that ran elsewhere.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa

from usad_workbench.core.storage.rows import replace_matching
from usad_workbench.core.storage.workspace import Workspace

LLM_KEYS = ("encoder", "benchmark", "task", "metric")
"""Columns in which a new result of a benchmark agrees with the one that it replaces."""


def replace_interventions(
    workspace: Workspace, rows: pa.Table, *, encoder: str, seed: int, clip_ids: Sequence[str]
) -> None:
    """Writes the displacements of some clips in the place of those of the same encoder and seed.

    Args:
        workspace: Where to.
        rows: Columns of ``interventions``, one row for each layer, change and clip.
        encoder: Whose displacements.
        seed: Of the changes.
        clip_ids: The clips whose rows are replaced.
    """
    with workspace.database.write() as connection:
        connection.execute(
            "DELETE FROM interventions WHERE encoder = ? AND seed = ? AND list_contains(?, clip_id)",
            [encoder, seed, list(clip_ids)],
        )
        replace_matching(connection, "interventions", rows, by=())


def stored_interventions(
    workspace: Workspace, *, seed: int, code_version: str, clip_ids: Sequence[str]
) -> pd.DataFrame:
    """The displacements of some clips by every encoder, made with this seed and code."""
    return workspace.read(
        "SELECT * FROM interventions WHERE code_version = ? AND seed = ? "
        "AND list_contains(?, clip_id)",
        [code_version, seed, list(clip_ids)],
    )


def stored_loudness(workspace: Workspace) -> dict[str, float]:
    """The level in dB re full scale of each clip that was measured, by its id."""
    rows = workspace.read(
        "SELECT clip_id, loudness_db::DOUBLE AS loudness_db FROM clip_loudness "
        "WHERE NOT isnan(loudness_db)"
    )
    return dict(zip(rows.clip_id, rows.loudness_db, strict=True))


def add_loudness(workspace: Workspace, levels: Mapping[str, float]) -> None:
    """Stores the level of clips, in dB re full scale by clip id, in the place of older ones."""
    rows = pa.table(
        {
            "clip_id": pa.array(list(levels), pa.string()),
            "loudness_db": pa.array(list(levels.values()), pa.float64()),
        }
    )
    with workspace.database.write() as connection:
        replace_matching(connection, "clip_loudness", rows, by=("clip_id",))


def replace_llm_results(workspace: Workspace, rows: pd.DataFrame) -> None:
    """Writes scores of benchmarks in the place of those with the same ``LLM_KEYS``."""
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with workspace.database.write() as connection:
        replace_matching(connection, "llm_results", table, by=LLM_KEYS)


def stored_llm_results(workspace: Workspace) -> pd.DataFrame:
    """The scores of benchmarks that ran elsewhere, by benchmark, task and encoder."""
    return workspace.read("SELECT * FROM llm_results ORDER BY benchmark, task, encoder")
