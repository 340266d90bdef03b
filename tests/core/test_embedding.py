"""Embedding: two processes at once leave what one encoder after the other leaves."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from usad_workbench.core import embedding, embedding_workers
from usad_workbench.core.clips import Clip
from usad_workbench.core.embedding import EmbedReport, embed
from usad_workbench.core.embedding_group import CommonProgress, EmbedRequest, EncoderGroup
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import (
    Cancelled,
    ConfigError,
    ProvenanceError,
    StoreError,
    UnknownNameError,
    WorkerError,
)
from usad_workbench.core.progress import no_progress
from usad_workbench.core.storage import segment_audio
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.spaces import stored_precision
from usad_workbench.core.storage.vector_writer import VectorWriter
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench import query_vectors

pytestmark = pytest.mark.long  # processes of their own, each with seconds of imports

NAMES = ("log-mel-statistics", "mfcc-statistics")


def test_same_vectors_as_one_after_the_other(
    workspace: Workspace, tones: list[SourceClip], tmp_path: Path
) -> None:
    together, alone = workspace, Workspace.create(tmp_path / "alone")
    import_clips(alone, tones)
    seen: list[tuple[int, int]] = []
    found = embed(
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
    assert seen[-1] == (2 * n, 2 * n)


@pytest.mark.parametrize("n_processes", [1, 2])
def test_several_are_replaced_as_one_is(workspace: Workspace, n_processes: int) -> None:
    embed(workspace, NAMES, layers=[0], n_processes=1)
    before = workspace.embeddings(NAMES[0], 0).vectors
    space = workspace.space_id(NAMES[0], 0)
    with workspace.database.write() as connection:
        connection.execute(
            f"UPDATE vectors_{space} SET vector = (SELECT min(vector) FROM vectors_{space})"
        )
    assert not np.array_equal(workspace.embeddings(NAMES[0], 0).vectors, before)
    outcomes = embed(workspace, NAMES, layers=[0], replace=True, n_processes=n_processes)
    for outcome in outcomes.values():
        assert isinstance(outcome, EmbedReport)
        assert (outcome.n_done, outcome.failed) == (len(workspace.clips()), [])
    np.testing.assert_array_equal(workspace.embeddings(NAMES[0], 0).vectors, before)


def test_a_stop_reaches_every_process(workspace: Workspace) -> None:
    def stop(done: int, total: int, what: str) -> None:
        raise Cancelled("stopped")

    for n_processes in (1, 2):
        with pytest.raises(Cancelled):
            embed(workspace, NAMES, n_processes=n_processes, progress=stop)
        assert _workers(os.getpid()) == []


def test_large_and_unknown_encoders_stay_in_this_process() -> None:
    names = ["log-mel-statistics", "wavlm-large", "hf:no/model", "musicnn", "no-such-encoder"]
    assert embedding._fit_beside_others(names) == ["musicnn", "log-mel-statistics"]


def test_done_work_is_not_done_again(workspace: Workspace) -> None:
    first = embed(workspace, NAMES[0])
    assert (first.n_done, first.n_skipped) == (len(workspace.clips()), 0)
    (again,) = embed(workspace, NAMES[:1]).values()
    assert isinstance(again, EmbedReport)
    assert (again.n_done, again.n_skipped) == (0, len(workspace.clips()))


def test_workers_end_with_the_process_that_started_them(workspace: Workspace) -> None:
    """A killed demo leaves nobody who goes on embedding."""
    code = (
        "import sys\n"
        "from usad_workbench.core.embedding import embed\n"
        "from usad_workbench.core.storage.workspace import Workspace\n"
        "if __name__ == '__main__':\n"
        f"    w = Workspace.open({str(workspace.folder)!r})\n"
        "    embed(w, ['untrained-student', 'usad-demo'], n_processes=2)\n"
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
    found = embed(workspace, NAMES, n_processes=2)
    assert killed
    for name in NAMES:
        report = found[name]
        assert isinstance(report, EmbedReport), report
        assert len(workspace.embeddings(name, 0).segment_ids) == len(workspace.clips())


def test_a_worker_that_dies_every_time_is_words_in_its_place(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_workers, "_start_worker", _exit)
    found = embed(workspace, NAMES, n_processes=2)
    assert [type(found[name]) for name in NAMES] == [WorkerError] * 2


def _exit(*_: object) -> None:
    os._exit(1)


def _workers(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    found = path.read_text().split() if path.is_file() else []
    return [int(child) for child in found if _is_worker(int(child))]


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes() and os.getpid() != pid
    except OSError:
        return False


def test_audio_is_decoded_once_for_all_encoders(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the two has done ten clips already, which are read for the other one alone."""
    opened: list[Path] = []
    read = segment_audio.read_audio

    def counted(file: Path, **times: float) -> Clip:
        opened.append(file)
        return read(file, **times)

    monkeypatch.setattr(segment_audio, "read_audio", counted)
    embed(workspace, NAMES, layers=[0], n_processes=1)
    assert sorted(opened) == sorted({*opened}) and len(opened) == len(workspace.clips())
    opened.clear()
    outcomes = embed(workspace, [NAMES[0], "untrained-student"], layers=[0], n_processes=1)
    assert [o.n_done for o in outcomes.values() if isinstance(o, EmbedReport)] == [0, len(opened)]


def test_progress_begins_at_nothing_and_moves_with_each_batch(workspace: Workspace) -> None:
    seen: list[tuple[int, int]] = []
    embed(workspace, "untrained-student", progress=lambda done, n, _: seen.append((done, n)))
    n = len(workspace.clips())
    assert seen[0] == (0, n) and seen[-1] == (n, n)
    assert seen == sorted(seen) and len(seen) > 2


