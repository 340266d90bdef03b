"""Nobody computes from, plays or copies a file that is no longer the audio of its clip."""

import os
from pathlib import Path

import pytest

from tests.conftest import write_tone
from usad_workbench.core.errors import AudioError, UnknownNameError, UsadError
from usad_workbench.core.storage import clip_audio
from usad_workbench.core.storage.clip_audio import file_of_clip, unchanged
from usad_workbench.core.storage.exporting import export_clips
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters.sound import read_segment
from usad_workbench.workbench.report.sounds import Sounds

CHANGED = "has changed since it was imported"


def change(workspace: Workspace, clip_id: str) -> Path:
    """Puts other audio of the same length into a clip's file."""
    ((path, duration_s),) = workspace.read(
        "SELECT path, duration_s FROM clips WHERE clip_id = ?", [clip_id]
    ).itertuples(index=False)
    return write_tone(workspace.audio_path(str(path)), hz=1234.0, seconds=float(duration_s))


def test_a_file_is_hashed_again_when_it_was_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_tone(tmp_path / "a.wav", 300.0)
    sha256 = clip_audio.sha256_of_file(file)
    hashed: list[Path] = []
    real = clip_audio.sha256_of_file
    monkeypatch.setattr(
        clip_audio, "sha256_of_file", lambda path: (hashed.append(path), real(path))[1]
    )
    for _ in range(3):
        assert unchanged(file, sha256) == file
    assert len(hashed) == 1
    before = file.stat()
    held = file.read_bytes()
    (tmp_path / "b.wav").write_bytes(held[:-1] + b"x")  # as long, and said to be as old
    os.replace(tmp_path / "b.wav", file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(AudioError, match=CHANGED):
        unchanged(file, sha256)
    assert unchanged(file, None) == unchanged(file, float("nan")) == file  # nothing is known of it
    file.unlink()
    with pytest.raises(UsadError, match=r"a\.wav"):
        unchanged(file, sha256)


def test_what_is_played_and_copied_is_what_was_imported(
    workspace: Workspace, tmp_path: Path
) -> None:
    file = change(workspace, "tone03")
    path = str(workspace.read("SELECT path FROM clips WHERE clip_id = 'tone03'").path[0])
    with pytest.raises(AudioError, match=CHANGED):
        read_segment(workspace, path, 0.0, 0.5)
    with pytest.raises(UnknownNameError):
        file_of_clip(workspace, str(tmp_path / "no.wav"))
    sounds = Sounds(workspace)
    card = sounds.card("tone03", 1.0)
    assert CHANGED in card.note and card.media is None and sounds.n_heard == 0
    assert sounds.card("tone04", 1.0).media is not None
    files, (failure,) = export_clips(workspace, "clip_id < 'tone05'", tmp_path / "out")
    assert failure.path == path and CHANGED in failure.reason
    assert [one.name for one in files if "tone03" in one.name] == []
    assert sum(one.suffix == ".wav" for one in files) == 4
    assert file.is_file()
