"""What is learned from: manifests, pieces, batches, targets on disk."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from tests.training.conftest import FakeTeacher, write_manifest
from usad_workbench.core.errors import CheckpointError, ConfigError, TrainingError
from usad_workbench.core.models.encoder import Encoder, LayerFeatures
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
    with pytest.raises(ConfigError, match=r"absent\.csv.*Expected a CSV"):
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
        list(range(ITEMS_PER_SHARD)),
        list(range(ITEMS_PER_SHARD, n)),
    ]
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


class Loud(FakeTeacher):
    """Gives values beyond half precision for clips that are louder than most."""

    beyond = 1e5
    limit = 0.055

    def _forward(self, samples, n_valid, layers, kind) -> LayerFeatures:  # type: ignore[no-untyped-def]
        found = super()._forward(samples, n_valid, layers, kind)
        rms = (samples.square().sum(1) / n_valid).sqrt()
        factor = torch.where(rms > self.limit, self.beyond, 1.0)[:, None, None]
        return replace(found, frames=tuple(frames * factor for frames in found.frames))


def loud_pieces(corpus: Corpus) -> list[int]:
    rms = [np.sqrt(np.mean(clip.samples**2)) for clip in corpus.clips(range(len(corpus.pieces)))]
    return [i for i, value in enumerate(rms) if value > Loud.limit]


@pytest.fixture
def loud(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    rms = sorted(
        float(np.sqrt(np.mean(c.samples**2))) for c in corpus.clips(range(len(corpus.pieces)))
    )
    monkeypatch.setattr(Loud, "limit", (rms[-3] + rms[-4]) / 2)
    return loud_pieces(corpus)


@pytest.mark.parametrize("beyond", [1e5, float("inf"), float("nan")])
def test_pieces_beyond_half_precision_are_left_out_and_named(
    corpus: Corpus, tmp_path: Path, loud: list[int], beyond: float, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = Loud("loud", 50.0, 4)
    teacher.beyond = beyond
    online = OnlineTargets(teacher, corpus, [1, 2], "block", max_left_out=3)
    cached = cache_targets(online, tmp_path)
    names = {(corpus.pieces[i].clip_id, corpus.pieces[i].start_s) for i in loud}
    assert len(names) == 3 and online.left_out == cached.left_out == names
    assert all(clip_id in caplog.text for clip_id, _ in names)
    found = cached.features(range(len(corpus.pieces)))
    empty = [i for i, n in enumerate(found.n_valid[0].tolist()) if n == 0]
    assert empty == loud
    assert all(bool(frames.isfinite().all()) for frames in found.frames)
    assert all(bool(v.isfinite().all()) for v in target_statistics(cached, len(corpus.pieces))[1])
    # From the cache, and of pieces that are heard again: known and named once.
    again = cache_targets(OnlineTargets(teacher, corpus, [1, 2], "block", 3), tmp_path)
    assert again.left_out == names
    caplog.clear()
    assert online.features(loud).n_valid[0].tolist() == [0, 0, 0] and not caplog.text
    with pytest.raises(TrainingError, match=r"at most 2 pieces may be left out"):
        cache_targets(OnlineTargets(teacher, corpus, [1, 2], "block", 2), tmp_path)
    with pytest.raises(TrainingError, match=r"loud gives values .* for \w+-\d"):
        OnlineTargets(teacher, corpus, [1, 2], "block", 2).features(loud)


def test_a_teacher_of_no_piece_at_all_ends_the_run(corpus: Corpus, tmp_path: Path) -> None:
    teacher = FakeTeacher("loud", 50.0, 4)
    teacher.mix = teacher.mix * float("nan")
    with pytest.raises(TrainingError, match=f"at most {len(corpus.pieces) - 1} pieces"):
        cache_targets(OnlineTargets(teacher, corpus, [1], "block", 1000), tmp_path)


def _shard(folder: Path) -> Path:
    return min(folder.glob("*.safetensors"))


def _write_without_hash(path: Path) -> None:
    save_file(load_file(path), path)


def test_a_changed_shard_is_named_and_one_of_before_is_made_again(
    corpus: Corpus, tmp_path: Path
) -> None:
    teacher = FakeTeacher("voice", 50.0, 12)
    online = OnlineTargets(teacher, corpus, [1, 2], "block")
    cached = cache_targets(online, tmp_path)
    wanted = cached.features([0, 5])
    path = _shard(cached.shards.folder)
    whole, n_calls = path.read_bytes(), teacher.n_calls
    path.write_bytes(whole[:-64] + bytes(64))
    with pytest.raises(CheckpointError, match=f"{path.name} holds tensors of sha256"):
        cache_targets(online, tmp_path).features([0])
    path.unlink()
    for spoil in (lambda: None, lambda: _write_without_hash(path)):
        spoil()
        found = cache_targets(online, tmp_path).features([0, 5])
        assert all(map(torch.equal, found.frames, wanted.frames))
    assert teacher.n_calls == 3 * n_calls


def test_a_shard_in_the_place_of_another_is_named(tmp_path: Path) -> None:
    shards = Shards(tmp_path, 2 * ITEMS_PER_SHARD)
    for start in (0, ITEMS_PER_SHARD):
        shards.write(start, [{"a": torch.randn(2)} for _ in range(ITEMS_PER_SHARD)])
    first, second = sorted(tmp_path.glob("*.safetensors"))
    second.write_bytes(first.read_bytes())
    assert torch.equal(shards.read(0, ["a"])["a"], shards.read(0, ["a"])["a"])
    with pytest.raises(CheckpointError, match="belongs elsewhere"):
        shards.read(ITEMS_PER_SHARD, ["a"])
    with pytest.raises(CheckpointError, match="has no b of item 0"):
        shards.read(0, ["b"])


@pytest.mark.parametrize("spoil", ["shard away", "old shard", "list cut", "list of something else"])
def test_decoded_audio_that_is_damaged_is_decoded_again(
    recipe: DataRecipe, tmp_path: Path, spoil: str
) -> None:
    corpus = load_corpus(recipe, tmp_path)
    wanted, folder = corpus.clips(range(4)), tmp_path / corpus.key
    if spoil == "shard away":
        _shard(folder).unlink()
    elif spoil == "old shard":
        _write_without_hash(_shard(folder))
    else:
        (folder / "pieces.json").write_text('{"pieces": [' if spoil == "list cut" else "[1]")
    again = load_corpus(recipe, tmp_path)
    assert again.pieces == corpus.pieces
    for one, other in zip(again.clips(range(4)), wanted, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)


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