def test_an_encoder_whose_vectors_cannot_be_stored_stops_no_other(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(writer: VectorWriter, *given: object) -> None:
        if writer._target[1].spec.name == NAMES[0]:
            raise ProvenanceError("deleted meanwhile")
        store(writer, *given)  # type: ignore[arg-type]

    store = VectorWriter.add
    monkeypatch.setattr(VectorWriter, "add", add)
    found = embed(workspace, NAMES, n_processes=1)
    assert isinstance(found[NAMES[0]], ProvenanceError)
    assert len(workspace.embeddings(NAMES[1], 0)) == len(workspace.clips())


@pytest.mark.parametrize("n_processes", [1, 2])
def test_an_encoder_that_cannot_do_what_is_asked_stops_no_other(
    workspace: Workspace, n_processes: int
) -> None:
    found = embed(workspace, [NAMES[0], "ge2e"], pooling="native", n_processes=n_processes)
    assert isinstance(found[NAMES[0]], ConfigError)
    report = found["ge2e"]
    assert isinstance(report, EmbedReport) and report.n_done == len(workspace.clips())


def test_nothing_is_read_for_nobody(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full ends the work, not the decoding of all that is left."""

    def full(*_: object) -> None:
        raise StoreError("full")

    portions: list[int] = []
    read = embedding.read_at_rates

    def counted(*given: Any) -> Iterator[Any]:
        for portion in read(*given):
            portions.append(len(portion[0]))
            yield portion

    monkeypatch.setattr(segment_audio, "PORTION_SEGMENTS", 2)
    monkeypatch.setattr(segment_audio.in_portions, "__defaults__", (240.0, 2))
    monkeypatch.setattr(embedding, "read_at_rates", counted)
    monkeypatch.setattr(VectorWriter, "add", full)
    found = embed(workspace, NAMES, layers=[0], n_processes=1)
    assert [type(outcome) for outcome in found.values()] == [StoreError] * 2
    assert portions == [2] and len(workspace.clips()) > 8


def test_what_only_a_failed_encoder_missed_is_not_read_any_more(workspace: Workspace) -> None:
    request = EmbedRequest(layers=None, pooling="mean", replace=False, precision="float32")
    group = EncoderGroup(workspace, request, CommonProgress(NAMES, no_progress))
    one, two, three = (segment_audio.SegmentAudio(i, f"{i}.wav", 0, i, None) for i in (1, 2, 3))
    missed = ({1: one, 2: two, 3: three}, {3: three})
    group._members = {
        name: cast(Any, SimpleNamespace(pending=pending))
        for name, pending in zip(NAMES, missed, strict=True)
    }
    reading = group.pending()
    assert next(reading) == one
    del group._members[NAMES[0]]
    assert list(reading) == [three]


def test_little_to_do_starts_no_processes(workspace: Workspace) -> None:
    request = EmbedRequest(layers=None, pooling="mean", replace=False, precision="float32")
    how = (workspace, list(NAMES), request, "cpu")
    assert embedding._n_processes(*how, None) == 1
    assert embedding._n_processes(*how, 2) == 2
    audio_s = sum(embedding._pending_s(workspace, name, request) for name in NAMES)
    assert audio_s == pytest.approx(2 * workspace.clips().duration_s.sum(), rel=1e-3)


class TestPrecision:
    """bfloat16 is computed in, told apart, and never mixed with float32."""

    NAME = "untrained-student"

    def test_vectors_are_near_and_say_in_what_they_were_computed(
        self, workspace: Workspace
    ) -> None:
        embed(workspace, self.NAME, layers=[0, -1])
        exact = workspace.embeddings(self.NAME, -1).vectors.copy()
        embed(workspace, self.NAME, layers=[0, -1], replace=True, precision="bfloat16")
        near = workspace.embeddings(self.NAME, -1).vectors
        error = np.linalg.norm(near - exact) / np.linalg.norm(exact)
        assert near.dtype == np.float32 and 1e-5 < error < 0.02
        assert set(workspace.spaces().precision) == {"bfloat16"}
        assert stored_precision(workspace, self.NAME) == "bfloat16"

    def test_the_other_precision_is_refused_in_words(self, workspace: Workspace) -> None:
        embed(workspace, self.NAME, layers=[0], precision="bfloat16")
        before = workspace.embeddings(self.NAME, 0).vectors.copy()
        with pytest.raises(
            ProvenanceError, match=r"bfloat16.*float32.*--precision bfloat16.*--replace"
        ):
            embed(workspace, self.NAME, layers=[0, 1])
        assert workspace.layers(self.NAME) == [0]
        np.testing.assert_array_equal(workspace.embeddings(self.NAME, 0).vectors, before)

    def test_a_query_is_computed_as_what_it_meets(
        self, workspace: Workspace, tones: list[SourceClip]
    ) -> None:
        embed(workspace, self.NAME, layers=[-1], precision="bfloat16")
        stored = workspace.embeddings(self.NAME, -1).vectors[3]
        file, part = str(tones[3].path), query_vectors.Part()
        query = query_vectors.vector_of_file(
            workspace, file, part, SpaceName(self.NAME, -1, "mean"), lambda words: None
        )
        (in_float32,) = load_encoder(self.NAME).embed(file, -1)
        assert np.linalg.norm(query - stored) < 0.3 * np.linalg.norm(in_float32 - stored)

    def test_encoders_that_cannot_say_so(self, workspace: Workspace) -> None:
        with pytest.raises(ConfigError, match="computes in float32 only"):
            embed(workspace, NAMES[0], precision="bfloat16")
        encoder = load_encoder(self.NAME, precision="bfloat16")
        with pytest.raises(ConfigError, match="Load it anew"):
            encoder.in_precision("float32")
