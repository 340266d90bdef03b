"""Manifests and folders side by side."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.training.conftest import write_corpus, write_manifest
from usad_workbench.core.errors import ConfigError
from usad_workbench.training.data import load_corpus
from usad_workbench.training.recipe import DataRecipe, SourceRecipe
from usad_workbench.training.sources import find_recordings, read_manifest


def recipe(*sources: SourceRecipe, **others: object) -> DataRecipe:
    limits = DataRecipe(sources=sources, max_clip_s=1.0, min_clip_s=0.3, batch_s=4.0)
    return replace(limits, **others)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "extra"
    (made / "deep").mkdir(parents=True)
    write_corpus(made / "deep", n_per_domain=1)
    return made


def test_a_folder_beside_a_manifest(manifest: Path, folder: Path, tmp_path: Path) -> None:
    both = recipe(SourceRecipe(path=str(manifest)), SourceRecipe(path=str(folder), domain="music"))
    rows = {row.clip_id: row for row in find_recordings(both)}
    assert len(rows) == 21 and rows["extra/deep/speech-0.wav"].domain == "music"
    corpus = load_corpus(both, tmp_path / "cache")
    assert set(corpus.sources) == {0, 1}
    for piece, source in zip(corpus.pieces, corpus.sources, strict=True):
        assert rows[piece.clip_id].source == source


def test_a_domain_fills_and_chooses(tmp_path: Path) -> None:
    names = {"a": "speech", "b": "", "c": "music"}
    path = write_manifest(
        tmp_path / "m.csv", [{"clip_id": n, "path": n, "domain": d} for n, d in names.items()]
    )
    assert [row.clip_id for row in read_manifest(path, "speech")] == ["a", "b"]
    assert {row.domain for row in read_manifest(path, "speech")} == {"speech"}
    path.write_text("clip_id,path\na,b\n")
    assert read_manifest(path, "music")[0].domain == "music"
    with pytest.raises(ConfigError, match="no column domain"):
        read_manifest(path)


def test_one_manifest_may_be_named_once_per_domain(manifest: Path) -> None:
    domains = ("speech", "sound", "music")
    sources = [
        SourceRecipe(path=str(manifest), domain=d, share=i + 1.0) for i, d in enumerate(domains)
    ]
    rows = find_recordings(recipe(*sources))
    assert Counter(row.source for row in rows) == {0: 6, 1: 6, 2: 6}


def test_sources_that_cannot_be_used(manifest: Path, folder: Path, tmp_path: Path) -> None:
    one = SourceRecipe(path=str(manifest))
    with pytest.raises(ConfigError, match="clip_id speech-0 occurs twice"):
        find_recordings(recipe(one, one))
    with pytest.raises(ConfigError, match="needs a domain"):
        find_recordings(recipe(SourceRecipe(path=str(folder))))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="without audio files"):
        find_recordings(recipe(SourceRecipe(path=str(tmp_path / "empty"), domain="music")))
    with pytest.raises(ConfigError, match="positive share for each or for none"):
        recipe(one, replace(one, share=1.0))


BAD_ROWS = {
    "x1": ("no path", "has no path"),
    "x2,,speech": ("an empty path", "has no path"),
    ",a.wav,speech": ("no clip_id", "has no clip_id"),
    "x3,a.wav,": ("no domain", "has no domain"),
    "x4,a.wav,speech,dog": ("a comma that is not quoted", "cells beyond its header"),
    "x5,a\0b.wav,speech": ("a NUL", ""),
    f"x6,{'n' * 300}.wav,speech": ("a name too long", ""),
    "x7,absent.wav,speech": ("no such file", ""),
    "x8,.,speech": ("a folder", ""),
}


def test_rows_that_cannot_be_used_are_named_and_the_rest_is_learned_from(
    manifest: Path, tmp_path: Path
) -> None:
    lines = manifest.read_text().splitlines()
    good = [line.replace(",", f",{manifest.parent}/", 1) for line in lines[1:]]
    path = tmp_path / "m.csv"
    # With the mark that spreadsheets put in front.
    path.write_text("\n".join([lines[0], *BAD_ROWS, *good]), encoding="utf-8-sig")
    corpus = load_corpus(recipe(SourceRecipe(path=str(path))), tmp_path / "cache")
    assert {piece.clip_id for piece in corpus.pieces} == {line.split(",")[0] for line in good}
    failed = dict(corpus.failed)
    assert len(failed) == len(corpus.failed) == len(BAD_ROWS)
    for row, (what, words) in BAD_ROWS.items():
        name = row.split(",")[0] or f"m.csv, row {1 + list(BAD_ROWS).index(row)}"
        assert failed[name] and words in failed[name], what
    again = load_corpus(recipe(SourceRecipe(path=str(path))), tmp_path / "cache")
    assert again.failed == corpus.failed and again.key == corpus.key


def test_files_that_cannot_be_used_are_named_and_the_rest_is_learned_from(
    folder: Path, tmp_path: Path
) -> None:
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    (folder / "text.wav").write_text("no audio")
    (folder / "again").symlink_to(folder)
    (folder / "._loop.wav").write_bytes(bytes(4096))  # what macOS leaves on foreign disks
    bad = os.fsencode(folder) + b"/caf\xe9.wav"
    Path(os.fsdecode(bad)).write_bytes((folder / "deep" / "music-0.wav").read_bytes())
    source = SourceRecipe(path=str(folder), domain="music")
    corpus = load_corpus(recipe(source, domains=("music",)), tmp_path / "cache")
    assert {p.clip_id for p in corpus.pieces} == {
        f"extra/deep/{domain}-0.wav" for domain in ("speech", "sound", "music")
    }
    assert dict(corpus.failed).keys() == {
        "extra/loop.wav",
        "extra/text.wav",
        "extra/caf\\udce9.wav",
    }


def test_an_excluded_recording_that_cannot_be_read_is_said(
    manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [
        {"clip_id": "gone", "path": "gone.wav", "domain": "speech"},
        {"clip_id": "held", "path": str(manifest.parent / "speech-2.wav"), "domain": "speech"},
    ]
    held = str(write_manifest(tmp_path / "held.csv", rows))
    wanted = recipe(SourceRecipe(path=str(manifest)), exclude=(held,))
    found = {row.clip_id for row in find_recordings(wanted)}
    assert "speech-2" not in found and len(found) == 17
    assert "1 of 2 recordings of data.exclude" in caplog.text and "gone" in caplog.text


def test_the_key_of_a_corpus_is_that_of_its_rows(tmp_path: Path) -> None:
    samples = np.sin(np.arange(16_000) / 20).astype(np.float32) * 0.1
    soundfile.write(tmp_path / "tone.wav", samples, 16_000)
    row = {"clip_id": "tone", "path": "tone.wav", "domain": "music"}
    source = SourceRecipe(path=str(write_manifest(tmp_path / "m.csv", [row])))
    wanted = recipe(source, domains=("music",))
    key = load_corpus(wanted, tmp_path / "a").key
    filled = recipe(replace(source, domain="music", share=2.0), domains=("music",))
    assert load_corpus(filled, tmp_path / "b").key == key
    assert load_corpus(replace(wanted, cut="random"), tmp_path / "c").key != key
    assert load_corpus(replace(wanted, max_clip_s=0.5), tmp_path / "d").key != key


def test_random_cuts_are_one_piece_from_anywhere(manifest: Path, tmp_path: Path) -> None:
    wanted = recipe(SourceRecipe(path=str(manifest)), cut="random")
    corpus, again = load_corpus(wanted, tmp_path / "a"), load_corpus(wanted, tmp_path / "b")
    assert corpus.pieces == again.pieces
    assert max(Counter(piece.clip_id for piece in corpus.pieces).values()) == 1
    at = next(i for i, p in enumerate(corpus.pieces) if p.clip_id == "music-0")
    whole, _ = soundfile.read(manifest.parent / "music-0.wav", dtype="float32")
    start = round(corpus.pieces[at].start_s * 16_000)
    assert 0 < start <= 24_000
    np.testing.assert_array_equal(corpus.clip(at).samples, whole[start : start + 16_000])
