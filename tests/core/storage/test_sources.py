"""Folders and manifests: every file and row is taken, passed over for a reason, or named."""

import json
import os
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import write_tone
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.importing import ImportReport, SourceClip, import_clips
from usad_workbench.core.storage.manifests import read_manifest
from usad_workbench.core.storage.sources import count_ignored, find_sources
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cli import main


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w")


def _manifest(folder: Path, text: str, name: str = "m.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder / name


def _tones(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        write_tone(folder / name, 200 + 20 * i)


def _imported(workspace: Workspace, manifest: Path, update: bool = False) -> ImportReport:
    return import_clips(workspace, read_manifest(manifest), update=update)


def test_what_is_not_taken_is_counted_by_suffix(tmp_path: Path) -> None:
    _tones(tmp_path / "in/deep", "a.wav", "b.WAV")
    for name in ("notes.txt", "deep/more.txt", "deep/README", "clip.avi", ".hidden.txt"):
        (tmp_path / "in" / name).write_text("x")
    assert [one.path.name for one in find_sources(tmp_path / "in")] == ["a.wav", "b.WAV"]
    assert count_ignored(tmp_path / "in") == {".txt": 2, ".avi": 1, "no suffix": 1}


def test_what_other_systems_leave_is_passed_over(tmp_path: Path) -> None:
    _tones(tmp_path / "in", "a.wav", "._a.wav", ".b.wav")
    for folder in (".Trashes/501", "__MACOSX", ".git", "deep/.Spotlight-V100"):
        _tones(tmp_path / "in" / folder, "gone.wav")
    assert [one.path.name for one in find_sources(tmp_path / "in")] == ["a.wav"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    _tones(tmp_path / "in/own", "a.wav")
    _tones(tmp_path / "store", "b.wav")
    (tmp_path / "in/more").symlink_to(tmp_path / "store")
    (tmp_path / "in/again").symlink_to(tmp_path / "store")
    (tmp_path / "in/own/up").symlink_to(tmp_path / "in")
    (tmp_path / "store/loop").symlink_to(tmp_path / "store")
    assert [one.path.name for one in find_sources(tmp_path / "in")] == ["b.wav", "a.wav"]


BAD_NAMES = [b"loop.wav", b"caf\xe9.wav", b"dangling.wav", b"fifo.wav"]


def test_bad_names_stop_nothing(workspace: Workspace, tmp_path: Path) -> None:
    _tones(tmp_path / "in", "a.wav", "m.wav", "z.wav")
    inside = os.fsencode(tmp_path / "in")
    os.symlink(b"loop.wav", inside + b"/loop.wav")
    os.symlink(b"nowhere.wav", inside + b"/dangling.wav")
    os.mkfifo(inside + b"/fifo.wav")
    os.rename(inside + b"/m.wav", inside + b"/caf\xe9.wav")
    for _ in range(2):
        report = import_clips(workspace, find_sources(tmp_path / "in"))
        assert len(report.failed) == len(BAD_NAMES)
        json.dumps([one.path + one.reason for one in report.failed], ensure_ascii=False).encode()
    assert len(workspace.clips()) == 2
    assert len(workspace.sql("SELECT * FROM failures")) == len(BAD_NAMES)


def test_bad_rows_stop_nothing(workspace: Workspace, tmp_path: Path) -> None:
    _tones(tmp_path, "a.wav", "b.wav")
    manifest = _manifest(
        tmp_path,
        "path,label\na.wav,dog\n,cat\n"
        + "n" * 300
        + ".wav,x\nnul\0.wav,x\n"
        + "d/" * 3000
        + "e.wav,x\n,,,\nb.wav,Animal, cat\nb.wav,cat\n",
    )
    report = _imported(workspace, manifest)
    reasons = {one.path.rsplit("/", 1)[-1][:12]: one.reason for one in report.failed}
    assert report.n_added == 2 and len(report.failed) == 5
    assert "no path" in reasons["m.csv, row 2"]
    assert "beyond its header, 3 for 2 columns, the last is ' cat'" in reasons["m.csv, row 6"]
    assert workspace.clips().label.tolist() == ["dog", "cat"]


def test_an_error_while_a_file_is_read_stops_nothing(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usad_workbench.core.storage import importing

    whole = importing.sha256_of_file

    def broken(path: Path) -> str:
        errors = {"b.wav": OSError(5, "I/O error", str(path)), "c.wav": MemoryError()}
        if path.name in errors:
            raise errors[path.name]
        return whole(path)

    _tones(tmp_path / "in", "a.wav", "b.wav", "c.wav", "d.wav")
    monkeypatch.setattr(importing, "sha256_of_file", broken)
    report = import_clips(workspace, find_sources(tmp_path / "in"))
    assert report.n_added == 2
    assert [one.reason.split(str(tmp_path))[1][:9] for one in report.failed] == [
        "/in/b.wav",
        "/in/c.wav",
    ]


def test_a_mistake_of_the_program_is_no_failure_of_a_file(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from usad_workbench.core.storage import importing

    def mistaken(path: Path) -> str:
        raise TypeError("a mistake")

    _tones(tmp_path / "in", "a.wav")
    monkeypatch.setattr(importing, "sha256_of_file", mistaken)
    with pytest.raises(TypeError, match="a mistake"):
        import_clips(workspace, find_sources(tmp_path / "in"))


@pytest.mark.parametrize(
    "text",
    [
        "path;label\na.wav;dog, big\n",
        "path\tlabel\na.wav\tdog, big\n",
        '\ufefffile_name,label\r\na.wav,"dog, big"\r\n',
        '"Path";"label"\n"a.wav";"dog, big"\n',
        'label,filename\n"dog, big",a.wav\n',
    ],
)
def test_tables_of_many_makers_are_read(text: str, workspace: Workspace, tmp_path: Path) -> None:
    _tones(tmp_path, "a.wav")
    assert _imported(workspace, _manifest(tmp_path, text)).n_added == 1
    assert workspace.clips().label.tolist() == ["dog, big"]


def test_a_manifest_may_be_parquet(workspace: Workspace, tmp_path: Path) -> None:
    _tones(tmp_path, "a.wav", "b.wav")
    table = pd.DataFrame(
        {
            "path": ["a.wav", "b.wav"],
            "label": pd.Categorical(["NA", "x"]),
            "bpm": pd.array([120, None], dtype="Int64"),
        }
    )
    table.to_parquet(tmp_path / "m.parquet")
    assert _imported(workspace, tmp_path / "m.parquet").n_added == 2
    clips = workspace.clips()
    assert clips.label.tolist() == ["NA", "x"]
    assert clips.bpm[0] == "120" and pd.isna(clips.bpm[1])


@pytest.mark.parametrize("label", ["NA", "None", "null", "nan", "N/A", "NULL", "0", "007", "1e5"])
def test_labels_are_kept_as_they_stand_by_both_imports(label: str, tmp_path: Path) -> None:
    _tones(tmp_path, "a.wav")
    heard = Workspace.create(tmp_path / "heard")
    _imported(heard, _manifest(tmp_path, f"path,label\na.wav,{label}\n"))
    silent = Workspace.create(tmp_path / "silent")
    table = f"clip_id,domain,cluster_id,label\n{label},s,k,{label}\n"
    import_clips_without_audio(silent, _manifest(tmp_path, table))
    assert heard.clips().label.tolist() == silent.clips().label.tolist() == [label]
    assert silent.clips().clip_id.tolist() == [label]


@pytest.mark.parametrize("header", ["Label,label", "label,label", "score,meta score", "A b,a-b"])
def test_columns_that_would_become_one_are_refused(
    header: str, workspace: Workspace, tmp_path: Path
) -> None:
    _tones(tmp_path, "a.wav")
    with pytest.raises(ConfigError, match=r"both become|2 times"):
        read_manifest(_manifest(tmp_path, f"path,{header}\na.wav,x,y\n"))
    with pytest.raises(ConfigError, match=r"both become|2 times"):
        table = f"clip_id,domain,cluster_id,{header}\na,s,k,x,y\n"
        import_clips_without_audio(workspace, _manifest(tmp_path, table))


@pytest.mark.parametrize(
    ("rows", "clash"),
    [
        ("a.wav,dog,0,2\na.wav,cat,2,4\n", "label, start_s, end_s"),
        ("a.wav,dog,,\n./a.wav,cat,,\n", "label"),
        ("a.wav,dog,0,2\na.wav,dog,2,4\n", "start_s, end_s"),
    ],
)
def test_rows_that_contradict_each_other_are_refused(
    rows: str, clash: str, workspace: Workspace, tmp_path: Path
) -> None:
    _tones(tmp_path, "a.wav", "b.wav")
    manifest = _manifest(tmp_path, f"path,label,start_s,end_s\n{rows}b.wav,owl,,\n")
    report = _imported(workspace, manifest)
    assert report.n_added == 1
    [failure] = report.failed
    assert f"with different {clash};" in failure.reason and "one row" in failure.reason


def test_rows_that_agree_are_one_clip(workspace: Workspace, tmp_path: Path) -> None:
    _tones(tmp_path, "a.wav")
    manifest = _manifest(tmp_path, "path,label,take\na.wav,dog,\na.wav,,2\na.wav,dog,2\n")
    report = import_clips(workspace, [*find_sources(tmp_path / "a.wav"), *read_manifest(manifest)])
    assert (report.n_added, report.n_skipped, report.failed) == (1, 3, [])
    assert workspace.clips()[["label", "take"]].values.tolist() == [["dog", "2"]]


def test_labels_that_come_late_are_filled_in(workspace: Workspace, tmp_path: Path) -> None:
    _tones(tmp_path / "in", "a.wav", "b.wav")
    import_clips(workspace, find_sources(tmp_path / "in"))
    text = "path,label,domain,speaker\nin/a.wav,dog,sound,007\nin/b.wav,,,008\n"
    report = _imported(workspace, _manifest(tmp_path, text))
    assert (report.n_added, report.n_skipped, report.n_filled) == (0, 2, 2)
    clips = workspace.clips().astype(object).where(workspace.clips().notna(), None)
    assert clips.label.tolist() == ["dog", None]
    assert clips.domain.tolist() == ["sound", "unknown"]
    assert clips.speaker.tolist() == ["007", "008"]
    assert _imported(workspace, _manifest(tmp_path, text)).n_filled == 0


def test_a_label_that_contradicts_is_named_and_replaced_when_asked(
    workspace: Workspace, tmp_path: Path
) -> None:
    _tones(tmp_path, "a.wav")
    _imported(workspace, _manifest(tmp_path, "path,label,split\na.wav,dog,\n"))
    other = _manifest(tmp_path, "path,label,split\na.wav,cat,test\n")
    [failure] = _imported(workspace, other).failed
    assert "has the label 'dog', found 'cat'" in failure.reason and "--update" in failure.reason
    assert workspace.clips().label.tolist() == ["dog"]
    assert pd.isna(workspace.clips().split[0])
    assert _imported(workspace, other, update=True).n_filled == 1
    assert workspace.clips()[["label", "split"]].values.tolist() == [["cat", "test"]]


def test_late_labels_of_clips_without_audio(workspace: Workspace, tmp_path: Path) -> None:
    table = "clip_id,domain,cluster_id\na,s,k\nb,s,k\n"
    assert import_clips_without_audio(workspace, _manifest(tmp_path, table)) == 2
    late = _manifest(tmp_path, "clip_id,domain,cluster_id,label\na,s,k,dog\nc,s,k,cat\n")
    assert import_clips_without_audio(workspace, late) == 1
    assert workspace.clips().label.fillna("").tolist() == ["dog", "", "cat"]
    with pytest.raises(ConfigError, match="has the label 'dog', found 'owl'"):
        table = "clip_id,domain,cluster_id,label\na,s,k,owl\n"
        import_clips_without_audio(workspace, _manifest(tmp_path, table))


def test_audio_that_was_moved_is_found_by_its_content(workspace: Workspace, tmp_path: Path) -> None:
    _tones(tmp_path / "old", "a.wav", "b.wav", "c.wav")
    import_clips(workspace, find_sources(tmp_path / "old"))
    ids = workspace.clips().clip_id.tolist()
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "new/b.wav").rename(tmp_path / "new/renamed.wav")
    report = import_clips(workspace, find_sources(tmp_path / "new"))
    assert (report.n_added, report.n_skipped, report.n_moved) == (0, 3, 3)
    clips = workspace.clips()
    assert clips.clip_id.tolist() == ids
    assert all(Path(path).is_file() for path in clips.path)
    assert sorted(Path(path).name for path in clips.path) == ["a.wav", "c.wav", "renamed.wav"]
    again = import_clips(workspace, find_sources(tmp_path / "new"))
    assert (again.n_added, again.n_moved) == (0, 0)


def test_a_copy_moves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    _tones(tmp_path / "one", "a.wav")
    import_clips(workspace, find_sources(tmp_path / "one"))
    (tmp_path / "two").mkdir()
    (tmp_path / "two/copy.wav").write_bytes((tmp_path / "one/a.wav").read_bytes())
    report = import_clips(workspace, find_sources(tmp_path / "two"))
    assert (report.n_added, report.n_copies, report.n_moved) == (1, 1, 0)
    assert sorted(Path(path).name for path in workspace.clips().path) == ["a.wav", "copy.wav"]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["café.wav", "Ångström/é.wav", "が.wav"])
def test_accents_are_found_however_they_are_spelt(
    name: str, on_disk: str, workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / unicodedata.normalize(on_disk, name)  # type: ignore[arg-type]
    _tones(path.parent, path.name)
    other = unicodedata.normalize("NFC" if on_disk == "NFD" else "NFD", name)
    assert _imported(workspace, _manifest(tmp_path, f"path\n{other}\n")).n_added == 1


@pytest.mark.parametrize("name", ["мелодия", "日本語の音声", "نغمة", "हिन्दी", "한국어", "ไทย"])
def test_ids_keep_the_letters_of_every_script(
    name: str, workspace: Workspace, tmp_path: Path
) -> None:
    _tones(tmp_path, f"{name}.wav")
    import_clips(workspace, [SourceClip(path=tmp_path / f"{name}.wav")])
    assert workspace.clips().clip_id[0].startswith(unicodedata.normalize("NFC", name) + "-")


def test_the_command_says_what_was_not_taken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _tones(tmp_path / "in", "a.wav")
    (tmp_path / "in/talk.mkv").write_text("x")
    (tmp_path / "in/notes.pdf").write_text("x")
    code = main(["import", str(tmp_path / "in"), "--workspace", str(tmp_path / "w"), "--json"])
    said = capsys.readouterr()
    assert code == 0
    assert json.loads(said.out)["ignored"] == {".mkv": 1, ".pdf": 1}
    assert "2 files of the folders were not taken: 1 .mkv, 1 .pdf" in said.err


def test_windows_are_set_at_the_first_import_and_others_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tone(tmp_path / "a.wav", 300, 3.0)
    words = ["import", str(tmp_path / "a.wav"), "--workspace", str(tmp_path / "w"), "--json"]
    assert main([*words, "--window-s", "2", "--hop-s", "0.5"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["window_s"], said["hop_s"]) == (2.0, 0.5)
    cuts = Workspace.open(tmp_path / "w").read("SELECT start_s, end_s FROM segments ORDER BY 1")
    assert cuts.values.tolist() == [[0.0, 2.0], [0.5, 2.5], [1.0, 3.0]]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--window-s", "2"]) == 2
    assert "has a vector for each 2 s, every 0.5 s of audio, found 2 s" in capsys.readouterr().err
    assert main([*words, "--window-s", "0"]) == 2
