"""Workers on a real Ray cluster leave what `usad embed` leaves here, whoever is killed meanwhile."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.core.distributed.conftest import (
    DEADLY,
    ENCODER,
    ONCE_DEADLY,
    made_workspace,
)
from usad_workbench.core.distributed.embedding import PARTS, RayConfig, embed_on_ray
from usad_workbench.core.embedding import embed
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace

pytestmark = pytest.mark.long  # processes of their own, each with seconds of imports


def state(workspace: Workspace) -> dict[str, tuple[list[str], bytes, str | None]]:
    """Vectors by space: whose they are, their bytes and their digest."""
    return {
        f"{row.encoder} {row.layer} {row.pooling}": (
            list(
                (found := workspace.embeddings(row.encoder, int(row.layer), row.pooling)).clip_ids
            ),
            np.asarray(found.vectors).tobytes(),
            found.space.digest,
        )
        for row in workspace.spaces().itertuples()
    }


def numbers_of(log: Path) -> Counter[int]:
    """How often each clip went through the encoder."""
    return Counter(int(line) for line in log.read_text().split() if int(line))


def test_killed_workers_cost_nothing_but_what_kills_them_all(
    ray_address: str, log: Path, tmp_path: Path
) -> None:
    good = [*range(10, 20), ONCE_DEADLY]
    workspace = made_workspace(tmp_path / "by workers", [*good, DEADLY])
    seen: list[tuple[int, int]] = []
    report = embed_on_ray(
        workspace,
        ENCODER,
        RayConfig(device="cpu", address=ray_address, shard_segments=2),
        progress=lambda done, total, what: seen.append((done, total)),
    )
    assert (report.n_done, report.n_skipped) == (len(good), 0)
    (failure,) = report.failed
    assert f"{DEADLY}.wav" in failure.path
    assert "Every worker that was handed it died" in failure.reason
    assert list(workspace.read("SELECT reason FROM failures").reason) == [failure.reason]
    assert seen == sorted(seen)
    assert seen[-1] == (12, 12)
    assert sorted(path.name for path in workspace.folder.iterdir()) == ["workspace.duckdb"]
    (problem,) = check_workspace(workspace)
    assert "11 of 12 segments" in problem

    here = made_workspace(tmp_path / "here", good)
    embed(here, ENCODER)
    # Bit for bit: the vector of a clip does not depend on what else is in its batch here.
    mine, theirs = state(workspace), state(here)
    assert {key: value[:2] for key, value in mine.items()} == {
        key: value[:2] for key, value in theirs.items()
    }


DRIVER = """
import os, sys
from usad_workbench.core import embedding_job
from usad_workbench.core.distributed.embedding import RayConfig, embed_on_ray
from usad_workbench.core.storage.workspace import Workspace

folder, address, encoder = sys.argv[1:]
VectorWriter, n = embedding_job.VectorWriter, 0

class MortalWriter(VectorWriter):
    def __init__(self, *arguments):
        super().__init__(*arguments, commit_bytes=1)

    def add(self, *arguments):
        global n
        n += 1
        if n == 3:  # two parts are stored, a third one is finished
            self.flush()
            os.kill(os.getpid(), 9)
        super().add(*arguments)

embedding_job.VectorWriter = MortalWriter
embed_on_ray(
    Workspace.open(folder), encoder, RayConfig(device="cpu", address=address, shard_segments=2)
)
"""


@pytest.mark.slow
def test_a_killed_driver_loses_nothing_that_was_made(
    ray_address: str, log: Path, tmp_path: Path
) -> None:
    numbers = list(range(10, 26))
    workspace = made_workspace(tmp_path / "killed", numbers)
    script = tmp_path / "driver.py"
    script.write_text(DRIVER, encoding="utf-8")
    driver = [sys.executable, str(script), str(workspace.folder), ray_address, ENCODER]
    done = subprocess.run(driver, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    stored = set(workspace.embeddings(ENCODER, 0).segment_ids.tolist())
    assert len(stored) == 4
    left = {
        number
        for path in (workspace.folder / PARTS).rglob("*.parquet")
        for number in pq.read_table(path)["segment_id"].to_pylist()
    }
    assert left - stored
    before = numbers_of(log)
    report = embed_on_ray(workspace, ENCODER, RayConfig(device="cpu", address=ray_address))
    assert (report.n_done, report.n_skipped, report.failed) == (12, 4, [])
    made_again = numbers_of(log) - before
    assert sum(made_again.values()) == len(numbers) - len(stored | left)
    assert check_workspace(workspace) == []
    undisturbed = made_workspace(tmp_path / "undisturbed", numbers)
    embed(undisturbed, ENCODER)
    assert state(workspace) == state(undisturbed)
    assert not (workspace.folder / PARTS).exists()
    assert os.listdir(workspace.folder) == ["workspace.duckdb"]

    before_replacing = state(workspace)
    again = embed_on_ray(
        workspace, ENCODER, RayConfig(device="cpu", address=ray_address), replace=True
    )
    assert (again.n_done, again.failed) == (len(numbers), [])
    assert state(workspace) == before_replacing
    assert os.listdir(workspace.folder) == ["workspace.duckdb"]
