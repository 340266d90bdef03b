"""The command line as a user types it: one JSON document, exit codes, no tracebacks."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import write_tone
from tests.core.storage.test_importing import HANDLED, REFUSED, SCRIPT_NAME, bad_inputs
from usad_workbench import training
from usad_workbench.core.encoders.weights import CACHE_VARIABLE
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.training import TrainResult
from usad_workbench.workbench.cli import COMMANDS, build_parser, main

__all__ = ["bad_inputs"]  # the fixture


def _json(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0):  # type: ignore[no-untyped-def]
    """Runs a command with --json and returns its one document."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def _usad(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "usad_workbench.workbench.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Forty-eight tones of two domains in twelve clusters, with a manifest."""
    folder = tmp_path / "tones"
    folder.mkdir()
    lines = ["path,clip_id,domain,cluster_id,label,octave"]
    for i in range(48):
        write_tone(folder / f"t{i:02}.wav", 110 * 2 ** (i % 4) * (1 + i / 200), 0.4 + i / 100)
        domain = ("speech", "music")[i % 2]
        lines.append(f"t{i:02}.wav,t{i:02},{domain},c{i // 4},tone,o{i % 4}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def test_help_of_every_command() -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as stop:
            main([name, "--help"])
        assert stop.value.code == 0


@pytest.mark.parametrize("action", ["list", "get", "convert"])
def test_help_of_what_is_done_with_encoders(
    action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["encoders", action, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "--json" in said and "--trust-remote-code" in said


def _without_help(parser: argparse.ArgumentParser, name: str) -> list[str]:
    """Arguments that the help of a command leaves unexplained."""
    found = []
    for action in parser._actions:
        if not action.help and name != "usad":  # the commands have one help each
            found.append(f"{name} {action.option_strings or action.dest}")
        if isinstance(action, argparse._SubParsersAction):
            for word, one in action.choices.items():
                found += _without_help(one, f"{name} {word}")
    return found


def test_every_argument_of_every_command_is_explained() -> None:
    assert _without_help(build_parser(), "usad") == []


def test_unknown_command_is_wrong_use_and_the_nearest_is_named() -> None:
    done = _usad("imprt", "sounds")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "there is no command 'imprt'. Did you mean import" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "--workspace", "nowhere", "--encoders", "log-mel-statistics"),
        ("import", "--workspace", "w"),
        ("search", "--workspace", "nowhere", "--clip", "a", "--encoder", "x", "--layer", "0"),
        ("train", "no-such-recipe.toml", "--run", "r"),
        ("workbench", "nowhere"),
        ("demo", "--port", "99999"),
        ("demo", "--port", "0"),
        ("demo", "--host", "192.0.2.1"),
        ("import", "no-such-folder", "--workspace", "w"),
        ("encoders", "get"),
    ],
)
def test_mistakes_are_one_sentence(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"usad {arguments[0]}: ")
    assert "Traceback" not in shown.err
    assert not (tmp_path / "w").exists()


def test_the_main_job(collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    w = str(tmp_path / "w")
    manifest = str(collection / "manifest.csv")
    imported = _json(capsys, "import", "--workspace", w, "--manifest", manifest)
    expected = {"n_added": 48, "failed": [], "ignored": {}, "copies": []}
    assert {name: imported.pop(name) for name in expected} == expected
    assert (imported.pop("window_s"), imported.pop("hop_s")) == (10, 10)
    assert set(imported.values()) == {0}, "nothing was copied, moved, skipped or filled in"
    encoders = "log-mel-statistics,mfcc-statistics,untrained-student"
    done = _json(capsys, "embed", "--workspace", w, "--encoders", encoders)
    assert (done["n_done"], done["n_skipped"], done["failed"]) == (144, 0, [])
    assert done["audio_seconds"] > 0 < done["rtf"]
    again = _json(capsys, "embed", "--workspace", w, "--encoders", encoders)
    assert (again["n_done"], again["n_skipped"]) == (0, 144)

    workspace = Workspace.open(w)
    n_spaces = len(workspace.spaces())
    built = _json(capsys, "index", "--workspace", w)
    assert len(built) == n_spaces
    assert {row["recall_at_10"] for row in built} == {1.0}
    assert main(["index", "--workspace", w, "--kind", "ivfpq", "--json"]) == 0
    shown = capsys.readouterr()
    assert f"{n_spaces} of {n_spaces} spaces: ivfpq needs 9,984 vectors" in shown.err
    for row in json.loads(shown.out):
        assert row["kind"] == "flat" and "there are 48" in row["reason"]
    assert {row["reason"] for row in built} == {""}
    measured = _json(capsys, "index", "test", "--workspace", w)
    assert [(r["encoder"], r["layer"], r["n"]) for r in measured] == [
        (r["encoder"], r["layer"], 48) for r in built
    ]

    maps = _json(
        capsys, "project", "--workspace", w, "--encoder", "untrained-student", "--layer", "-1"
    )
    (report,) = maps
    assert report["layer"] == 8
    assert report["n"] == 48
    assert 0.5 < report["trustworthiness"] <= 1

    compared = _json(
        capsys,
        "diagnose",
        "--workspace",
        w,
        "--student",
        "untrained-student",
        "--permutations",
        "19",
    )
    assert compared["domains"] == ["music", "speech"]
    assert compared["n_clips"] == 48
    assert len(compared["similarity"]) == 2 * 2 * 9 * 2  # measures, domains, layers, encoders
    for row in compared["similarity"]:
        assert -0.2 < row["value"] <= 1
        assert row["p_value"] >= 1 / 20
        assert row["q_value"] >= row["p_value"] - 1e-12
        assert (row["ci_low"] is None) == (row["n_clusters"] < 8)
    again = (
        "diagnose",
        "--workspace",
        w,
        "--student",
        "untrained-student",
        "--panels",
        "similarity",
    )
    assert main([*again, "--permutations", "19"]) == 0
    said = capsys.readouterr().out
    assert "warning: untrained-student has the role baseline" in said
    assert "warning: who taught untrained-student is not known" in said
    assert main([*again, "--permutations", "0"]) == 2
    assert "expected at least 1" in capsys.readouterr().err
    for condition in ("", "  "):  # a variable of a shell that is not set
        assert main([*again, "--where", condition]) == 2
        assert "--where is empty" in capsys.readouterr().err
    assert _json(capsys, "check", "--workspace", w) == {"ok": True, "problems": []}


def test_search_finds_own_clip_and_file(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    w = str(tmp_path / "w")
    manifest = str(collection / "manifest.csv")
    _json(capsys, "import", "--workspace", w, "--manifest", manifest)
    _json(capsys, "embed", "--workspace", w, "--encoders", "log-mel-statistics")
    space = ("--encoder", "log-mel-statistics", "--layer", "0", "--workspace", w)
    by_clip = _json(capsys, "search", "--clip", "t07", "-k", "5", *space)["hits"]
    by_file = _json(capsys, "search", "--query", str(collection / "t07.wav"), "-k", "5", *space)
    stored = Workspace.open(w).embeddings("log-mel-statistics", 0)
    unit = stored.vectors / np.linalg.norm(stored.vectors, axis=1, keepdims=True)
    cosines = unit @ unit[stored.clip_ids.tolist().index("t07")]
    expected = stored.clip_ids[np.argsort(-cosines)[:5]].tolist()
    for hits in (by_clip, by_file["hits"]):
        assert [hit["clip_id"] for hit in hits] == expected
        assert hits[0]["clip_id"] == "t07"
        assert abs(hits[0]["score"] - 1) < 1e-5
        assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
    for k in ("-3", "0"):
        assert main(["search", "--clip", "t07", "-k", k, *space]) == 2
        assert f"Found -k {k}, expected 1 or more" in capsys.readouterr().err
    only = _json(capsys, "search", "--clip", "t07", "--where", "octave = 'o1'", *space)["hits"]
    assert {int(hit["clip_id"][1:]) % 4 for hit in only} == {1}


def test_tasks_come_with_clips_and_not_without_a_workspace(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    w, tasks = str(tmp_path / "w"), tmp_path / "tasks.csv"
    head = "task,label_column,domain,group_column,metric\n"
    tasks.write_text(f"{head}octave,octave,,cluster_id,accuracy\n")
    assert main(["import", "--tasks", str(tasks), "--workspace", w]) == 2
    assert not Path(w).exists()
    manifest = str(collection / "manifest.csv")
    both = ("import", "--manifest", manifest, "--tasks", str(tasks), "--workspace", w)
    found = _json(capsys, *both)
    assert (found["n_added"], found["n_tasks"]) == (48, 1)
    tasks.write_text(f"{head}pitch,no_such_column,,cluster_id,accuracy\n")
    assert main(["import", "--tasks", str(tasks), "--workspace", w]) == 2
    assert "no_such_column" in capsys.readouterr().err
    assert Workspace.open(w).sql("SELECT task FROM tasks").task.tolist() == ["octave"]


def test_folders_are_offered_as_labels_and_taken_late(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sounds, w = tmp_path / "sounds", str(tmp_path / "w")
    for i, folder in enumerate(("dog", "cat")):
        (sounds / folder).mkdir(parents=True)
        write_tone(sounds / folder / f"{folder}.wav", 300 + 100 * i)
    assert main(["import", "--workspace", w, str(sounds)]) == 0
    assert "2 folders (cat, dog)" in capsys.readouterr().err
    found = _json(capsys, "import", "--workspace", w, str(sounds), "--folders-are-labels")
    assert (found["n_added"], found["failed"]) == (0, [])
    labels = Workspace.open(w).sql("SELECT label, dataset FROM clips ORDER BY path")
    assert labels.to_numpy().tolist() == [["cat", "cat"], ["dog", "dog"]]


def test_a_folder_after_its_manifest_adds_nothing_and_copies_are_counted(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    w = str(tmp_path / "w")
    _json(capsys, "import", "--workspace", w, "--manifest", str(collection / "manifest.csv"))
    again = _json(capsys, "import", "--workspace", w, str(collection))
    assert (again["n_added"], again["n_copies"], again["n_skipped"]) == (0, 0, 48)
    copies = tmp_path / "copies"
    copies.mkdir()
    for name in ("t01.wav", "t02.wav"):
        (copies / name).write_bytes((collection / name).read_bytes())
    assert main(["import", "--workspace", w, str(copies)]) == 0
    assert "2 of the added clips have the audio of another clip" in capsys.readouterr().err
    assert _json(capsys, "import", "--workspace", w, str(copies))["n_skipped"] == 2
    write_tone(copies / "t01.wav", 900)
    changed = _json(capsys, "import", "--workspace", w, str(copies), code=1)
    assert "has changed since it was imported" in changed["failed"][0]["reason"]


def test_evaluate_reads_planted_labels(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    w = str(tmp_path / "w")
    _json(capsys, "import", "--workspace", w, "--manifest", str(collection / "manifest.csv"))
    encoders = "log-mel-statistics,mfcc-statistics"
    _json(capsys, "embed", "--workspace", w, "--encoders", encoders)
    assert main(["evaluate", "--workspace", w]) == 2  # no tasks yet
    assert "usad import --tasks CSV --workspace" in capsys.readouterr().err
    tasks = tmp_path / "tasks.csv"
    tasks.write_text(
        "task,label_column,domain,group_column,metric\noctave,octave,,cluster_id,accuracy\n"
    )
    assert _json(capsys, "import", "--tasks", str(tasks), "--workspace", w)["n_tasks"] == 1
    for n in ("0", "-1", "1000000000"):
        assert main(["evaluate", "--workspace", w, "--seeds", n]) == 2
        assert f"Found --seeds {n}, expected 1 to" in capsys.readouterr().err
    rows = _json(
        capsys,
        "evaluate",
        "--workspace",
        w,
        "--protocol",
        "knn",
        "--seeds",
        "1",
        "--against",
        "mfcc-statistics",
    )
    by_key = {(row["encoder"], row["task"]): row for row in rows}
    best = by_key["log-mel-statistics", "octave"]
    assert best["value"] > 0.9
    assert best["n_test"] == 48
    assert best["chance"] == pytest.approx(0.25, abs=0.05)
    other = by_key["mfcc-statistics", "octave"]
    assert best["difference"] == pytest.approx(best["value"] - other["value"], abs=1e-9)
    stored = Workspace.open(w).sql("SELECT count(*) AS n FROM probes")
    assert int(stored.n[0]) == len(rows)


def test_bad_inputs_through_import_and_query(
    bad_inputs: Path, collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    w = str(tmp_path / "w")
    report = _json(capsys, "import", str(bad_inputs), "--workspace", w, code=1)
    assert report["n_added"] == len(HANDLED)
    assert {Path(f["path"]).name for f in report["failed"]} == set(REFUSED)
    _json(capsys, "embed", "--workspace", w, "--encoders", "log-mel-statistics")
    space = ("--encoder", "log-mel-statistics", "--layer", "0", "--workspace", w)
    for name in REFUSED:
        assert main(["search", "--query", str(bad_inputs / name), *space]) == 2, name
        shown = capsys.readouterr()
        assert shown.out == ""
        assert name in shown.err
        assert "Traceback" not in shown.err
    for name in HANDLED:
        hits = _json(capsys, "search", "--query", str(bad_inputs / name), "-k", "1", *space)["hits"]
        assert Path(hits[0]["path"]).name == name
        assert abs(hits[0]["score"] - 1) < 1e-5
    assert SCRIPT_NAME in HANDLED


def test_student_sizes_are_the_published_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """Source: the totals of the published checkpoints, to the digit."""
    rows = {row["size"]: row for row in _json(capsys, "student", "sizes")}
    assert {name: rows[name]["n_params"] for name in rows if name != "demo"} == {
        "small": 24_749_504,
        "base": 97_218_752,
        "large": 335_825_600,
        "xlarge": 694_501_568,
        "xxlarge": 1_035_595_968,
    }


def test_the_table_of_encoders_fits_a_screen_and_one_is_told_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert main(["encoders", "list"]) == 0
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert max(map(len, text.splitlines())) <= 170
    assert "NC" in lines["muq-large-msd-iter"] and "NC" not in lines["hubert-base"]
    assert "runs its own code" in lines["usad2-base"]
    assert main(["encoders", "list", "mert-95m"]) == 0
    full = capsys.readouterr().out
    assert "licence: CC BY-NC 4.0 (non-commercial)" in full
    assert "usad encoders get mert-95m --trust-remote-code" in full


def test_a_model_that_is_not_here_is_a_row_of_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, missing = _json(capsys, "encoders", "list", "usad-demo", f"hf:{tmp_path}")
    assert found["available"] and found["non_commercial"] is False
    assert not missing["available"] and "no model folder" in missing["reason"]
    assert missing["n_layers"] is None and missing.keys() == found.keys()
    assert main(["encoders", "list", "usad-dem"]) == 2
    assert "Did you mean usad-demo" in capsys.readouterr().err
    assert main(["encoders", "get", "usad-dem"]) == 2


@pytest.mark.parametrize("layers", ["-1,0", "0,-1"])
def test_layers_from_the_end_and_no_encoders(
    collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], layers: str
) -> None:
    w = str(tmp_path / "w")
    _json(capsys, "import", "--workspace", w, "--manifest", str(collection / "manifest.csv"))
    asked = ("embed", "--workspace", w, "--layers", layers, "--encoders")
    report = _json(capsys, *asked, "untrained-student")
    assert report["failed"] == []
    assert sorted(Workspace.open(w).spaces().layer) == [0, 8]
    assert main([*asked, ""]) == 2
    assert "Found no encoder" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["mps", "meta", "cuda:7", "nonsense"])
def test_devices_that_are_not_here(
    device: str, collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    w = str(tmp_path / "w")
    _json(capsys, "import", "--workspace", w, "--manifest", str(collection / "manifest.csv"))
    asked = ("embed", "--workspace", w, "--encoders", "untrained-student", "--device", device)
    assert main([*asked]) == 2
    shown = capsys.readouterr().err
    assert "Use auto" in shown and "Traceback" not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "--trust-remote-code", "usad-demo", "--json"),
        ("get", "usad-demo", "--trust-remote-code", "--json"),
        ("--json", "get", "--trust-remote-code", "usad-demo"),
        ("--json", "-v", "get", "usad-demo"),
    ],
)
def test_options_may_stand_before_the_names_and_after(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["encoders", *arguments]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"encoder": "usad-demo", "available": True, "reason": "", "folder": None}
    ]


def test_an_encoder_comes_from_a_file_named_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    wrong = tmp_path / "atst.ckpt"
    wrong.write_bytes(b"no checkpoint")
    assert main(["encoders", "get", "--from", str(wrong), "atst-frame"]) == 1
    assert "atst-frame" in (said := capsys.readouterr()).out and str(wrong) in said.err
    assert main(["encoders", "get", "--from", str(wrong), "atst-frame", "aisfx"]) == 2
    assert "found 2 encoders" in capsys.readouterr().err


def test_every_domain_has_a_teacher_and_a_control(capsys: pytest.CaptureFixture[str]) -> None:
    rows = _json(capsys, "encoders", "list")
    for domain in ("speech", "sound", "music"):
        roles = {row["role"] for row in rows if row["domain"] == domain}
        assert roles >= {"teacher", "control"}
    assert {row["role"] for row in rows} == {"teacher", "student", "control", "baseline"}


def test_encoders_list_needs_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("USAD_CACHE_DIR", str(tmp_path))
    rows = {row["encoder"]: row for row in _json(capsys, "encoders", "list")}
    assert not rows["aisfx"]["available"]
    assert "usad encoders get aisfx" in rows["aisfx"]["reason"]
    assert rows["log-mel-statistics"]["available"]
    for row in rows.values():
        assert len(row["dims"]) == len(row["frame_rates_hz"]) == row["n_layers"] + 1
        assert row["licence"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "--workspace", "w", "--encoders", "usad-demo", "--layers=--"),
        ("import", "--workspace=--", "x"),
        ("search", "--workspace", "w", "--encoder", "e", "--clip", "c", "--layer=--"),
        ("encoders", "get", "--from=--", "atst-frame"),
    ],
)
def test_dashes_are_no_value(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "expected a value, found --" in capsys.readouterr().err


def test_a_file_may_be_called_as_an_option_after_the_dashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tone(tmp_path / "--layers=--.wav", 440)
    arguments = ("import", "--workspace", "w", "--domain", "music", "--", "--layers=--.wav")
    assert main(arguments) == 0
    assert len(Workspace.open("w").clips()) == 1


def test_a_training_that_leaves_clips_out_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = TrainResult(
        run="r", step=3, loss=1.0, checkpoint="r/3", failed=(("x7", "no such file"),)
    )
    monkeypatch.setattr(training, "train", lambda *args, **kwargs: result)
    document = _json(capsys, "train", "a.toml", "--run", "r")
    assert document["failed"] == [{"clip": "x7", "reason": "no such file"}]
