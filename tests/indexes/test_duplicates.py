"""Duplicates that were planted are found, and nothing else."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from tests.conftest import SpectrumEncoder
from tests.stored_vectors import ENCODER, store
from usad_workbench.core.embedding import embed
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.storage.deletion import delete_clips
from usad_workbench.core.storage.importing import SourceClip, import_clips, read_manifest
from usad_workbench.core.storage.segments import Segmentation
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import duplicates
from usad_workbench.indexes.close_pairs import close_pairs
from usad_workbench.indexes.duplicates import find_duplicates
from usad_workbench.sample_data import sample_data_folder
from usad_workbench.workbench.cli import main

RATE_HZ = 16_000


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_vectors_have_no_pairs(n: int, tmp_path: Path) -> None:
    workspace = store(tmp_path / "w", np.ones((2, 4), np.float32))
    delete_clips(workspace, [f"c{i:06}" for i in range(n, 2)])
    assert find_duplicates(workspace, ENCODER, 0) == []


def test_a_copy_without_vectors_stands_for_no_other(tmp_path: Path) -> None:
    """The first by name is not embedded yet: its copy's near clip is found all the same."""
    workspace = store(tmp_path / "w", np.eye(3, 4, dtype=np.float32)[[0, 1, 1]])
    with workspace.database.write() as connection:
        connection.execute(
            "INSERT INTO clips (clip_id, path, domain, dataset, cluster_id, audio_sha256) "
            "VALUES ('a', '', 'sound', 'made', 'a', 'x')"
        )
        connection.execute("UPDATE clips SET audio_sha256 = 'x' WHERE clip_id = 'c000001'")
    groups = [(group.kind, group.clip_ids) for group in find_duplicates(workspace, ENCODER, 0)]
    assert groups == [("file", ["a", "c000001"]), ("near", ["c000001", "c000002"])]


def _music(seed: int, seconds: float) -> np.ndarray:
    """Chords of two seconds that no other seed has."""
    noise = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    hz = 10 * np.arange(1, 17)  # what ``SpectrumEncoder`` hears
    levels = np.exp(noise.normal(size=(round(seconds / 2), 16)))
    levels /= np.linalg.norm(levels, axis=1, keepdims=True)
    tones = np.sin(2 * np.pi * hz * t[:, None] + noise.uniform(0, 6, 16))
    return (0.2 * (levels[(t / 2).astype(int)] * tones).sum(axis=1)).astype(np.float32)


def _as_mp3(samples: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format="MP3")
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


