"""Replacing vectors is a swap: readers see all old or all new, and a failure leaves the old."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import SpectrumEncoder, write_tone
from usad_workbench.core.embedding import embed
from usad_workbench.core.models.encoder import LayerFeatures
from usad_workbench.core.storage import deletion
from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.deletion import delete_encoder
from usad_workbench.core.storage.importing_embeddings import import_embeddings
from usad_workbench.core.storage.schema import STAGED
from usad_workbench.core.storage.vector_tables import digest_of
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace

N = 300
"""More than one batch."""


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace of clips without audio, which each test gets a copy of."""
    folder = tmp_path_factory.mktemp("clips")
    ids = [f"c{i:03}" for i in range(N)]
    table = pd.DataFrame({"clip_id": ids, "domain": "speech", "cluster_id": ids})
    table.to_csv(folder / "clips.csv", index=False)
    import_clips_without_audio(Workspace.create(folder / "w"), folder / "clips.csv")
    return folder / "w"


@pytest.fixture
def silent(made_once: Path, tmp_path: Path) -> Workspace:
    return Workspace(shutil.copytree(made_once, tmp_path / "w"))


def file_of(
    folder: Path, value: float, dim: int = 3, bad: tuple[int, ...] = (), n: int = N
) -> Path:
    """Vectors that all hold one value; those of some clips are not finite."""
    rows = [np.full(dim, np.nan if i in bad else value, np.float32) for i in range(n)]
    path = folder / f"v{value:g}-{dim}-{len(bad)}-{n}.parquet"
    pd.DataFrame(
        {"clip_id": [f"c{i:03}" for i in range(n)], "encoder": "e", "layer": 0, "vector": rows}
    ).to_parquet(path)
    return path


def values(workspace: Workspace, encoder: str = "e") -> tuple[int, set[float]]:
    stored = workspace.embeddings(encoder, 0)
    assert stored.space.digest == digest_of(stored.segment_ids, stored.vectors)
    return len(stored), set(stored.vectors.ravel().tolist())


def assert_nothing_left(workspace: Workspace) -> None:
    assert workspace.read(f"SELECT * FROM {STAGED}").empty
    tables = set(workspace.read("SHOW TABLES").name)
    listed = {f"vectors_{i}" for i in workspace.spaces().space_id}
    assert {name for name in tables if name.startswith("vectors_")} == listed
    assert [p.name for p in workspace.folder.iterdir() if p.name.startswith(".")] == []


def test_readers_see_the_old_until_all_is_new(silent: Workspace, tmp_path: Path) -> None:
    import_embeddings(silent, file_of(tmp_path, 1), role="teacher")
    old = silent.space("e", 0)
    seen = []

    def look(done: int, total: int, what: str) -> None:
        seen.append((values(silent), len(silent.spaces()), len(silent.read("FROM embeddings"))))

    report = import_embeddings(
        silent, file_of(tmp_path, 2, dim=5), role="teacher", replace=True, progress=look
    )
    assert seen and seen == [((N, {1.0}), 1, N)] * len(seen)
    assert (report.encoders, report.n_rows) == (["e"], N)
    assert values(silent) == (N, {2.0})
    assert silent.space("e", 0).space_id > old.space_id
    assert_nothing_left(silent)


def test_clips_that_the_file_leaves_out_are_its_own_choice(
    silent: Workspace, tmp_path: Path
) -> None:
    import_embeddings(silent, file_of(tmp_path, 1), role="teacher")
    import_embeddings(silent, file_of(tmp_path, 2, n=7), role="control", replace=True)
    assert values(silent) == (7, {2.0})
    assert silent.encoders().role.tolist() == ["control"]
    (problem,) = check_workspace(silent)
    assert f"e (mean) has vectors of 7 of {N} segments" in problem


@pytest.mark.parametrize("bad", [tuple(range(N)), (5,), (N - 1,)])
def test_clips_that_fail_leave_the_old(
    silent: Workspace, tmp_path: Path, bad: tuple[int, ...]
) -> None:
    import_embeddings(silent, file_of(tmp_path, 1), role="teacher")
    report = import_embeddings(silent, file_of(tmp_path, 2, bad=bad), role="teacher", replace=True)
    assert report.encoders == []
    assert len(report.failed) == len(bad) + 1
    assert "all stored vectors stay" in report.failed[-1].reason
    assert values(silent) == (N, {1.0})
    assert_nothing_left(silent)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, MemoryError])
def test_a_stop_on_the_way_leaves_the_old(
    silent: Workspace, tmp_path: Path, error: type[BaseException]
) -> None:
    import_embeddings(silent, file_of(tmp_path, 1), role="teacher")

    def stop(done: int, total: int, what: str) -> None:
        raise error

    with pytest.raises(error):
        import_embeddings(silent, file_of(tmp_path, 2), role="teacher", replace=True, progress=stop)
    assert values(silent) == (N, {1.0})
    assert_nothing_left(silent)
    import_embeddings(silent, file_of(tmp_path, 2), role="teacher", replace=True)
    assert values(silent) == (N, {2.0})


