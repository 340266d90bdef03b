"""Recipes that name the papers' five teachers run with them, wherever their weights are.

The teachers are small and random, in the folders and files in which the real ones come.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.core.encoders.hub_folders import SAMPLES, save
from tests.core.encoders.teacher_files import SMALL_ATST, atst_checkpoint, small_atst, write_muq
from usad_workbench.core.encoders import builtin
from usad_workbench.core.encoders.hub.table import HUB
from usad_workbench.core.encoders.networks import atst
from usad_workbench.core.encoders.registry import get_weights, load_encoder
from usad_workbench.core.encoders.row import HubSource
from usad_workbench.core.encoders.weights import CACHE_VARIABLE
from usad_workbench.core.models.checkpoint import load_heads
from usad_workbench.training import read_log, train
from usad_workbench.training.recipe import load_recipe

Write = Callable[..., Path]
STAGE_1 = {"wavlm-large": "speech", "atst-frame": "sound", "muq-large-msd-iter": "music"}
STAGE_2 = {"whisper-large-v3": "speech", "af-whisper": "all"}
FOLDERS = {"wavlm-large": "wavlm-large", "whisper-large-v3": "whisper", "af-whisper": "af-whisper"}
"""In the samples of ``hub_folders``."""


def snapshot(hub: Path, name: str) -> Path:
    """An empty folder where the hub's client puts a repository."""
    source = HUB[name].source
    assert isinstance(source, HubSource)
    root = hub / f"models--{source.repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    folder = root / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All five teachers are on this machine, and smaller than the table says."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    for name, sample in FOLDERS.items():
        save(SAMPLES[sample], snapshot(tmp_path / "hub", name))
    write_muq(snapshot(tmp_path / "hub", "muq-large-msd-iter"))
    for name, (n_layers, dim) in dict.fromkeys(FOLDERS, (2, 32)).items() | {
        ("muq-large-msd-iter", (3, 32))
    }:
        monkeypatch.setitem(HUB, name, smaller(HUB[name], n_layers, dim))
    monkeypatch.setattr(atst, "AtstConfig", lambda: SMALL_ATST)
    row = smaller(builtin.BUILTIN["atst-frame"], SMALL_ATST.n_layers, SMALL_ATST.dim)
    monkeypatch.setitem(builtin.BUILTIN, "atst-frame", row)
    torch.save(atst_checkpoint(small_atst().state_dict()), tmp_path / "atstframe_base.ckpt")
    get_weights("atst-frame", from_file=tmp_path / "atstframe_base.ckpt")


def smaller(row: builtin.EncoderRow, n_layers: int, dim: int) -> builtin.EncoderRow:
    rates = (row.spec.frame_rates_hz[0],) * (n_layers + 1)
    spec = replace(row.spec, n_layers=n_layers, dims=(dim,) * (n_layers + 1), frame_rates_hz=rates)
    return replace(row, spec=spec)


def listed(teachers: dict[str, str], target: str) -> str:
    rows = [f'{{name="{n}", domain="{d}", target="{target}"}}' for n, d in teachers.items()]
    return f"teachers=[{', '.join(rows)}]"


@pytest.mark.parametrize("recipe", ["large", "plus-large"])
def test_the_recipes_name_them(recipe: str) -> None:
    expected = STAGE_2 if recipe == "plus-large" else STAGE_1
    assert {t.name: t.domain for t in load_recipe(recipe).teachers} == expected


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize(
    ("teachers", "target", "n_layers", "stage"),
    [(STAGE_1, "ffn", 2, 1), (STAGE_2, "ffn", 1, 2), (STAGE_2, "output", 1, 2)],
)
def test_a_run_learns_from_them(
    tmp_path: Path,
    recipe_file: Write,
    teachers: dict[str, str],
    target: str,
    n_layers: int,
    stage: int,
) -> None:
    overrides = [
        listed(teachers, target),
        f"stage={stage}",
        f"objective.n_layers={n_layers}",
        f"data.cache={tmp_path / 'targets'}",
    ]
    result = train(recipe_file(n_steps=3), tmp_path / "run", overrides=overrides)
    assert result.step == 3 and np.isfinite(result.loss)
    heads = load_heads(result.checkpoint)
    assert {head.spec.kind for head in heads} == {target}
    assert {head.spec.teacher for head in heads} == set(teachers)
    last = read_log(tmp_path / "run")[-1]
    assert all(np.isfinite(last[f"loss/{name}"]) for name in teachers)
    rows = json.loads((tmp_path / "run" / "run.json").read_text())["teachers"]
    for row in rows:
        assert row["weights_sha256"] == load_encoder(row["teacher"]).weights_sha256
