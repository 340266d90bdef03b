"""Two processes at once leave what one encoder after the other leaves."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from usad_workbench.core import parallel_embedding
from usad_workbench.core.embedding import EmbedReport, embed
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import UnknownNameError, WorkerError
from usad_workbench.core.parallel_embedding import embed_encoders
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace

NAMES = ("log-mel-statistics", "mfcc-statistics")


def test_same_vectors_as_one_after_the_other(
    workspace: Workspace, tones: list[SourceClip], tmp_path: Path
) -> None:
    together, alone = workspace, Workspace.create(tmp_path / "alone")
    import_clips(alone, tones)
    seen: list[tuple[int, int]] = []
    found = embed_encoders(
        together,
        [*NAMES, "no-such-encoder"],
        n_processes=2,
        progress=lambda done, total, what: seen.append((done, total)),
    )
    n = len(together.clips())
    for name in NAMES:
        embed(alone, load_encoder(name))
        report = found[name]
        assert isinstance(report, EmbedReport)
        assert (report.n_done, report.failed) == (n, [])
        mine, theirs = (w.embeddings(name, 0) for w in (together, alone))
        np.testing.assert_array_equal(mine.segment_ids, theirs.segment_ids)
        np.testing.assert_array_equal(mine.vectors, theirs.vectors)
    assert isinstance(found["no-such-encoder"], UnknownNameError)
    assert seen[-1][0] == 2 * n


def test_done_work_is_not_done_again(workspace: Workspace) -> None:
    embed_encoders(workspace, NAMES[:1])
    (again,) = embed_encoders(workspace, NAMES[:1]).values()
    assert isinstance(again, EmbedReport)
    assert (again.n_done, again.n_skipped) == (0, len(workspace.clips()))


def test_workers_end_with_the_process_that_started_them(workspace: Workspace) -> None:
    """A killed demo leaves nobody who goes on embedding."""
    code = (
        "import sys\n"
        "from usad_workbench.core.parallel_embedding import embed_encoders\n"
        "from usad_workbench.core.storage.workspace import Workspace\n"
        "if __name__ == '__main__':\n"
        f"    embed_encoders(Workspace.open({str(workspace.folder)!r}), ['untrained-student'])\n"
    )
    script = workspace.folder.parent / "run.py"
    script.write_text(code, encoding="utf-8")
    parent = subprocess.Popen([sys.executable, str(script)])
    children: list[int] = []
    while not children:
        children = _workers(parent.pid)
        time.sleep(0.2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(300):
        if not any(Path(f"/proc/{child}").is_dir() for child in children):
            return
        time.sleep(0.2)
    raise AssertionError(f"The workers {children} of a killed process still run.")


def test_a_worker_that_dies_costs_nobody_its_vectors(workspace: Workspace) -> None:
    """Whoever worked beside it, and it itself, is tried once more."""
    killed: list[int] = []

    def kill_one() -> None:
        while not killed:
            found = _workers(os.getpid())
            if found:
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.05)

    threading.Thread(target=kill_one, daemon=True).start()
    found = embed_encoders(workspace, NAMES, n_processes=2)
    assert killed
    for name in NAMES:
        report = found[name]
        assert isinstance(report, EmbedReport), report
        assert len(workspace.embeddings(name, 0).segment_ids) == len(workspace.clips())


def test_a_worker_that_dies_every_time_is_words_in_its_place(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel_embedding, "_start_worker", os._exit)
    found = embed_encoders(workspace, NAMES, n_processes=1)
    assert [type(found[name]) for name in NAMES] == [WorkerError] * 2


def _workers(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    found = path.read_text().split() if path.is_file() else []
    return [int(child) for child in found if _is_worker(int(child))]


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes() and os.getpid() != pid
    except OSError:
        return False
