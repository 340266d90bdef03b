"""A family of students: what its runs are, that a killed one goes on, and what its vectors hold."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.training.conftest import RECIPE
from usad_workbench.core.config import config_to_dict, differing_keys
from usad_workbench.core.errors import Cancelled, ConfigError
from usad_workbench.core.models.checkpoint import load_student
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.sample_data import sample_data_folder
from usad_workbench.training.ablation import family
from usad_workbench.training.ablation.family import (
    MEMBERS_FILE,
    VECTORS_FILE,
    architecture_of,
    load_sample_clips,
    make_family,
    train_family,
    training_of,
    write_family,
)
from usad_workbench.training.evaluation import embed_clips
from usad_workbench.training.recipe import load_recipe

EVALUATION = """
[evaluation]
names = ["digit", "material"]
max_clips = 48
max_clip_s = 1.0
protocols = ["knn"]
"""
ROWS = ("full", "without-voice", "without-noise", "without-tune")


@pytest.fixture
def recipe(recipe_file: Callable[..., Path]) -> Path:
    path = recipe_file(n_steps=4)
    path.write_text(path.read_text() + EVALUATION)
    return path


@pytest.fixture
def few_clips(monkeypatch: pytest.MonkeyPatch) -> family.SampleClips:
    """The first clips of the sample data, in the place of all."""
    chosen = family.load_sample_clips(few_rows := Path(str(sample_data_folder())))
    del few_rows
    few = replace(chosen, names=chosen.names[:40], clips=chosen.clips[:40])
    monkeypatch.setattr(family, "load_sample_clips", lambda: few)
    return few


def test_x(recipe, few_clips, teachers, tmp_path):
    n = train_family(tmp_path / "f", recipe, seeds=2, encoders=teachers)
    assert n == 8
    m = write_family(tmp_path / "f", recipe, seeds=2)
    for a in m: print(a)
    t = pq.read_table(tmp_path / "f" / VECTORS_FILE)
    print(t.schema, t.num_rows, (tmp_path / "f" / VECTORS_FILE).stat().st_size/ t.num_rows/32)
    import duckdb
    print(duckdb.sql(f"select encoder, layer, training_seed, teachers, vector[:3] from '{tmp_path}/f/{VECTORS_FILE}' limit 3"))