@pytest.fixture
def planted(tmp_path: Path) -> Workspace:
    """Twelve sounds; of the first six a copy each, changed in another way."""
    songs = [_music(seed, 4.0) for seed in range(12)]
    files = {f"song{i:02d}.wav": song for i, song in enumerate(songs)}
    files |= {
        "mp3.wav": _as_mp3(songs[2]),
        "quiet.wav": songs[3] / 4,
        "trimmed.wav": songs[4][RATE_HZ // 10 :],
        # Two seconds of a song in the middle of another recording.
        "long.wav": np.concatenate([_music(99, 4.0), songs[5][: 2 * RATE_HZ], _music(98, 4.0)]),
    }
    for name, samples in files.items():
        soundfile.write(tmp_path / name, samples, RATE_HZ)
    soundfile.write(tmp_path / "tags.flac", *soundfile.read(tmp_path / "song01.wav"))
    (tmp_path / "copy.wav").write_bytes((tmp_path / "song00.wav").read_bytes())
    workspace = Workspace.create(tmp_path / "w", Segmentation(window_s=2.0, hop_s=2.0))
    names = sorted([*files, "tags.flac", "copy.wav"])
    sources = [
        SourceClip(path=tmp_path / name, fields={"clip_id": Path(name).stem}) for name in names
    ]
    report = import_clips(workspace, sources)
    assert not report.failed
    embed(workspace, SpectrumEncoder())
    return workspace


def test_planted_duplicates_are_found_and_no_others(planted: Workspace) -> None:
    found = find_duplicates(planted, "spectrum", 1, threshold=0.98)
    kinds = {(group.kind, tuple(group.clip_ids)) for group in found}
    assert kinds == {
        ("file", ("copy", "song00")),
        ("samples", ("song01", "tags")),
        ("near", ("mp3", "song02")),
        ("near", ("quiet", "song03")),
        ("near", ("song04", "trimmed")),
        ("passage", ("long", "song05")),
    }
    assert all(group.score == 1 for group in found if group.kind in ("file", "samples"))
    assert all(0.98 <= group.score <= 1 for group in found)
    equal = find_duplicates(planted)
    assert equal == [group for group in found if group.kind in ("file", "samples")]


def test_the_command_prints_groups(planted: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["duplicates", "--workspace", str(planted.folder)]

    def said(*more: str) -> Any:
        assert main([*words, *more]) == 0
        return capsys.readouterr().out

    assert json.loads(said("--json")) == [
        {"kind": "file", "clip_ids": ["copy", "song00"], "score": 1.0},
        {"kind": "samples", "clip_ids": ["song01", "tags"], "score": 1.0},
    ]
    near = ("--encoder", "spectrum", "--layer", "-1", "--threshold", "0.98")
    assert len(json.loads(said("--json", *near))) == 6
    assert "copy, song00" in said(*near)
    for wrong in (
        ["--encoder", "spectrum"],
        ["--threshold", "0.9"],
        [*near[:4], "--threshold", "2"],
    ):
        assert main([*words, *wrong]) == 2
    assert main([*words, "--encoder", "none", "--layer", "0"]) == 2
    with planted.database.write() as connection:
        connection.execute("UPDATE clips SET samples_digest = NULL WHERE clip_id = 'tags'")
    assert main(words) == 0
    assert "1 clips were imported by a version" in capsys.readouterr().err
    near_said = (*near[:3], "-1")
    assert main([*words, *near_said]) == 0 and "have no vector" not in capsys.readouterr().err
    with planted.database.write() as connection:
        connection.execute(
            "INSERT INTO clips (clip_id, path, domain, dataset, cluster_id) "
            "VALUES ('late', '', 'sound', 'made', 'late')"
        )
    assert main([*words, *near_said]) == 0
    assert "1 clips have no vector of spectrum at layer -1" in capsys.readouterr().err


def test_a_chain_is_one_group_and_its_score_that_of_the_weakest_link(tmp_path: Path) -> None:
    angles = np.deg2rad([0, 5, 10, 60])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    clips = np.arange(4)
    pairs = close_pairs(vectors, clips, np.cos(np.deg2rad(6)))
    (group,) = duplicates._near(pairs, clips, pa.array(["a", "b", "c", "d"]))
    assert (group.kind, group.clip_ids) == ("near", ["a", "b", "c"])
    assert group.score == pytest.approx(np.cos(np.deg2rad(5)), abs=1e-5)


@pytest.mark.parametrize("clips", [[0, 0, 0, 1], [0, 1, 1, 1]], ids=["last", "first"])
def test_whole_is_what_the_shorter_clip_is_whole_in(clips: list[int]) -> None:
    """A clip of one segment lies in one of three, which is first or last by name."""
    vectors = np.eye(4, dtype=np.float32)
    vectors[3] = vectors[0]
    pairs = close_pairs(vectors, np.array(clips), 0.9)
    (group,) = duplicates._near(pairs, np.array(clips), pa.array(["a", "b"]))
    assert (group.kind, group.clip_ids) == ("near", ["a", "b"])


def test_a_space_that_is_not_there_is_named(planted: Workspace) -> None:
    with pytest.raises(UnknownNameError):
        find_duplicates(planted, "spectrum", 7)


def test_the_near_copies_of_the_sample_data(tmp_path: Path) -> None:
    """Each sound of metal is there as a dug and as a placed one, encoded twice."""
    manifest = read_manifest(sample_data_folder() / "manifest.csv")
    rows = [row for row in manifest if row.fields["clip_id"].startswith("sound_minetest_default_")]
    workspace = Workspace.create(tmp_path / "w")
    assert import_clips(workspace, rows).n_copies == 0
    embed(workspace, "log-mel-statistics")
    found = find_duplicates(workspace, "log-mel-statistics", 0, threshold=0.9998)
    start = "sound_minetest_default_"
    assert [group.clip_ids for group in found] == [
        [f"{start}dug_metal-{i}", f"{start}place_node_metal-{i}"] for i in (2, 1)
    ]
