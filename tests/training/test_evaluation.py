"""Probes during training: what they read, on which clips, and that they leave no trace."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import FakeTeacher
from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.student import StudentEncoder, build_student
from usad_workbench.core.probes import evaluate_probe
from usad_workbench.core.tasks import MEAN_OF_TASKS, MEAN_WITH_INTERVAL, Task
from usad_workbench.training.evaluation import (
    Evaluation,
    embed_clips,
    evaluate_student,
    load_evaluation,
    log_row,
    thin_task,
)
from usad_workbench.training.recipe import EvaluationRecipe

SMALL = StudentConfig(
    dim=32, n_layers=2, n_heads=2, pos_groups=4, pos_width=15, conv_channels=8, dropout=0.1
)


def bursts(n_clips: int = 48) -> dict[str, Clip]:
    """Clips whose pitch is a function of their number modulo 3; loudness is not."""
    rng = np.random.default_rng(0)
    clips = {}
    for i in range(n_clips):
        n = int(rng.uniform(0.4, 0.7) * 16_000)
        time = np.arange(n) / 16_000
        tone = np.sin(2 * np.pi * (500, 2500, 6500)[i % 3] * time) * rng.uniform(0.05, 0.5)
        noise = 0.01 * rng.standard_normal(n)
        clips[f"c{i}"] = Clip(samples=(tone + noise).astype(np.float32), sample_rate_hz=16_000)
    return clips


def make(name: str, labels: list[str], clusters: list[str]) -> Task:
    ids = [f"c{i}" for i in range(len(labels))]
    groups = np.array(clusters, dtype=object)
    return Task(
        name=name, metric="accuracy", clip_ids=ids, labels=np.array(labels, dtype=object),
        groups=groups, units=groups,
    )  # fmt: skip


@pytest.fixture
def tasks() -> list[Task]:
    clusters = [f"k{i // 4}" for i in range(48)]
    coin = np.random.default_rng(1).integers(0, 3, 48)
    return [
        make("pitch", [str(i % 3) for i in range(48)], clusters),
        make("coin", [str(c) for c in coin], clusters),
    ]


@pytest.mark.parametrize("protocol", ["knn", "linear"])
def test_what_can_be_heard_is_read_and_a_coin_is_not(tasks: list[Task], protocol: str) -> None:
    encoder = FakeTeacher("bands", 50.0, 12, pads=True)
    found = {v.task: v for v in evaluate_student(encoder, bursts(), tasks, protocols=(protocol,))}  # type: ignore[arg-type]
    assert found["pitch"].value > 0.95 and found["pitch"].n_test == 48
    assert found["pitch"].n_clusters == 12
    assert found["coin"].ci_low < found["coin"].chance < found["coin"].ci_high
    mean = (found["pitch"].value + found["coin"].value) / 2
    assert found[MEAN_OF_TASKS].value == pytest.approx(mean) and found[MEAN_OF_TASKS].n_test == 96


def test_the_value_is_the_one_of_usad_evaluate_on_the_same_vectors(tasks: list[Task]) -> None:
    """Vectors clip by clip and the probe of ``usad evaluate`` give the same number."""
    clips = bursts()
    encoder = StudentEncoder(build_student(SMALL, 3), name="s", weights_sha256="none")
    alone = np.stack([encoder.embed(clip, -1)[0] for clip in clips.values()])
    (together,) = embed_clips(encoder, list(clips.values()), (-1,))
    np.testing.assert_allclose(together, alone, atol=2e-5)
    (found,) = evaluate_student(encoder, clips, tasks[1:], protocols=("knn",))
    expected = evaluate_probe(
        alone, tasks[1].labels.tolist(), tasks[1].groups.tolist(), protocol="knn", seeds=(0,)
    )
    assert found.value == pytest.approx(expected.value)


def test_the_clips_of_a_task_are_taken_in_turn_from_each_cluster() -> None:
    task = make("t", ["a", "b"] * 30, ["big"] * 50 + [f"small{i}" for i in range(10)])
    thin = thin_task(task, 20)
    assert list(thin.units).count("big") == 10 and len(set(thin.units)) == 11
    # In its cluster, a clip comes by the hash of its name alone.
    ranked = sorted(task.clip_ids[:50], key=lambda name: hashlib.sha256(name.encode()).digest())
    assert set(thin.clip_ids[:10]) == set(ranked[:10])
    shuffled = task.take(np.random.default_rng(0).permutation(60))
    assert set(thin_task(shuffled, 20).clip_ids) == set(thin.clip_ids)
    assert thin_task(task, 60) is task


def test_an_evaluation_leaves_no_trace_in_weights_mode_or_random_state(tasks: list[Task]) -> None:
    student = build_student(SMALL, 0).train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    states = (torch.random.get_rng_state(), random.getstate(), str(np.random.get_state()))
    recipe = EvaluationRecipe(every=1, layers=(1, -1), protocols=("knn",))
    evaluation = Evaluation(recipe=recipe, tasks=tuple(tasks), clips=bursts())
    row = evaluation.of_weights(student.config, student.state_dict(), torch.device("cpu"))
    assert row["probe/knn/pitch"] == 1.0 and row["probe/knn/pitch/n"] == 48
    assert student.training and all(p.requires_grad for p in student.parameters())
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
    assert torch.equal(states[0], torch.random.get_rng_state())
    assert states[1:] == (random.getstate(), str(np.random.get_state()))


def test_an_interval_is_logged_where_there_is_one(tasks: list[Task]) -> None:
    encoder = FakeTeacher("bands", 50.0, 12, pads=True)
    few = make("few", list(tasks[1].labels[:24]), [f"k{i // 6}" for i in range(24)])
    row = log_row(evaluate_student(encoder, bursts(), [few], protocols=("knn",)))
    assert set(row) == {f"probe/knn/few{end}" for end in ("", "/n", "/n_clusters", "/chance")}
    row = log_row(evaluate_student(encoder, bursts(), [tasks[1]], protocols=("knn",)))
    assert {"probe/knn/coin/ci_low", "probe/knn/coin/ci_high"} <= set(row)


def test_tasks_without_an_interval_do_not_take_it_from_the_others(tasks: list[Task]) -> None:
    few = make("few", list(tasks[1].labels[:24]), [f"k{i // 6}" for i in range(24)])
    encoder = FakeTeacher("bands", 50.0, 12, pads=True)
    values = evaluate_student(encoder, bursts(), [*tasks, few], protocols=("knn",))
    found = {value.task: value for value in values}
    assert np.isnan(found[MEAN_OF_TASKS].ci_low)
    judged = found[MEAN_WITH_INTERVAL]
    assert judged.value == pytest.approx((found["pitch"].value + found["coin"].value) / 2)
    assert judged.ci_low < judged.value < judged.ci_high


def test_the_sample_data_are_found_by_their_name() -> None:
    recipe = EvaluationRecipe(every=1, names=("instrument", "digit"), max_clips=30, max_clip_s=1.0)
    found = load_evaluation(recipe, 4)
    assert [task.name for task in found.tasks] == ["digit", "instrument"]
    assert [len(task.clip_ids) for task in found.tasks] == [30, 30] and not found.failed
    assert max(clip.duration_s for clip in found.clips.values()) <= 1.0
    assert len(set(found.tasks[0].units)) > 8  # many speakers


def test_what_cannot_be_evaluated_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="instrument"):
        load_evaluation(EvaluationRecipe(every=1, names=("instrumnet",)), 4)
    with pytest.raises(UnknownNameError, match="layers"):
        load_evaluation(EvaluationRecipe(every=1, names=("digit",), layers=(5,)), 4)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_evaluation(EvaluationRecipe(every=1, manifest=str(tmp_path / "no.csv")), 4)
    table = tmp_path / "clips.csv"
    table.write_text("clip_id,path,domain,cluster_id,a\nx,x.wav,speech,k,1\ny,y.wav,speech,l,2\n")
    asked = tmp_path / "tasks.csv"
    asked.write_text(
        "task,label_column,domain,group_column,metric\nt,a,speech,cluster_id,accuracy\n"
    )
    with pytest.raises(ConfigError, match=r"'t' has 0 readable clips"):
        load_evaluation(EvaluationRecipe(every=1, manifest=str(table), tasks=str(asked)), 4)
    asked.write_text(
        "task,label_column,domain,group_column,metric\nt,b,speech,cluster_id,accuracy\n"
    )
    with pytest.raises(ConfigError, match="'b'"):
        load_evaluation(EvaluationRecipe(every=1, manifest=str(table), tasks=str(asked)), 4)
    with pytest.raises(ConfigError, match="max_clips"):
        EvaluationRecipe(max_clips=1)
