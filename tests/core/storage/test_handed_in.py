"""Files from a browser: kept under safe names, twice under two, and imported from there."""

from pathlib import Path

import numpy as np
import soundfile

from usad_workbench.core.storage.handed_in import HANDED_IN, keep_files, relative_path
from usad_workbench.core.storage.importing import import_clips
from usad_workbench.core.storage.saved_queries import save_query, saved_queries
from usad_workbench.core.storage.sources import labelled_by_folder
from usad_workbench.core.storage.workspace import Workspace


def test_no_name_leads_out_of_the_folder() -> None:
    for name in ("../../x.wav", "/etc/x.wav", "..\\..\\x.wav", "a/../../x.wav", "...", ""):
        path = relative_path(name)
        assert not path.is_absolute() and ".." not in path.parts and path.name


def test_a_folder_with_a_broken_file_is_imported_and_the_file_named(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * rng.normal(size=8000), 16000)
    good = (tmp_path / "a.wav").read_bytes()
    files = [("pets/dog/a.wav", good), ("pets/cat/b.wav", good[:30]), ("pets/cat/c.wav", good)]
    clips = labelled_by_folder(keep_files(workspace, files))
    report = import_clips(workspace, clips, domain="sound")
    assert (report.n_added, len(report.failed)) == (2, 1)
    assert report.failed[0].path.endswith("pets/cat/b.wav")
    labels = workspace.read("SELECT label, path FROM clips ORDER BY label")
    assert labels["label"].tolist() == ["cat", "dog"]
    assert labels["path"][0] == f"{HANDED_IN}/pets/cat/c.wav"
    again = import_clips(workspace, keep_files(workspace, files[:1]), domain="sound")
    assert (again.n_added, again.n_skipped) == (0, 1)
    other = keep_files(workspace, [("pets/dog/a.wav", b"other")])[0].path
    assert other.read_bytes() == b"other" and other.name.startswith("a-")


def test_queries_are_kept_by_name(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    assert saved_queries(workspace) == {}
    save_query(workspace, "  my  query ", "SELECT 1")
    save_query(workspace, "another", "SELECT 2")
    assert list(saved_queries(workspace).items()) == [
        ("another", "SELECT 2"),
        ("my query", "SELECT 1"),
    ]
    save_query(workspace, "another", " ")
    assert list(saved_queries(workspace)) == ["my query"]
    (workspace.folder / "queries.json").write_text("[")
    assert saved_queries(workspace) == {}
