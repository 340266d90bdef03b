"""The papers' ablation, in small: a grid of short runs, resumable run by run.

Every run differs from ``full`` in one thing. Seeds are the outer loop and runs come in
the order of what they tell, so that whenever it is stopped, a grid of fewer seeds, or of
the weightier runs, is complete. All runs share one copy of audio and targets.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import torch

from usad_workbench.core.config import config_to_dict, differing_keys
from usad_workbench.core.errors import ConfigError, UnknownNameError, did_you_mean
from usad_workbench.core.models.checkpoint import (
    CHECKPOINTS,
    find_checkpoint,
    list_checkpoints,
    load_student,
    save_student,
)
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.models.heads import Heads
from usad_workbench.core.models.sizes import Depth
from usad_workbench.core.models.student import build_student
from usad_workbench.core.probes import ProbeName, evaluate_best_layer
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.ablation.data import AblationData, load_ablation_data, select_domains
from usad_workbench.training.evaluation import Evaluation, embed_clips, load_evaluation
from usad_workbench.training.initial_student import resumed_start, start_student
from usad_workbench.training.recipe import Recipe, load_recipe
from usad_workbench.training.run import (
    head_specs,
    provenance_of,
)
from usad_workbench.training.run_folder import RESOLVED_FILE, STUDENT_FOLDER, read_json, write_json
from usad_workbench.training.trainer import Trainer

FULL, UNTRAINED, WITHOUT = "full", "untrained", "without-"
EVALUATION_FILE = "evaluation.json"
"""A run that has this file is finished."""
N_SPLITS: dict[ProbeName, int] = {"knn": 3, "linear": 1}
"""Splits into folds: k-NN costs nothing, a linear probe as much as embedding the clips."""
DEPTHS: tuple[Depth, ...] = ("upscale", "duplicate", "top")


class TaskResult(TypedDict):
    """One task of a finished run, as its file holds it."""

    value: float
    chance: float
    n: int
    """Clips tested, each once per split."""
    predictions: list[list[str]]
    """Predicted labels ``[split, clip]``, in the order of the task's clips."""


RunResults = dict[str, dict[str, TaskResult]]
"""The results of a run by protocol and task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One row of the grid, for any seed."""

    name: str
    recipe: Recipe
    depth: Depth | None = None
    """How it begins as the student of ``full`` with the same seed; at random where none."""

    def of_seed(self, seed: int, folder: Path) -> Recipe:
        """The recipe of one run."""
        run = replace(self.recipe.run, seed=seed)
        recipe = replace(self.recipe, name=f"{self.recipe.name}-{self.name}", run=run)
        if self.depth is None:
            return recipe
        student = str(folder_of(folder, seed, FULL) / STUDENT_FOLDER)
        return replace(recipe, start=replace(recipe.start, student=student, depth=self.depth))


def folder_of(folder: Path, seed: int, name: str) -> Path:
    """Where one run is."""
    return folder / f"seed-{seed}" / name


