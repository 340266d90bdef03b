"""What `usad search --clip` looks for: exactly the part that is asked for."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import RATE_HZ, SpectrumEncoder
from tests.stored_vectors import ENCODER, add, store
from usad_workbench.core.embedding import embed
from usad_workbench.core.encoders import registry
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cli import main

SPACE = ("--encoder", "log-mel-statistics", "--layer")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of 23.5 s: segments from 0, 10 and 20 s on, each second another sound."""
    folder = tmp_path_factory.mktemp("long")
    rng = np.random.default_rng(0)
    seconds = [
        0.1 * np.sin(2 * np.pi * (90 + 70 * s) * np.arange(RATE_HZ) / RATE_HZ)
        + 0.01 * (1 + s) * rng.normal(size=RATE_HZ)
        for s in range(24)
    ]
    soundfile.write(folder / "long.wav", np.concatenate(seconds)[: int(23.5 * RATE_HZ)], RATE_HZ)
    assert main(["import", str(folder / "long.wav"), "--workspace", str(folder / "w")]) == 0
    assert main(["embed", "--workspace", str(folder / "w"), "--encoders", SPACE[1]]) == 0
    return folder / "w"


@pytest.fixture
def find(capsys: pytest.CaptureFixture[str]) -> Any:
    def found(workspace: Path, *asked: str, space: tuple[str, ...] = (*SPACE, "0")) -> Any:
        capsys.readouterr()
        code = main(["search", "--workspace", str(workspace), *asked, *space, "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out)["hits"] if code == 0 else [], err

    return found


def clip_of(workspace: Path) -> str:
    return str(Workspace.open(workspace).clips().clip_id[0])


@pytest.mark.parametrize(
    ("asked", "stored_from"),
    [
        ((), 0.0),
        (("--start", "0"), 0.0),
        (("--end", "10"), 0.0),
        (("--start", "10"), 10.0),
        (("--start", "20"), 20.0),
        (("--start", "20", "--end", "99"), 20.0),
        (("--start", "10", "--end", "20"), 10.0),
    ],
)
def test_a_part_that_is_stored_is_the_query(
    long: Path, find: Any, asked: tuple[str, ...], stored_from: float
) -> None:
    code, hits, err = find(long, "--clip", clip_of(long), *asked)
    assert code == 0 and hits[0]["start_s"] == stored_from
    assert hits[0]["score"] == pytest.approx(1, abs=1e-6)
    assert ("the first of 3 segments" in err) == (asked in ((), ("--start", "0")))


@pytest.mark.parametrize("layer", ["0", "-1"])
@pytest.mark.parametrize(
    "asked",
    [
        ("--start", "12", "--end", "14"),
        ("--start", "3.25", "--end", "9"),
        ("--end", "2"),
        ("--start", "21"),
        ("--start", "9", "--end", "11.5"),
        ("--start", "5"),
    ],
)
def test_any_other_part_is_what_the_file_has_there(
    long: Path, find: Any, asked: tuple[str, ...], layer: str
) -> None:
    space = (*SPACE, layer)
    by_clip = find(long, "--clip", clip_of(long), *asked, space=space)
    by_file = find(long, "--query", str(long.parent / "long.wav"), *asked, space=space)
    assert by_clip[0] == 0
    assert by_clip[1] == by_file[1]
    assert by_clip[1][0]["score"] < 0.99999


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--start", "-1"), "expected a start of 0 or more"),
        (("--start", "nan"), "expected a start"),
        (("--start", "5", "--end", "5"), "an end after it"),
        (("--start", "8", "--end", "3"), "an end after it"),
        (("--start", "24"), "23.50 s long"),
    ],
)
def test_parts_that_cannot_be_are_refused(
    long: Path, find: Any, asked: tuple[str, ...], words: str
) -> None:
    code, _, err = find(long, "--clip", clip_of(long), *asked)
    assert code == 2 and words in err and "Traceback" not in err


def test_a_clip_whose_file_holds_other_audio_is_not_cut(
    tmp_path: Path, find: Any, long: Path
) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes((long.parent / "long.wav").read_bytes())
    assert main(["import", str(file), "--workspace", str(tmp_path / "w")]) == 0
    assert main(["embed", "--workspace", str(tmp_path / "w"), "--encoders", SPACE[1]]) == 0
    samples, rate = soundfile.read(file)
    soundfile.write(file, samples[::-1], rate)
    clip = clip_of(tmp_path / "w")
    code, _, err = find(tmp_path / "w", "--clip", clip, "--start", "2", "--end", "4")
    assert code == 2 and "has changed since it was imported" in err
    assert find(tmp_path / "w", "--clip", clip, "--start", "10", "--end", "20")[0] == 0


def test_a_clip_of_vectors_is_a_query_and_has_no_parts(tmp_path: Path, find: Any) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 5))
    workspace = store(tmp_path / "w", vectors)
    add(workspace, vectors[::-1].copy(), pooling="native")
    for layer in ("0", "-1"):
        space = ("--encoder", ENCODER, "--layer", layer)
        code, hits, _ = find(workspace.folder, "--clip", "c000007", "-k", "3", space=space)
        assert code == 0 and hits[0]["clip_id"] == "c000007"
        for asked in (("--start", "1"), ("--end", "3")):
            code, _, err = find(workspace.folder, "--clip", "c000007", *asked, space=space)
            assert code == 2 and "came as vectors, without audio" in err
        code, _, err = find(workspace.folder, "--clip", "nobody", space=space)
        assert code == 2 and "no clip 'nobody'" in err


def test_vectors_of_other_weights_are_named(tmp_path: Path, find: Any, long: Path) -> None:
    shutil.copytree(long, tmp_path / "w")
    file = str(long.parent / "long.wav")
    assert "other weights" not in find(tmp_path / "w", "--query", file, "--end", "2")[2]
    with Workspace.open(tmp_path / "w").database.write() as connection:
        connection.execute("UPDATE spaces SET weights_sha256 = repeat('f', 64)")
    for asked in (("--query", file), ("--clip", clip_of(tmp_path / "w"))):
        code, _, err = find(tmp_path / "w", *asked, "--end", "2")
        assert code == 0 and "other weights" in err


def test_everywhere_embeds_a_sound_once_by_each_encoder(
    long: Path, tmp_path: Path, find: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file and of a part of a clip; every layer finds what it finds alone."""
    shutil.copytree(long, tmp_path / "w")
    workspace = Workspace.open(tmp_path / "w")
    embed(workspace, SpectrumEncoder())
    loaded: list[str] = []

    def load(name: str, **settings: Any) -> Encoder:
        loaded.append(name)
        return SpectrumEncoder() if name == "spectrum" else load_encoder(name, **settings)

    monkeypatch.setattr(registry, "load_encoder", load)
    part = ("--start", "3", "--end", "8")
    for asked in (("--query", str(long.parent / "long.wav")), ("--clip", clip_of(long))):
        loaded.clear()
        code, hits, _ = find(tmp_path / "w", *asked, *part, space=("--everywhere",))
        assert code == 0 and sorted(loaded) == sorted(workspace.encoders().encoder)
        for layer in (0, 1):
            space = ("--encoder", "spectrum", "--layer", str(layer))
            _, alone, _ = find(tmp_path / "w", *asked, *part, space=space)
            same = [h for h in hits if (h["encoder"], h["layer"]) == ("spectrum", layer)]
            assert [(h["start_s"], h["score"]) for h in same] == [
                (h["start_s"], pytest.approx(h["score"], abs=1e-6)) for h in alone
            ]
            assert len({h["score"] for h in alone}) == 3
