"""The ablation: what its rows are, that no run is done twice, and what its intervals hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from usad_workbench.core.config import config_to_dict, differing_keys
from usad_workbench.core.errors import Cancelled, ConfigError, UnknownNameError
from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.models.checkpoint import load_student
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.similarity.resampling import Interval
from usad_workbench.training import train
from usad_workbench.training.ablation.grid import EVALUATION_FILE, choose, make_grid, run_ablation
from usad_workbench.training.ablation.table import (
    COMPARISONS,
    compare,
    mean_values,
    verdict,
    with_seeds,
)
from usad_workbench.training.recipe import load_recipe
from usad_workbench.workbench.cli import main

EVALUATION = """
[evaluation]
names = ["digit", "material"]
max_clips = 48
max_clip_s = 1.0
"""
PLUS = """[[teachers]]
name = "voice"
domain = "speech"

[[teachers]]
name = "noise"
domain = "all"

"""


@dataclass
class Recipes:
    full: Path
    plus: Path


@pytest.fixture
def recipes(recipe_file: Callable[..., Path], tmp_path: Path) -> Recipes:
    text = recipe_file(n_steps=4).read_text() + EVALUATION
    full, plus = tmp_path / "full.toml", tmp_path / "plus.toml"
    full.write_text(text)
    head, _, rest = text.partition("[[teachers]]")
    rest = rest[rest.index("[data]") :].replace("[objective]", "[objective]\nn_layers = 1")
    plus.write_text(head.replace('name = "tiny"', 'name = "tiny"\nstage = 2') + PLUS + rest)
    return Recipes(full, plus)


# What the rows are.


def test_each_row_differs_from_full_in_what_its_name_says() -> None:
    full, plus = load_recipe("ablation"), load_recipe("ablation-plus")
    rows = {row.name: row for row in make_grid(full, plus)}
    changed = {
        "untrained": [],
        "full": [],
        **{f"omega-{w}": [f"objective.omega (10.0, {w}.0)"] for w in (1, 2, 5, 20, 50)},
        **{f"layers-{k}": [f"objective.n_layers (4, {k})"] for k in (1, 2, 3)},
    }
    for name, keys in changed.items():
        found = differing_keys(config_to_dict(full), config_to_dict(rows[name].recipe))
        assert found == keys, name
    for teacher in full.teachers:
        row = rows[f"without-{teacher.name}"].recipe
        assert [t for t in full.teachers if t not in row.teachers] == [teacher]
        assert _keys(full, row) == {"teachers"}
    assert rows["without-music-data"].recipe.data.domains == ("speech", "sound")
    assert _keys(full, rows["without-music-data"].recipe) == {"data.domains"}


def test_second_stage_rows_differ_in_their_start_and_depth_alone(tmp_path: Path) -> None:
    full, plus = load_recipe("ablation"), load_recipe("ablation-plus")
    rows = {row.name: row for row in make_grid(full, plus)}
    scratch = rows["stage-2-from-scratch"].of_seed(1, tmp_path)
    begun = rows["stage-2"].of_seed(1, tmp_path)
    assert _keys(scratch, begun) == {"name", "start.student"}
    assert Path(begun.start.student) == tmp_path / "seed-1" / "full" / "student"
    for depth in ("upscale", "duplicate", "top"):
        deeper = rows[f"depth-{depth}"].of_seed(1, tmp_path)
        assert _keys(begun, deeper) == {"name", "start.depth", "student.n_layers"}
        assert (deeper.start.depth, deeper.student.n_layers) == (depth, 6)


def test_rows_are_different_and_every_comparison_names_two_of_them() -> None:
    rows = make_grid(load_recipe("ablation"), load_recipe("ablation-plus"))
    resolved = [
        json.dumps([config_to_dict(row.recipe), row.depth])
        for row in rows
        if row.name != "untrained"
    ]
    assert len(set(resolved)) == len(resolved)
    names = {row.name for row in rows}
    assert {one.row for one in COMPARISONS} | {one.reference for one in COMPARISONS} <= names
    assert len({(one.row, one.reference) for one in COMPARISONS}) == len(COMPARISONS)


def test_a_recipe_that_makes_two_rows_the_same_is_refused() -> None:
    omega = ("objective.omega=5.0",)
    with pytest.raises(ConfigError, match="omega-5 would be the same as full"):
        make_grid(load_recipe("ablation", omega), load_recipe("ablation-plus", omega))
    with pytest.raises(ConfigError, match="differ in student or data"):
        make_grid(load_recipe("ablation", ("student.dim=64",)), load_recipe("ablation-plus"))


def test_rows_are_chosen_by_name_with_their_reference() -> None:
    rows = make_grid(load_recipe("ablation"), load_recipe("ablation-plus"))
    assert [row.name for row in choose(rows, ["omega-50"])] == ["full", "omega-50"]
    assert len(choose(rows, [])) == len(rows)
    with pytest.raises(UnknownNameError, match="omega-5"):
        choose(rows, ["omega-55"])


def _keys(one: object, other: object) -> set[str]:
    found = differing_keys(config_to_dict(one), config_to_dict(other))
    return {difference.split()[0] for difference in found}


# Runs.


def test_the_command_from_recipes_to_the_table(
    recipes: Recipes,
    teachers: dict[str, Encoder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "usad_workbench.core.encoders.registry.load_encoder", lambda name, *_: teachers[name]
    )
    run = tmp_path / "grid"
    rows = "untrained,omega-1,without-tune,without-music-data,stage-2,depth-top"
    arguments = [
        "ablate",
        "--run",
        str(run),
        "--recipe",
        str(recipes.full),
        "--plus",
        str(recipes.plus),
        "--seeds",
        "1",
        "--only",
        rows,
        "--json",
    ]
    assert main(arguments) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {f["row"] for f in findings} == set(rows.split(","))
    assert {f["n_seeds"] for f in findings} == {1}
    page = (run / "TABLE.md").read_text()
    assert "undecided (one seed)" in page and "| omega-1 | full | linear |" in page
    results = (run / "results.csv").read_text().splitlines()
    assert len(results) == 1 + 7 * 2 * 2  # runs, protocols, tasks
    taught = [t["teacher"] for t in _provenance(run, "without-tune")["teachers"]]
    assert taught == ["voice", "noise"]
    hours = _provenance(run, "without-music-data")["data"]["hours"]
    assert sorted(hours) == ["sound", "speech"]
    begun = _provenance(run, "depth-top")
    assert begun["start"]["layers"] == [1, 2, 3, 4, None, None] and begun["stage"] == 2


def test_shared_material_trains_what_train_trains(
    recipes: Recipes, teachers: dict[str, Encoder], tmp_path: Path
) -> None:
    run_ablation(
        tmp_path / "grid", recipes.full, recipes.plus, seeds=1, only=["full"], encoders=teachers
    )
    train(recipes.full, tmp_path / "run", teachers=teachers)
    mine = load_student(tmp_path / "grid/seed-0/full/student").student.state_dict()
    theirs = load_student(tmp_path / "run/student").student.state_dict()
    start = load_student(tmp_path / "run/checkpoints/step-3").student.state_dict()
    for name, weights in theirs.items():
        far = float((weights - mine[name]).abs().max())
        assert far < 2e-3, name  # targets are rounded to half precision once more
    assert any(float((theirs[n] - start[n]).abs().max()) > 2e-4 for n in theirs)


def test_a_killed_grid_goes_on_and_redoes_nothing(
    recipes: Recipes, teachers: dict[str, Encoder], tmp_path: Path
) -> None:
    rows = ["omega-1", "without-voice"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"

    def stop(done: int, total: int, what: str) -> None:
        # In the third run, at its checkpoint.
        if what.startswith("without-voice") and done == 3:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        run_ablation(
            killed, recipes.full, recipes.plus, seeds=1, only=rows, progress=stop, encoders=teachers
        )
    finished = {path: path.stat().st_mtime_ns for path in killed.rglob(EVALUATION_FILE)}
    assert sorted(path.parent.name for path in finished) == ["full", "omega-1"]
    seen: list[str] = []
    again = run_ablation(
        killed,
        recipes.full,
        recipes.plus,
        seeds=1,
        only=rows,
        progress=lambda done, total, what: seen.append(f"{done} {what}"),
        encoders=teachers,
    )
    assert again == 1
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert [s.split()[0] for s in seen if "without-voice" in s] == ["4"]  # from step 3 on
    run_ablation(whole, recipes.full, recipes.plus, seeds=1, only=rows, encoders=teachers)
    weights = "seed-0/without-voice/student/model.safetensors"
    assert (killed / weights).read_bytes() == (whole / weights).read_bytes()
    assert run_ablation(killed, recipes.full, recipes.plus, seeds=1, only=rows) == 0


def test_a_run_with_another_recipe_is_refused(
    recipes: Recipes, teachers: dict[str, Encoder], tmp_path: Path
) -> None:
    run_ablation(tmp_path, recipes.full, recipes.plus, seeds=1, only=["full"], encoders=teachers)
    (tmp_path / "seed-0/full" / EVALUATION_FILE).unlink()
    with pytest.raises(ConfigError, match=r"another recipe.*peak_lr"):
        run_ablation(
            tmp_path,
            recipes.full,
            recipes.plus,
            ("optimiser.peak_lr=1e-3",),
            seeds=1,
            only=["full"],
            encoders=teachers,
        )


def _provenance(run: Path, row: str) -> dict:  # type: ignore[type-arg]
    described = json.loads((run / "seed-0" / row / "student" / "config.json").read_text())
    return dict(described["provenance"])


# What the intervals hold.


def make_task(n_clusters: int = 20, n_clips: int = 6) -> Task:
    units = np.repeat([f"u{i}" for i in range(n_clusters)], n_clips).astype(object)
    return Task(
        name="planted",
        metric="accuracy",
        clip_ids=[str(i) for i in range(len(units))],
        labels=np.full(len(units), "yes", dtype=object),
        groups=units,
        units=units,
    )


def answers(task: Task, right: np.ndarray) -> dict:  # type: ignore[type-arg]
    said = np.where(right, "yes", "no")
    one = {
        "value": float(right.mean()),
        "chance": 0.5,
        "n": len(right),
        "predictions": [said.tolist()],
    }
    return {"linear": {task.name: one}}


def test_a_planted_difference_is_found_with_its_value() -> None:
    task, results = make_task(), {}
    clip = np.arange(len(task.labels))
    for seed in range(3):
        results[seed, "full"] = answers(task, (clip + seed) % 10 < 8)
        results[seed, "omega-1"] = answers(task, (clip + seed) % 10 < 5)
    found = compare(results, [task], {"planted": "sound"}, ["linear"])
    sound = next(f for f in found if (f.row, f.domain) == ("omega-1", "sound"))
    assert sound.value == pytest.approx(0.5) and sound.reference_value == pytest.approx(0.8)
    assert sound.difference == pytest.approx(-0.3)
    assert -0.4 < sound.ci_low < -0.3 < sound.ci_high < -0.2
    assert (sound.n_seeds, sound.n_clusters, sound.verdict) == (3, 20, "reproduced")
    assert {f.domain for f in found} == {"sound", "overall"}
    values = {v["row"]: v for v in mean_values(results, [task], {"planted": "sound"}, ["linear"])}
    assert values["full"]["sound"] == pytest.approx(0.8) and values["full"]["n_seeds"] == 3
    assert "speech" not in values["full"]


def test_pairs_have_the_same_seed() -> None:
    task = make_task()
    everything, nothing = np.ones(120, dtype=bool), np.zeros(120, dtype=bool)
    results = {
        (0, "full"): answers(task, everything),
        (0, "omega-1"): answers(task, everything),
        (1, "full"): answers(task, nothing),
        (1, "omega-1"): answers(task, nothing),
        (2, "omega-1"): answers(task, everything),
    }
    found = compare(results, [task], {"planted": "music"}, ["linear"])[0]
    assert (found.n_seeds, found.difference, found.value) == (2, 0.0, 0.5)
    assert (found.ci_low, found.ci_high) == (0.0, 0.0)


def test_intervals_hold_the_truth_with_three_seeds_and_few_clusters() -> None:
    rng, held, task = np.random.default_rng(0), [], make_task()
    n_clusters, truth = 20, -0.1
    for _ in range(100):
        # The difference of each cluster and of each seed vary around the true one.
        of_cluster = np.repeat(rng.normal(0, 0.1, n_clusters), 6)
        results = {}
        for seed in range(3):
            p = 0.5 + of_cluster / 2 + rng.normal(0, 0.03)
            q = p - truth - of_cluster
            results[seed, "omega-1"] = answers(task, rng.random(len(p)) < p)
            results[seed, "full"] = answers(task, rng.random(len(q)) < q)
        found = compare(results, [task], {"planted": "sound"}, ["linear"])[0]
        held.append(found.ci_low <= truth <= found.ci_high)
    assert np.mean(held) >= 0.92


@pytest.mark.parametrize(("of_seeds", "of_clusters"), [(1.0, 0.2), (1.0, 1.0), (0.2, 1.0)])
def test_intervals_hold_the_truth_whatever_varies_more(of_seeds: float, of_clusters: float) -> None:
    rng, n_clusters, n_seeds, n_times, n_held = np.random.default_rng(1), 20, 3, 2000, 0
    t = 2.093  # of 19 degrees
    for _ in range(n_times):
        differences = rng.normal(0, of_clusters) + rng.normal(0, of_seeds, n_seeds)
        half = t * of_clusters * np.sqrt(rng.chisquare(n_clusters - 1) / (n_clusters - 1))
        middle = float(differences.mean())
        alone = Interval(value=middle, ci_low=middle - half, ci_high=middle + half, n_clusters=20)
        low, high = with_seeds(differences, alone)
        n_held += low <= 0 <= high
    assert 0.915 <= n_held / n_times <= 0.97


def test_seeds_and_clusters_both_widen_an_interval() -> None:
    # Welch and Satterthwaite by hand: variances 0.01 / 3 (2 degrees) and 0.0004 (9 degrees).
    of_clusters = Interval(
        value=0.1, ci_low=0.1 - 2.262157 * 0.02, ci_high=0.1 + 2.262157 * 0.02, n_clusters=10
    )
    low, high = with_seeds([0.0, 0.1, 0.2], of_clusters)
    a, b = 0.01 / 3, 0.0004
    freedom = (a + b) ** 2 / (a**2 / 2 + b**2 / 9)
    assert freedom == pytest.approx(2.5, abs=0.03)
    # t at 0.975 lies between those of 2 and 3 degrees.
    assert 3.18 * (a + b) ** 0.5 < high - 0.1 < 4.31 * (a + b) ** 0.5
    assert high - 0.1 == pytest.approx(0.1 - low)


@pytest.mark.parametrize(
    ("low", "high", "expected", "n_seeds", "said"),
    [
        (0.1, 0.2, 1, 3, "reproduced"),
        (-0.2, -0.1, 1, 3, "not reproduced"),
        (-0.1, 0.2, 1, 3, "undecided"),
        (-0.1, 0.2, 0, 3, "undecided"),
        (0.1, 0.2, 0, 3, "not reproduced"),
        (-0.2, -0.1, 0, 3, "not reproduced"),
        (0.1, 0.2, 1, 1, "undecided (one seed)"),
        (0.1, 0.2, 1, 2, "undecided (2 seeds)"),
        (0.1, 0.2, None, 3, "nothing published"),
        (float("nan"), float("nan"), 1, 3, "undecided"),
    ],
)
def test_verdicts(low: float, high: float, expected: int | None, n_seeds: int, said: str) -> None:
    assert verdict(low, high, expected, n_seeds) == said
