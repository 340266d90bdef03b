"""What is learned from: manifests, pieces, batches, targets on disk."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.training.conftest import FakeTeacher, write_manifest
from usad_workbench.core.errors import CheckpointError, ConfigError, TrainingError
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.training.data import Corpus, load_corpus
from usad_workbench.training.recipe import DataRecipe, SourceRecipe
from usad_workbench.training.shards import ITEMS_PER_SHARD, Shards
from usad_workbench.training.sources import read_manifest
from usad_workbench.training.targets import (
    CachedTargets,
    OnlineTargets,
    cache_targets,
    target_statistics,
)


@pytest.fixture
def recipe(manifest: Path) -> DataRecipe:
    return DataRecipe(
        sources=(SourceRecipe(path=str(manifest)),), max_clip_s=1.0, min_clip_s=0.3, batch_s=4.0
    )


@pytest.fixture
def corpus(recipe: DataRecipe, cache: Path) -> Corpus:
    return load_corpus(recipe, cache)


def test_long_recordings_are_cut(corpus: Corpus) -> None:
    pieces = [piece for piece in corpus.pieces if piece.clip_id == "speech-0"]
    assert [(p.start_s, p.duration_s) for p in pieces] == [(0.0, 1.0), (1.0, 1.0), (2.0, 0.5)]
    assert all(0.3 <= piece.duration_s <= 1.0 for piece in corpus.pieces)
    for piece, clip in zip(corpus.pieces, corpus.clips(range(len(corpus.pieces))), strict=True):
        assert len(clip.samples) == piece.n_samples and clip.samples.dtype == np.float32


def test_pieces_hold_what_the_file_holds(corpus: Corpus, manifest: Path) -> None:
    at = next(i for i, p in enumerate(corpus.pieces) if p.clip_id == "music-0" and p.start_s == 1.0)
    whole, _ = soundfile.read(manifest.parent / "music-0.wav", dtype="float32")
    np.testing.assert_array_equal(corpus.clips([at])[0].samples, whole[16_000:32_000])


def test_only_the_named_domains_are_learned_from(recipe: DataRecipe, cache: Path) -> None:
    assert set(load_corpus(replace(recipe, domains=("music",)), cache).seconds()) == {"music"}
    with pytest.raises(ConfigError, match="no usable clip of domain effects"):
        load_corpus(replace(recipe, domains=("music", "effects")), cache)


def test_other_domains_need_to_be_asked_for(
    tmp_path: Path, manifest: Path, recipe: DataRecipe
) -> None:
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["path"] = str(manifest.parent / row["path"])
    rows[1]["domain"] = "effects"
    other = str(write_manifest(tmp_path / "other.csv", rows))
    corpus = load_corpus(replace(recipe, sources=(SourceRecipe(path=other),)), tmp_path)
    assert rows[1]["clip_id"] not in {piece.clip_id for piece in corpus.pieces}


def test_excluded_recordings_are_found_by_their_content(
    tmp_path: Path, manifest: Path, recipe: DataRecipe
) -> None:
    copy = tmp_path / "renamed.wav"
    copy.write_bytes((manifest.parent / "speech-2.wav").read_bytes())
    rows = [{"clip_id": "test", "path": "renamed.wav", "domain": "speech"}]
    held_out = str(write_manifest(tmp_path / "held.csv", rows))
    corpus = load_corpus(replace(recipe, exclude=(held_out,)), tmp_path)
    names = {piece.clip_id for piece in corpus.pieces}
    assert "speech-2" not in names and "speech-1" in names


def test_manifests_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_manifest(tmp_path / "absent.csv")
    path = tmp_path / "m.csv"
    path.write_text("clip_id,file,domain\na,b,c\n")
    with pytest.raises(ConfigError, match="no column path"):
        read_manifest(path)
    path.write_text("clip_id,path,domain\na,b,c\na,d,c\n")
    with pytest.raises(ConfigError, match="clip_id a occurs twice"):
        read_manifest(path)


def test_shards_keep_what_was_written(tmp_path: Path) -> None:
    n = ITEMS_PER_SHARD + 5
    items = [{"a": torch.randn(i % 3 + 1, 2), "b": torch.arange(i)} for i in range(n)]
    shards = Shards(tmp_path, n)
    assert [list(part) for part in shards.missing()] == [
        list(range(ITEMS_PER_SHARD)), list(range(ITEMS_PER_SHARD, n))
    ]  # fmt: skip
    shards.write(ITEMS_PER_SHARD, items[ITEMS_PER_SHARD:])
    assert [part.start for part in shards.missing()] == [0]
    shards.write(0, items[:ITEMS_PER_SHARD])
    for i in (0, 7, ITEMS_PER_SHARD - 1, ITEMS_PER_SHARD, n - 1):
        read = shards.read(i, ["b", "a"])
        assert torch.equal(read["a"], items[i]["a"]) and torch.equal(read["b"], items[i]["b"])
    (tmp_path / "00000000.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="Delete it"):
        Shards(tmp_path, n).read(0, ["a"])


@pytest.mark.parametrize("name", ["voice", "noise", "tune"])
def test_cached_targets_equal_online_ones(
    name: str, teachers: dict[str, Encoder], corpus: Corpus, tmp_path: Path
) -> None:
    online = OnlineTargets(teachers[name], corpus, [1, 2, 4], "block")
    cached = cache_targets(online, tmp_path)
    for pieces in ([3], [5, 0, 11, 2]):
        one, other = online.features(pieces), cached.features(pieces)
        assert one.layers == other.layers and one.frame_rates_hz == other.frame_rates_hz
        for a, b in zip((*one.frames, *one.n_valid), (*other.frames, *other.n_valid), strict=True):
            torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_targets_are_computed_once_and_never_for_others(corpus: Corpus, tmp_path: Path) -> None:
    teacher = FakeTeacher("voice", 50.0, 12, has_ffn=True)
    cache_targets(OnlineTargets(teacher, corpus, [1, 2], "block"), tmp_path)
    n_calls = teacher.n_calls
    cache_targets(OnlineTargets(teacher, corpus, [1, 2], "block"), tmp_path)
    assert teacher.n_calls == n_calls
    cache_targets(OnlineTargets(teacher, corpus, [1, 2], "ffn"), tmp_path)
    assert teacher.n_calls == 2 * n_calls
    teacher.weights_sha256 = "other weights"
    cache_targets(OnlineTargets(teacher, corpus, [1, 2], "ffn"), tmp_path)
    assert teacher.n_calls == 3 * n_calls
    assert len(list(tmp_path.glob("targets-*"))) == 3


def test_targets_that_half_precision_cannot_hold_name_the_clip(
    corpus: Corpus, tmp_path: Path
) -> None:
    teacher = FakeTeacher("loud", 50.0, 4)
    teacher.mix = teacher.mix * float("nan")
    with pytest.raises(TrainingError, match=r"loud gives values .* for \w+-\d"):
        cache_targets(OnlineTargets(teacher, corpus, [1], "block"), tmp_path)


def test_statistics_are_those_of_all_valid_frames(
    teachers: dict[str, Encoder], corpus: Corpus, tmp_path: Path
) -> None:
    cached: CachedTargets = cache_targets(
        OnlineTargets(teachers["tune"], corpus, [2, 4], "block"), tmp_path
    )
    statistics = target_statistics(cached, len(corpus.pieces))
    names = {"2": 2, "4": 4}
    for name, layer in names.items():
        frames = torch.cat(
            [cached.shards.read(i, [name])[name] for i in range(len(corpus.pieces))]
        ).double()
        mean, std = statistics[layer]
        torch.testing.assert_close(mean.double(), frames.mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(std.double(), frames.std(0, correction=0), atol=1e-5, rtol=1e-3)