def make_grid(full: Recipe, plus: Recipe) -> tuple[Variant, ...]:
    """All rows, weightiest first.

    K = all is ``full`` where the teachers have as many layers as it distils; more would
    use a teacher's layer twice, which ``layer_map`` refuses.

    Args:
        full: Stage 1, as published.
        plus: Stage 2, with the same student and data.

    Raises:
        ConfigError: the recipes do not fit each other, or a row is what ``full`` is.
    """
    if plus.student != full.student or plus.data != full.data:
        raise ConfigError(
            "The recipes of stage 1 and stage 2 differ in student or data. An ablation needs "
            "both alike: change them in both, e.g. with --set."
        )
    deeper = replace(plus, student=replace(full.student, n_layers=full.student.n_layers * 3 // 2))
    domains = tuple(domain for domain in full.data.domains if domain != "music")
    rows: dict[str, tuple[Recipe, Depth | None]] = {
        UNTRAINED: (full, None),
        FULL: (full, None),
        "omega-1": (_objective(full, omega=1.0), None),
        **{f"{WITHOUT}{t.name}": (without(full, t.name), None) for t in full.teachers},
        "omega-50": (_objective(full, omega=50.0), None),
        "without-music-data": (replace(full, data=replace(full.data, domains=domains)), None),
        "layers-1": (_objective(full, n_layers=1), None),
        "stage-2": (plus, "same"),
        "stage-2-from-scratch": (plus, None),
        **{f"depth-{depth}": (deeper, depth) for depth in DEPTHS},
        **{f"layers-{k}": (_objective(full, n_layers=k), None) for k in (2, 3)},
        **{f"omega-{w}": (_objective(full, omega=float(w)), None) for w in (2, 5, 20)},
    }
    same = [n for n, (recipe, _) in rows.items() if n not in (FULL, UNTRAINED) and recipe == full]
    if same:
        raise ConfigError(
            f"The row {same[0]} would be the same as {FULL}. Give the recipe of stage 1 another "
            "omega, or more layers."
        )
    return tuple(Variant(name=n, recipe=recipe, depth=d) for n, (recipe, d) in rows.items())


def _objective(recipe: Recipe, **changes: Any) -> Recipe:
    return replace(recipe, objective=replace(recipe.objective, **changes))


def without(recipe: Recipe, teacher: str) -> Recipe:
    """The recipe with one teacher less and nothing else changed."""
    return replace(recipe, teachers=tuple(t for t in recipe.teachers if t.name != teacher))


def choose(rows: Sequence[Variant], only: Sequence[str]) -> list[Variant]:
    """The rows that were asked for, all where none; ``full``, their reference, always.

    Raises:
        UnknownNameError: no such row.
    """
    names = [row.name for row in rows]
    for name in only:
        if name not in names:
            raise UnknownNameError(f"There is no row {name!r}. {did_you_mean(name, names)}")
    return [row for row in rows if not only or row.name in (*only, FULL)]


def run_ablation(
    folder: str | Path,
    full: str | Path = "ablation",
    plus: str | Path = "ablation-plus",
    overrides: Sequence[str] = (),
    *,
    seeds: int = 3,
    only: Sequence[str] = (),
    progress: Progress = no_progress,
    encoders: Mapping[str, Encoder] | None = None,
) -> int:
    """Trains and evaluates whatever of the grid is not finished yet.

    Args:
        folder: Of the grid; each run has a folder in it.
        full: The recipe of stage 1, a file or the name of a shipped one.
        plus: That of stage 2.
        overrides: ``key.subkey=value``, on top of both.
        seeds: 0 to one less than this.
        only: Names of rows; all where empty.
        progress: Called after each piece of work.
        encoders: Teachers to use instead of loading those that the recipes name.

    Returns:
        How many runs were finished by this call.

    Raises:
        ConfigError: a recipe that cannot be used, or another one than a run's.
        UnknownNameError: no such row.
        WeightsError: a teacher's weights have not been fetched.
    """
    folder = Path(folder)
    recipes = [load_recipe(path, tuple(overrides)) for path in (full, plus)]
    rows = choose(make_grid(recipes[0], recipes[1]), only)
    runs = train_rows(folder, rows, recipes, seeds=seeds, progress=progress, encoders=encoders)
    return sum(1 for _ in runs)


def train_rows(
    folder: Path,
    rows: Sequence[Variant],
    recipes: Sequence[Recipe],
    *,
    seeds: int,
    progress: Progress = no_progress,
    encoders: Mapping[str, Encoder] | None = None,
) -> Iterator[Path]:
    """Trains and evaluates, seed by seed, what is not finished yet.

    Args:
        folder: Of the grid.
        rows: In the order in which a seed's runs are made.
        recipes: Of each stage the one with the most layers, teachers and domains, the first
            stage's first; the rows need no more.
        seeds: 0 to one less than this.
        progress: Called after each piece of work.
        encoders: Teachers to use instead of loading those that the recipes name.

    Yields:
        The folder of each run, once it is finished.

    Raises:
        ConfigError: another recipe than a run's.
        WeightsError: a teacher's weights have not been fetched.
    """
    todo = [
        (seed, row)
        for seed in range(seeds)
        for row in rows
        if not (folder_of(folder, seed, row.name) / EVALUATION_FILE).is_file()
    ]
    if not todo:
        return
    for seed, row in todo:  # before anything that takes long
        _check_same(folder_of(folder, seed, row.name), row.of_seed(seed, folder))
    evaluation = load_evaluation(recipes[0].evaluation, recipes[0].student.n_layers)
    stages = {1, *(row.recipe.stage for _, row in todo)}
    needed = [recipe for recipe in recipes if recipe.stage in stages]
    data = load_ablation_data(needed, folder / "material", _load(needed, encoders), progress)
    for done, (seed, row) in enumerate(todo, start=1):
        run_dir = folder_of(folder, seed, row.name)
        label = f"{row.name}, seed {seed} ({done} of {len(todo)})"
        _run(run_dir, row, row.of_seed(seed, folder), data, evaluation, _named(progress, label))
        yield run_dir


def _named(progress: Progress, label: str) -> Progress:
    return lambda done, total, what: progress(done, total, f"{label}: {what}")


def _load(recipes: Sequence[Recipe], given: Mapping[str, Encoder] | None) -> dict[str, Encoder]:
    names = dict.fromkeys(teacher.name for recipe in recipes for teacher in recipe.teachers)
    if given is not None:
        return {name: given[name] for name in names}
    from usad_workbench.core.encoders.registry import load_encoder

    return {name: load_encoder(name) for name in names}


def _check_same(run_dir: Path, recipe: Recipe) -> None:
    resolved_path = run_dir / RESOLVED_FILE
    if not resolved_path.is_file():
        return
    differing = differing_keys(read_json(resolved_path), config_to_dict(recipe))
    if differing:
        raise ConfigError(
            f"{run_dir} was started with another recipe: {'; '.join(differing)} (then, now). "
            "Use the same one, or another folder."
        )


def _run(
    run_dir: Path,
    row: Variant,
    recipe: Recipe,
    data: AblationData,
    evaluation: Evaluation,
    progress: Progress,
) -> None:
    """One run from where it stands to its evaluation."""
    student = run_dir / STUDENT_FOLDER
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / RESOLVED_FILE, config_to_dict(recipe))
    if row.name == UNTRAINED:
        made = build_student(recipe.student, recipe.run.seed)
        save_student(student, made, None, {"name": recipe.name, "teachers": []}, "float16")
    else:
        trainer = _trainer(recipe, run_dir, data)
        trainer.run(progress)
        trained, _ = trainer.weights.snapshot()
        final = {**trainer.provenance, **asdict(trainer.state)}
        save_student(student, trained, None, final, "float16")
    write_json(run_dir / EVALUATION_FILE, evaluate_run(student, evaluation))
    # Only a run that is not finished needs its optimiser.
    shutil.rmtree(run_dir / CHECKPOINTS, ignore_errors=True)


def _trainer(recipe: Recipe, run_dir: Path, data: AblationData) -> Trainer:
    """The trainer where the run stands: at its start, or at its last checkpoint."""
    corpus, rows = select_domains(data.corpus, recipe.data.domains)
    torch.manual_seed(recipe.run.seed)
    steps_done = list_checkpoints(run_dir)
    start = resumed_start(recipe, run_dir) if steps_done else start_student(recipe)
    heads = Heads(head_specs(recipe, data.encoders))
    if recipe.objective.target_scaling == "standardise":
        for head in heads:
            mean, std = data.targets[head.spec.teacher].scaling[head.spec.teacher_layer]
            head.target_mean.copy_(mean)
            head.target_std.copy_(std)
    layers = {
        teacher.name: [h.spec.teacher_layer for h in heads if h.spec.teacher == teacher.name]
        for teacher in recipe.teachers
    }
    trainer = Trainer(
        recipe,
        run_dir,
        student=start.student,
        heads=heads,
        corpus=corpus,
        targets={
            name: data.targets[name].select(of_teacher, rows) for name, of_teacher in layers.items()
        },
        provenance=provenance_of(recipe, start, data.encoders, corpus),
    )
    if steps_done:
        trainer.restore(find_checkpoint(run_dir))
    else:
        trainer.log.open(0)
    return trainer


def evaluate_run(student: Path, evaluation: Evaluation) -> RunResults:
    """What probes read from the last layer of a student, with every prediction.

    Returns:
        Results by protocol and task.
    """
    encoder = load_student(student)
    asked = sorted({name for task in evaluation.tasks for name in task.clip_ids})
    at = {name: i for i, name in enumerate(asked)}
    vectors = embed_clips(encoder, [evaluation.clips[name] for name in asked], (-1,))[0]
    results: RunResults = {}
    for protocol in evaluation.recipe.protocols:
        for task in evaluation.tasks:
            rows = [at[name] for name in task.clip_ids]
            result = evaluate_best_layer(
                [vectors[rows]],
                task.labels.tolist(),
                task.groups.tolist(),
                task.units.tolist(),
                protocol,
                task.metric,
                seeds=range(N_SPLITS[protocol]),
            )
            results.setdefault(protocol, {})[task.name] = {
                "value": result.value,
                "chance": result.chance,
                "n": result.n_test,
                "predictions": result.predictions.tolist(),
            }
    return results
