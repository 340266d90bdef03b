"""Whole runs on a tiny corpus: they learn, repeat, go on and stop as they should."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from tests.training.conftest import FakeTeacher, write_manifest
from usad_workbench.core.errors import Cancelled, CheckpointError, ConfigError, TrainingError
from usad_workbench.core.models.checkpoint import find_checkpoint, load_heads, load_student
from usad_workbench.core.models.encoder import Encoder, LayerFeatures
from usad_workbench.core.models.sizes import SIZES
from usad_workbench.training import read_log, train
from usad_workbench.training.recipe import load_recipe
from usad_workbench.training.release import ship

Write = Callable[..., Path]
Teachers = dict[str, Encoder]


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_log(run)]


def test_a_run_leaves_what_it_promises(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    seen: list[str] = []
    result = train(
        recipe_file(),
        tmp_path / "run",
        teachers=teachers,
        overrides=[f"data.cache={tmp_path / 'own'}"],  # so that it decodes, whoever ran before
        progress=lambda done, total, what: seen.append(what),
    )
    assert result.step == 6 and np.isfinite(result.loss)
    log = read_log(tmp_path / "run")
    assert [row["step"] for row in log] == list(range(1, 7))
    keys = {"loss/tune", "l1/noise", "cosine/noise", "lr", "audio_s", "wall_s"}
    assert keys <= set(log[-1])
    assert any("loss/voice/music" in row for row in log)
    assert any("left" in what for what in seen) and "decoding" in seen
    assert result.checkpoint == str(tmp_path / "run/checkpoints/step-6")
    shipped = load_student(tmp_path / "run/student")
    assert shipped.spec.name == "tiny"
    kinds = {head.spec.teacher: head.spec.kind for head in load_heads(result.checkpoint)}
    assert kinds == {"voice": "ffn", "noise": "block", "tune": "block"}
    provenance = json.loads((tmp_path / "run/run.json").read_text())
    assert [teacher["target"] for teacher in provenance["teachers"]] == ["ffn", "block", "block"]


def test_the_same_seed_gives_the_same_losses(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    for name in ("a", "b"):
        train(recipe_file(), tmp_path / name, teachers=teachers)
    train(recipe_file(), tmp_path / "c", overrides=["run.seed=1"], teachers=teachers)
    assert losses(tmp_path / "a") == losses(tmp_path / "b") != losses(tmp_path / "c")


def test_a_killed_run_goes_on_with_the_losses_that_it_would_have_had(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    train(recipe_file(), tmp_path / "whole", teachers=teachers)

    def stop_at_five(done: int, total: int, what: str) -> None:
        if what.startswith("loss") and done == 5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        train(recipe_file(), tmp_path / "part", progress=stop_at_five, teachers=teachers)
    assert find_checkpoint(tmp_path / "part").name == "step-3"
    train(recipe_file(), tmp_path / "part", resume=True, teachers=teachers)
    assert losses(tmp_path / "part") == losses(tmp_path / "whole")
    of = [load_student(find_checkpoint(tmp_path / n)).student for n in ("whole", "part")]
    for one, other in zip(of[0].parameters(), of[1].parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_run_is_neither_overwritten_nor_mixed_with_another(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    train(recipe_file(n_steps=3), tmp_path / "run", teachers=teachers)
    with pytest.raises(CheckpointError, match="--resume"):
        train(recipe_file(n_steps=3), tmp_path / "run", teachers=teachers)
    with pytest.raises(ConfigError, match=r"objective.omega \(10.0, 2.0\)"):
        train(
            recipe_file(n_steps=3),
            tmp_path / "run",
            resume=True,
            teachers=teachers,
            overrides=["objective.omega=2.0"],
        )


class Shuffled(FakeTeacher):
    """Answers with the frames of an unrelated sound: nothing can be learned but their mean."""

    def _forward(self, samples, n_valid, layers, kind) -> LayerFeatures:  # type: ignore[no-untyped-def]
        seed = int(samples.abs().sum() * 1e3) % 2**31
        noise = torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed))
        time = torch.arange(samples.shape[1]) / 4_000
        return super()._forward(noise * (2 + time.sin()), n_valid, layers, kind)


def test_the_loss_falls_and_not_for_targets_of_other_sounds(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    shuffled = {name: Shuffled(name, 50.0, 12, pads=False) for name in teachers}
    for teacher in shuffled.values():
        teacher.weights_sha256 += "-shuffled"
    recipe = recipe_file(n_steps=60, dropout=0.0)
    overrides = ["run.checkpoint_every=60", "optimiser.warmup_steps=5"]
    train(recipe, tmp_path / "real", overrides=overrides, teachers=teachers)
    train(recipe, tmp_path / "shuffled", overrides=overrides, teachers=shuffled)
    real, control = losses(tmp_path / "real"), losses(tmp_path / "shuffled")
    assert np.mean(real[-5:]) < 0.8 * real[0]
    assert np.mean(real[-5:]) < np.mean(control[-5:]) - 0.1


def test_a_loss_that_is_not_finite_names_the_clips(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    with pytest.raises(TrainingError, match=r"step \d+ is not finite for \w+-\d from"):
        train(
            recipe_file(n_steps=6),
            tmp_path / "run",
            teachers=teachers,
            overrides=["optimiser.peak_lr=1e30", "optimiser.clip_norm=1e30"],
        )


def test_bad_files_are_listed_and_the_rest_is_learned_from(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    rows = []
    for domain in ("speech", "sound", "music"):
        samples = np.random.default_rng(1).standard_normal(16_000).astype(np.float32) * 0.1
        soundfile.write(tmp_path / f"{domain}.wav", samples, 16_000)
        rows.append({"clip_id": domain, "path": f"{domain}.wav", "domain": domain})
    (tmp_path / "broken.wav").write_bytes(b"RIFF no audio at all")
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    for name in ("broken", "silent", "absent"):
        rows.append({"clip_id": name, "path": f"{name}.wav", "domain": "speech"})
    manifest = write_manifest(tmp_path / "manifest.csv", rows)
    train(recipe_file(n_steps=3, manifest=manifest), tmp_path / "run", teachers=teachers)
    provenance = json.loads((tmp_path / "run/run.json").read_text())
    assert [name for name, _ in provenance["failed"]] == ["broken", "silent", "absent"]
    assert provenance["data"]["n_failed"] == 3


def test_a_finished_run_is_passed_on(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    with pytest.raises(CheckpointError, match="not finished"):
        ship(tmp_path / "run", tmp_path / "shipped")
    train(recipe_file(), tmp_path / "run", teachers=teachers)
    written = ship(tmp_path / "run", tmp_path / "shipped", n_rows=3, earlier=[tmp_path / "run"])
    assert {path.name for path in written} == {
        "model.safetensors",
        "config.json",
        "recipe.toml",
        "log.csv",
        "stage-1.recipe.toml",
        "stage-1.log.csv",
    }
    assert sorted(written) == sorted((tmp_path / "shipped").iterdir())
    encoder = load_student(tmp_path / "shipped")
    last = load_student(find_checkpoint(tmp_path / "run"))
    for one, other in zip(encoder.student.parameters(), last.student.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    with (tmp_path / "shipped/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"] and float(rows[0]["loss"]) > 0
    assert load_recipe(tmp_path / "shipped/recipe.toml").name == "tiny"


def test_shipped_recipes_can_be_read() -> None:
    recipe = load_recipe("demo-small")
    assert recipe.student == SIZES["demo"].__class__(
        dim=256, n_layers=8, n_heads=4, frame_rate_hz=25, dropout=recipe.student.dropout
    )
    assert recipe.objective.omega == 10.0 and "effects" not in recipe.data.domains
    with pytest.raises(ConfigError, match=r"Shipped: .*demo-small"):
        load_recipe("demo-smal")