def test_a_killed_replace_is_cleared_by_the_next_command_and_completes(
    silent: Workspace, tmp_path: Path
) -> None:
    import_embeddings(silent, file_of(tmp_path, 1), role="teacher")
    new = file_of(tmp_path, 2)
    script = """
        import os, signal, sys
        from usad_workbench.core.storage.importing_embeddings import import_embeddings
        from usad_workbench.core.storage.workspace import Workspace
        def die(done, total, what):
            if done == total: os.kill(os.getpid(), signal.SIGKILL)
        import_embeddings(Workspace.open(sys.argv[1]), sys.argv[2], role="teacher", replace=True,
                          progress=die)
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(silent.folder), str(new)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(silent.read(f"SELECT * FROM {STAGED}")) == 1
    assert any("not taken their place" in one for one in check_workspace(silent))
    assert values(silent) == (N, {1.0})
    assert_nothing_left(Workspace.open(silent.folder))
    import_embeddings(silent, new, role="teacher", replace=True)
    assert values(silent) == (N, {2.0})


def test_what_a_living_command_makes_is_not_cleared(silent: Workspace, tmp_path: Path) -> None:
    import_embeddings(silent, file_of(tmp_path, 1), role="teacher")

    def another(done: int, total: int, what: str) -> None:
        if done < total:
            return
        before = len(silent.read(f"SELECT * FROM {STAGED}"))
        Workspace.open(silent.folder)
        assert len(silent.read(f"SELECT * FROM {STAGED}")) == before == 1

    import_embeddings(silent, file_of(tmp_path, 2), role="teacher", replace=True, progress=another)
    assert values(silent) == (N, {2.0})


def test_numbers_of_spaces_are_never_used_again(silent: Workspace, tmp_path: Path) -> None:
    found = []
    for value in (1, 2, 3):
        import_embeddings(silent, file_of(tmp_path, value), role="teacher")
        found.append(silent.space("e", 0).space_id)
        delete_encoder(silent, "e")
    assert found == [0, 1, 2]
    assert silent.spaces().empty


class Refusing(SpectrumEncoder):
    """An encoder that nothing may be computed with."""

    def _forward(self, *_: object) -> LayerFeatures:
        pytest.fail("computed something")


@pytest.mark.parametrize("gone", ["file", "folder instead", "path"])
def test_embed_sees_that_audio_is_gone_before_it_computes(workspace: Workspace, gone: str) -> None:
    embed(workspace, SpectrumEncoder())
    before = workspace.embeddings("spectrum", 1)
    for row in workspace.clips("clip_id IN ('tone03', 'tone20')").itertuples():
        file = workspace.audio_path(str(row.path))
        if gone == "path":
            with workspace.database.write() as connection:
                connection.execute("UPDATE clips SET path = '' WHERE clip_id = ?", [row.clip_id])
            continue
        file.unlink()
        if gone == "folder instead":
            file.mkdir()
    report = embed(workspace, Refusing(), replace=True)
    assert "2 segments that have stored vectors" in report.failed[-1].reason
    named = [one.path for one in report.failed[:-1]]
    assert len(named) == (0 if gone == "path" else 2)
    assert all("tone03.wav" in one or "tone20.wav" in one for one in named)
    assert (report.n_done, workspace.embeddings("spectrum", 1).space) == (0, before.space)
    assert_nothing_left(workspace)


def test_embed_replaces_all_or_nothing(workspace: Workspace, tmp_path: Path) -> None:
    embed(workspace, SpectrumEncoder())
    before = workspace.embeddings("spectrum", 1)
    (path,) = workspace.read("SELECT path FROM clips ORDER BY path LIMIT 1").path
    file = workspace.audio_path(path)
    held = file.read_bytes()
    file.unlink()
    report = embed(workspace, SpectrumEncoder(), replace=True)
    assert report.n_done == 0
    assert len(report.failed) == 2
    assert "all stored vectors stay" in report.failed[-1].reason
    after = workspace.embeddings("spectrum", 1)
    assert after.space == before.space
    file.write_bytes(held)
    again = embed(workspace, SpectrumEncoder(), replace=True, layers=[1])
    assert (again.n_done, again.failed) == (30, [])
    assert workspace.spaces().layer.tolist() == [1]
    replaced = workspace.embeddings("spectrum", 1)
    assert replaced.space.space_id > before.space.space_id
    assert replaced.space.digest == before.space.digest
    assert_nothing_left(workspace)


@pytest.mark.parametrize("replace", [False, True])
def test_other_audio_in_a_file_is_named(
    workspace: Workspace, tmp_path: Path, *, replace: bool
) -> None:
    (row,) = workspace.read("SELECT path, clip_id FROM clips ORDER BY path LIMIT 1").itertuples()
    write_tone(workspace.audio_path(str(row.path)), hz=1234.0, seconds=1.5)
    report = embed(workspace, SpectrumEncoder(), replace=replace)
    assert report.n_done == 29
    assert "has changed since it was imported" in report.failed[0].reason
    assert str(row.clip_id) not in set(workspace.embeddings("spectrum", 0).clip_ids)


def test_each_file_is_hashed_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long clip of many segments costs one reading more, not one for each."""
    from usad_workbench.core.storage import clip_audio

    hashed: list[Path] = []
    real = clip_audio.sha256_of_file
    monkeypatch.setattr(
        clip_audio, "sha256_of_file", lambda path: (hashed.append(path), real(path))[1]
    )
    embed(workspace, SpectrumEncoder())
    assert len(hashed) == len(set(hashed)) == len(workspace.clips())


def test_a_full_disk_at_the_swap_leaves_the_old(
    silent: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_embeddings(silent, file_of(tmp_path, 1), role="teacher")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(deletion, "refresh_embeddings_view", full)
    with pytest.raises(OSError, match="full"):
        deletion.delete_encoder(silent, "e")
    assert values(silent) == (N, {1.0})
