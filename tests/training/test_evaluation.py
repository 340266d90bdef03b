"""Probes during training: what they read, on which clips, and that they leave no trace."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import FakeTeacher
from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import (
    Cancelled,
    ConfigError,
    MissingExtraError,
    UnknownNameError,
)
from usad_workbench.core.evaluation.tasks import MEAN_OF_TASKS, MEAN_WITH_INTERVAL, Task
from usad_workbench.core.models.checkpoint import find_checkpoint, load_student
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.student import StudentEncoder, build_student
from usad_workbench.core.probes import evaluate_probe
from usad_workbench.training import read_log, train
from usad_workbench.training.evaluation import (
    Evaluation,
    embed_clips,
    evaluate_student,
    load_evaluation,
    log_row,
    thin_task,
)
from usad_workbench.training.recipe import EvaluationRecipe, load_recipe

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
        name=name,
        metric="accuracy",
        clip_ids=ids,
        labels=np.array(labels, dtype=object),
        groups=groups,
        units=groups,
    )


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


def test_an_evaluation_leaves_no_trace_in_weights_or_random_state(tasks: list[Task]) -> None:
    student = build_student(SMALL, 0).train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    states = (torch.random.get_rng_state(), random.getstate(), str(np.random.get_state()))
    recipe = EvaluationRecipe(every=1, layers=(1, -1), protocols=("knn",))
    evaluation = Evaluation(recipe=recipe, tasks=tuple(tasks), clips=bursts())
    row = evaluation.of_student(student, torch.device("cpu"))
    assert row["probe/knn/pitch"] == 1.0 and row["probe/knn/pitch/n"] == 48
    assert not student.training
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
        load_recipe("demo-small", ("evaluation.max_clips=1",))


@pytest.fixture
def probes(tmp_path: Path, manifest: Path) -> list[str]:
    """Overrides for probes of the corpus itself: each clip's domain, in pairs of clips."""
    names = [line.split(",")[0] for line in manifest.read_text().splitlines()[1:]]
    clips = ["clip_id,path,domain,cluster_id,kind"]
    for name in names:
        kind, _, i = name.partition("-")
        clips.append(f"{name},{manifest.parent / name}.wav,any,{kind}-{int(i) // 2},{kind}")
    (tmp_path / "clips.csv").write_text("\n".join(clips))
    (tmp_path / "tasks.csv").write_text(
        "task,label_column,domain,group_column,metric\n"
        "kind of sound,kind,any,cluster_id,balanced_accuracy\n"
    )
    return [
        "evaluation.every=2",
        f"evaluation.manifest={tmp_path / 'clips.csv'}",
        f"evaluation.tasks={tmp_path / 'tasks.csv'}",
        'evaluation.protocols=["knn"]',
    ]


Write = Callable[..., Path]
PROBE = "probe/knn/kind of sound"


def trained(run: Path) -> list[dict[str, float]]:
    """The lines of steps, without the time they took."""
    return [
        {name: value for name, value in row.items() if name != "wall_s"}
        for row in read_log(run)
        if "loss" in row
    ]


def test_a_training_with_probes_is_bitwise_the_one_without(
    tmp_path: Path, recipe_file: Write, teachers: dict[str, Encoder], probes: list[str]
) -> None:
    recipe = recipe_file(n_steps=5, dropout=0.2)
    train(recipe, tmp_path / "without", teachers=teachers)
    train(recipe, tmp_path / "with", probes, teachers=teachers)
    assert trained(tmp_path / "with") == trained(tmp_path / "without")
    of = [load_student(find_checkpoint(tmp_path / n)).student for n in ("with", "without")]
    assert all(torch.equal(a, b) for a, b in zip(of[0].parameters(), of[1].parameters()))  # noqa: B905
    rows = [row for row in read_log(tmp_path / "with") if "loss" not in row]
    assert [row["step"] for row in rows] == [0, 2, 4, 5]
    assert all(row[f"{PROBE}/n"] == 18 and 0 <= row[PROBE] <= 1 for row in rows)


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_what_is_logged_is_read_from_the_student_that_is_kept(
    tmp_path: Path,
    recipe_file: Write,
    teachers: dict[str, Encoder],
    probes: list[str],
    ema_decay: float,
) -> None:
    overrides = [*probes, f"optimiser.ema_decay={ema_decay}", "optimiser.peak_lr=0.05"]
    train(recipe_file(n_steps=4), tmp_path / "run", overrides, teachers=teachers)
    kept = load_student(find_checkpoint(tmp_path / "run"))
    recipe = EvaluationRecipe(
        every=1, manifest=str(tmp_path / "clips.csv"), tasks=str(tmp_path / "tasks.csv")
    )
    again = load_evaluation(recipe, 4)
    found = evaluate_student(kept, again.clips, again.tasks, protocols=("knn",))
    assert read_log(tmp_path / "run")[-1][PROBE] == found[0].value


def events(run: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard itself reads from a run: tag to step to value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    found = {}
    for tag in reader.Tags()["scalars"]:
        steps = [event.step for event in reader.Scalars(tag)]
        assert len(set(steps)) == len(steps), f"{tag} has a step twice"
        found[tag] = {event.step: event.value for event in reader.Scalars(tag)}
    return found


def test_tensorboard_shows_the_log_also_after_a_resume(
    tmp_path: Path, recipe_file: Write, teachers: dict[str, Encoder], probes: list[str]
) -> None:
    recipe, overrides = recipe_file(n_steps=7), [*probes, "run.tensorboard=true"]

    def stop_at_five(done: int, total: int, what: str) -> None:
        if what.startswith("loss") and done == 5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        train(recipe, tmp_path / "run", overrides, progress=stop_at_five, teachers=teachers)
    assert max(events(tmp_path / "run")["loss"]) == 5
    train(recipe, tmp_path / "run", overrides, resume=True, teachers=teachers)
    log = read_log(tmp_path / "run")
    assert [row["step"] for row in log if "loss" in row] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["step"] for row in log if "loss" not in row] == [0, 2, 4, 6, 7]
    expected: dict[str, dict[int, float]] = {}
    for row in log:
        for name in row.keys() - {"step"}:
            expected.setdefault(name, {})[int(row["step"])] = pytest.approx(row[name], rel=1e-6)
    assert events(tmp_path / "run") == expected


def test_a_run_that_starts_over_has_no_line_twice(
    tmp_path: Path, recipe_file: Write, teachers: dict[str, Encoder], probes: list[str]
) -> None:
    def stop_at_once(done: int, total: int, what: str) -> None:
        if what.startswith("loss"):
            raise Cancelled("stopped")

    recipe, overrides = recipe_file(n_steps=3), [*probes, "run.tensorboard=true"]
    with pytest.raises(Cancelled):
        train(recipe, tmp_path / "run", overrides, progress=stop_at_once, teachers=teachers)
    train(recipe, tmp_path / "run", overrides, resume=True, teachers=teachers)
    assert [row["step"] for row in read_log(tmp_path / "run")] == [0, 1, 2, 2, 3, 3]
    found = events(tmp_path / "run")
    assert list(found["loss"]) == [1, 2, 3] and list(found[PROBE]) == [0, 2, 3]


def test_without_tensorboard_nothing_begins(
    tmp_path: Path, recipe_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        train(recipe_file(), tmp_path / "run", ["run.tensorboard=true"])
    assert not (tmp_path / "run").exists()
