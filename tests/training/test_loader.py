"""Batches in the background: the same ones, with what the student hears and its targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import FakeTeacher, write_corpus
from usad_workbench.core.errors import CheckpointError, ConfigError
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.training.augment import Augmentation, mix
from usad_workbench.training.data import load_corpus
from usad_workbench.training.distributed import World
from usad_workbench.training.loader import Batch, Loader
from usad_workbench.training.recipe import (
    DataRecipe,
    OptimiserRecipe,
    Recipe,
    SourceRecipe,
    TeacherRecipe,
)
from usad_workbench.training.targets import OnlineTargets, TargetSource, cache_targets

N_STEPS = 14


@pytest.fixture
def recipe(manifest: Path) -> Recipe:
    return Recipe(
        name="tiny",
        student=StudentConfig(dim=32, n_layers=4, n_heads=2),
        teachers=(TeacherRecipe(name="voice", domain="speech"),),
        data=DataRecipe(
            sources=(SourceRecipe(path=str(manifest)),), max_clip_s=1.0, min_clip_s=0.3, batch_s=4.0
        ),
        optimiser=OptimiserRecipe(peak_lr=1e-3, n_steps=N_STEPS, warmup_steps=1),
    )


def make(recipe: Recipe, cache: Path, *, rank: int = 0, n: int = 1, **data: object) -> Loader:
    recipe = replace(recipe, data=replace(recipe.data, **data))
    corpus = load_corpus(recipe.data, cache)
    online = OnlineTargets(FakeTeacher("voice", 50.0, 6), corpus, [1, 2], "block")
    is_online = recipe.data.targets == "online"
    source: TargetSource = online if is_online else cache_targets(online, cache)
    return Loader(recipe, corpus, {"voice": source}, World(rank=rank, size=n))


def same(one: Batch, other: Batch) -> bool:
    pairs = zip(one.parts, other.parts, strict=True)
    return one.pieces == other.pieces and all(
        a.pieces == b.pieces
        and torch.equal(a.samples, b.samples)
        and all(map(torch.equal, a.targets["voice"].frames, b.targets["voice"].frames))
        for a, b in pairs
    )


ONLINE = {"targets": "online"}
DECODED = {"targets": "online", "audio": "decoded"}
HEARD = {"gain_db": 6.0, "mix_probability": 0.5}


@pytest.mark.parametrize("data", [{}, HEARD, DECODED], ids=["cached", "heard", "decoded"])
def test_any_number_of_loaders_gives_the_same_batches(
    recipe: Recipe, cache: Path, data: dict[str, object]
) -> None:
    alone = make(recipe, cache, **data)
    batches = [alone.read(step) for step in range(N_STEPS)]
    for n_loaders in (1, 2):
        ahead = make(recipe, cache, n_loaders=n_loaders, **data)
        assert all(same(ahead.read(step), batches[step]) for step in range(N_STEPS))
    resumed = make(recipe, cache, **data)
    for step in (9, 10, 3):
        assert same(resumed.read(step), batches[step])


def test_the_objective_cannot_tell_where_targets_and_audio_come_from(
    recipe: Recipe, cache: Path
) -> None:
    cached, online, decoded = (make(recipe, cache, **data) for data in ({}, ONLINE, DECODED))
    for step in range(6):
        batch = cached.read(step)
        assert same(batch, online.read(step)) and same(batch, decoded.read(step))
        features = batch.parts[0].targets["voice"]
        assert features.frames[0].dtype == torch.float16
        on_device = batch.parts[0].to(torch.device("cpu")).targets["voice"]
        assert torch.equal(on_device.frames[0], features.frames[0].float())


def test_targets_stay_those_of_the_clip_itself(recipe: Recipe, cache: Path) -> None:
    plain = make(recipe, cache, **ONLINE)
    for data in (ONLINE, {}):
        heard = make(recipe, cache, **HEARD, **data)
        for step in range(4):
            one, other = plain.read(step).parts[0], heard.read(step).parts[0]
            assert not torch.equal(one.samples, other.samples)
            for a, b in zip(
                one.targets["voice"].frames, other.targets["voice"].frames, strict=True
            ):
                assert torch.equal(a, b)


def test_what_is_heard_does_not_depend_on_the_number_of_processes(
    recipe: Recipe, cache: Path
) -> None:
    whole = make(recipe, cache, **HEARD)
    halves = [make(recipe, cache, rank=rank, n=2, **HEARD) for rank in range(2)]
    for step in range(4):
        (part,) = whole.read(step).parts
        expected = dict(zip(part.pieces, part.samples, strict=True))
        for half in halves:
            (of_half,) = half.read(step).parts
            for piece, row, n in zip(of_half.pieces, of_half.samples, of_half.n_valid, strict=True):
                assert torch.equal(row[:n], expected[piece][:n])


def test_files_that_break_later_are_left_out_and_counted(recipe: Recipe, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path)
    source = {"sources": (SourceRecipe(path=str(manifest)),)}
    whole = [make(recipe, tmp_path, **DECODED, **source).read(step) for step in range(N_STEPS)]
    broken = make(recipe, tmp_path, **DECODED, **source, n_loaders=2)
    size = (tmp_path / "music-3.wav").stat().st_size
    (tmp_path / "music-3.wav").write_bytes(b"\0" * size)
    lost = 0
    for step, expected in enumerate(whole):
        (part,), (full,) = broken.read(step).parts, expected.parts
        names = [name for name, _ in part.failed]
        gone = [i for i in full.pieces if broken.reader.corpus.pieces[i].clip_id == "music-3"]
        assert names == ["music-3"] * len(gone)
        assert part.pieces == tuple(i for i in full.pieces if i not in gone) or not part.counts
        lost += len(gone)
    assert lost > 0


def test_an_unreadable_batch_goes_through_without_counting(recipe: Recipe, tmp_path: Path) -> None:
    write_corpus(tmp_path, n_per_domain=1)
    source = {"sources": (SourceRecipe(path=str(tmp_path / "manifest.csv")),)}
    loader = make(recipe, tmp_path, **DECODED, **source)
    for file in tmp_path.glob("*.wav"):
        file.write_bytes(b"nothing")
    (part,) = loader.read(0).parts
    assert not part.counts and len(part.pieces) == 1 and part.failed
    assert part.samples.isfinite().all() and part.targets["voice"].frames[0].isfinite().all()


def test_a_damaged_cache_is_the_error_it_is(recipe: Recipe, tmp_path: Path) -> None:
    loader = make(recipe, tmp_path, n_loaders=1)
    for file in tmp_path.glob("targets-*/*.safetensors"):
        file.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="Delete it") as caught:
        loader.read(0)
    assert "Traceback" not in str(caught.value)


def test_decoded_audio_needs_online_targets(recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match=r"Set data.targets = 'online'"):
        replace(recipe.data, audio="decoded")


def test_a_mix_is_the_clip_and_a_stretch_of_another_at_the_asked_ratio() -> None:
    rng = np.random.default_rng(0)
    clip = rng.standard_normal(4_000).astype(np.float32) * 0.1
    other = rng.standard_normal(3_000).astype(np.float32) * 0.5
    for snr_db in (0.0, 10.0):
        mixed = mix(clip, other, snr_db, np.random.default_rng(3))
        added = mixed.astype(np.float64) - clip
        where = np.flatnonzero(added)
        n = where[-1] - where[0] + 1
        stretch = added[where[0] : where[-1] + 1]
        assert n <= 2_000
        ratio = np.mean(clip.astype(np.float64) ** 2) / np.mean(stretch**2)
        assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.01)
        matches = np.lib.stride_tricks.sliding_window_view(other, n) @ stretch
        best = other[matches.argmax() : matches.argmax() + n]
        assert np.corrcoef(best, stretch)[0, 1] > 0.9999


def test_gain_is_uniform_in_decibels(recipe: Recipe) -> None:
    augmentation = Augmentation(replace(recipe.data, gain_db=6.0), seed=0)
    clip = np.full(8, 0.5, np.float32)
    heard = [augmentation.apply(clip, step, 0, [0], lambda _: None) for step in range(400)]
    gains_db = 20 * np.log10([samples[0] / 0.5 for samples in heard])
    assert np.abs(gains_db).max() <= 6.0 and clip[0] == 0.5
    assert np.histogram(gains_db, 4, (-6, 6))[0].min() > 70
    soundless = Augmentation(recipe.data, seed=0)
    assert not soundless.is_on
