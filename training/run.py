"""``train``: from a recipe to a trained student.

A run folder holds ``recipe.toml`` (as given), ``recipe.json`` (resolved), ``run.json``
(provenance: teachers, data, versions), ``log.jsonl``, ``checkpoints/step-N`` and, at the end,
``student``: the half-precision weights without heads that one passes on.
"""

import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from usad_workbench.core.config import config_to_dict
from usad_workbench.core.errors import (
    CheckpointError,
    ConfigError,
    UnknownNameError,
    WeightsError,
    did_you_mean,
)
from usad_workbench.core.models.checkpoint import (
    find_checkpoint,
    list_checkpoints,
    save_student,
)
from usad_workbench.core.models.devices import usable_device
from usad_workbench.core.models.encoder import Encoder, TargetKind
from usad_workbench.core.models.heads import Heads, HeadSpec
from usad_workbench.core.models.spec import licence_of_record
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.data import Corpus, load_corpus
from usad_workbench.training.distributed import World, join_world
from usad_workbench.training.initial_student import InitialStudent, resumed_start, start_student
from usad_workbench.training.objective import layer_map
from usad_workbench.training.recipe import (
    ALL_DOMAINS,
    Recipe,
    TeacherRecipe,
    find_recipe,
    load_recipe,
)
from usad_workbench.training.resume import open_run
from usad_workbench.training.run_folder import PROVENANCE_FILE, STUDENT_FOLDER, write_json
from usad_workbench.training.run_lock import only_trainer
from usad_workbench.training.targets import (
    OnlineTargets,
    TargetSource,
    cache_targets,
    target_statistics,
)
from usad_workbench.training.tensorboard import check_tensorboard
from usad_workbench.training.trainer import Trainer

if TYPE_CHECKING:
    from usad_workbench.training.evaluation import Evaluation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """What a run came to."""

    run: str
    """The run's folder."""
    step: int
    loss: float
    """Loss of the last step."""
    checkpoint: str
    """The folder of the last checkpoint."""
    failed: tuple[tuple[str, str], ...] = ()
    """Recordings that could not be learned from, each with the reason."""


def train(
    recipe_path: str | Path,
    run_dir: str | Path,
    overrides: Sequence[str] = (),
    resume: bool = False,
    progress: Progress = no_progress,
    *,
    teachers: Mapping[str, Encoder] | None = None,
) -> TrainResult:
    """Distils a student as a recipe says.

    Args:
        recipe_path: A TOML file, or the name of a shipped recipe.
        run_dir: Where everything of this run goes.
        overrides: ``key.subkey=value``, on top of the file.
        resume: Go on from the last checkpoint, from the start if there is none.
        progress: Called after each piece of work; its text says how long is left.
        teachers: Encoders to use instead of loading those that the recipe names.

    Raises:
        ConfigError: a recipe that cannot be used, or another one than the run's.
        UnknownNameError: a teacher that is no known encoder.
        CheckpointError: a run that exists already or is in progress, or a damaged folder.
        WeightsError: a teacher's weights have not been fetched.
        TrainingError: a loss that is not finite.
        MissingExtraError: TensorBoard is wanted and not installed.
    """
    run_dir = Path(run_dir)
    recipe = load_recipe(recipe_path, tuple(overrides))
    if recipe.run.tensorboard:
        check_tensorboard()
    _check_teachers(recipe, teachers)
    device = usable_device(recipe.run.device)
    evaluation = _evaluation(recipe)
    with ExitStack() as stack:
        world = stack.enter_context(join_world(device))
        world.first(lambda: stack.enter_context(only_trainer(run_dir)))
        world.first(lambda: open_run(run_dir, recipe, find_recipe(recipe_path), resume))
        reports = progress if world.is_first else no_progress
        trainer = _prepare(run_dir, recipe, teachers, evaluation, world, reports)
        checkpoint = trainer.run(reports)
        student, _ = trainer.weights.snapshot()
        final = {**trainer.provenance, **asdict(trainer.state)}
        if world.is_first:
            save_student(run_dir / STUDENT_FOLDER, student, None, final, "float16")
    return TrainResult(
        run=str(run_dir),
        step=trainer.state.step,
        loss=trainer.state.loss,
        checkpoint=str(checkpoint),
        failed=trainer.corpus.failed,
    )


def _prepare(
    run_dir: Path,
    recipe: Recipe,
    teachers: Mapping[str, Encoder] | None,
    evaluation: "Evaluation | None",
    world: World,
    progress: Progress,
) -> Trainer:
    """The trainer where the run stands: at its start, or at its last checkpoint."""
    encoders = _load_teachers(recipe, teachers, world.device)
    cache = Path(recipe.data.cache) if recipe.data.cache else run_dir / "cache"
    # The first process decodes, then the others find it done.
    world.first(lambda: load_corpus(recipe.data, cache, progress).key)
    corpus = load_corpus(recipe.data, cache)
    if corpus.failed and world.is_first:
        logger.warning(
            "%d recordings cannot be learned from, %s lists them all; the first is %s: %s",
            len(corpus.failed),
            run_dir / PROVENANCE_FILE,
            *corpus.failed[0],
        )
    sources = {}
    for teacher in recipe.teachers:
        online = _online_targets(teacher, encoders[teacher.name], recipe, corpus)
        is_online = recipe.data.targets == "online"
        sources[teacher.name] = (
            online if is_online else cache_targets(online, cache, progress, world)
        )
    torch.manual_seed(recipe.run.seed)
    steps_done = list_checkpoints(run_dir)
    with _naming_the_remedy(run_dir):
        start = resumed_start(recipe, run_dir) if steps_done else start_student(recipe)
    heads = Heads(head_specs(recipe, encoders))
    # A checkpoint holds the statistics that it was trained with.
    if recipe.objective.target_scaling == "standardise" and not steps_done:
        n_pieces = len(corpus.pieces)
        _set_scaling(heads, world.first(lambda: _statistics(sources, n_pieces, progress)))
    provenance = provenance_of(recipe, start, encoders, corpus)
    if world.is_first:
        write_json(run_dir / PROVENANCE_FILE, {**provenance, "failed": corpus.failed})
    trainer = Trainer(
        recipe,
        run_dir,
        student=start.student,
        heads=heads,
        corpus=corpus,
        targets=sources,
        provenance=provenance,
        world=world,
    )
    trainer.evaluation = evaluation
    if steps_done:
        with _naming_the_remedy(run_dir):
            trainer.restore(find_checkpoint(run_dir))
    else:
        trainer.log.open(0)
    return trainer


@contextmanager
def _naming_the_remedy(run_dir: Path) -> Iterator[None]:
    """Adds to the error of a damaged checkpoint how to resume: the one before gives the same end."""
    try:
        yield
    except CheckpointError as error:
        if not list_checkpoints(run_dir):
            raise
        raise CheckpointError(
            f"{error} If {find_checkpoint(run_dir)} is damaged, delete it: --resume then goes on "
            "from the checkpoint before, or from the start."
        ) from error


def _evaluation(recipe: Recipe) -> "Evaluation | None":
    """Tasks and clips of the probes, read before anything that takes long."""
    if recipe.evaluation.every == 0:
        return None
    # A training without probes needs neither scikit-learn nor pandas.
    from usad_workbench.training.evaluation import load_evaluation

    return load_evaluation(recipe.evaluation, recipe.student.n_layers)


def _check_teachers(recipe: Recipe, given: Mapping[str, Encoder] | None) -> None:
    names = [teacher.name for teacher in recipe.teachers if teacher.name not in (given or {})]
    if not names:
        return
    from usad_workbench.core.encoders.registry import encoder_specs, encoder_status

    specs = encoder_specs()
    unknown = [name for name in names if name not in specs and ":" not in name]
    if unknown:
        raise UnknownNameError(
            f"The teachers {', '.join(unknown)} of recipe {recipe.name} are no known encoders: "
            "this version cannot run them. "
            f"{did_you_mean(unknown[0], specs)} Name known ones as `teachers`."
        )
    missing = [encoder_status(name).reason for name in names if not encoder_status(name).available]
    if missing:
        raise WeightsError(" ".join(missing))


def _load_teachers(
    recipe: Recipe, given: Mapping[str, Encoder] | None, device: torch.device
) -> dict[str, Encoder]:
    # The registry knows weights and packages; a run with encoders of its own needs neither.
    encoders = {}
    for teacher in recipe.teachers:
        if given is not None and teacher.name in given:
            encoders[teacher.name] = given[teacher.name]
        else:
            from usad_workbench.core.encoders.registry import load_encoder

            encoders[teacher.name] = load_encoder(teacher.name, str(device))
    return encoders


def target_kind(teacher: TeacherRecipe, encoder: Encoder) -> TargetKind:
    """What is predicted of a teacher: ``auto`` resolved.

    Raises:
        ConfigError: feed-forward outputs of a teacher that has none.
    """
    if teacher.target == "auto":
        return "ffn" if encoder.spec.has_ffn else "block"
    if teacher.target == "ffn" and not encoder.spec.has_ffn:
        raise ConfigError(
            f"{teacher.name} has no feed-forward blocks, so no target = 'ffn'. Use 'block'."
        )
    return teacher.target


def head_specs(recipe: Recipe, encoders: Mapping[str, Encoder]) -> tuple[HeadSpec, ...]:
    """What the heads of a run predict, teacher by teacher."""
    student, specs = recipe.student, []
    for teacher in recipe.teachers:
        spec = encoders[teacher.name].spec
        pairs = layer_map(
            recipe.objective.n_layers, student.n_layers, spec.n_layers, teacher.layers
        )
        specs += [
            HeadSpec(
                teacher=teacher.name,
                student_layer=student_layer,
                teacher_layer=teacher_layer,
                kind=target_kind(teacher, encoders[teacher.name]),
                teacher_dim=spec.dims[teacher_layer],
                student_dim=student.dim,
                hidden_dim=recipe.objective.head_dim or student.dim,
            )
            for student_layer, teacher_layer in pairs
        ]
    return tuple(specs)


def _online_targets(
    teacher: TeacherRecipe, encoder: Encoder, recipe: Recipe, corpus: Corpus
) -> OnlineTargets:
    pairs = layer_map(
        recipe.objective.n_layers, recipe.student.n_layers, encoder.spec.n_layers, teacher.layers
    )
    layers = [teacher_layer for _, teacher_layer in pairs]
    kind = target_kind(teacher, encoder)
    return OnlineTargets(encoder, corpus, layers, kind, recipe.data.max_left_out)


def _statistics(
    sources: Mapping[str, TargetSource], n_pieces: int, progress: Progress
) -> dict[str, dict[int, tuple[Tensor, Tensor]]]:
    return {
        teacher: target_statistics(source, n_pieces, progress)
        for teacher, source in sources.items()
    }


def _set_scaling(
    heads: Heads, statistics: Mapping[str, Mapping[int, tuple[Tensor, Tensor]]]
) -> None:
    for head in heads:
        mean, std = statistics[head.spec.teacher][head.spec.teacher_layer]
        head.target_mean.copy_(mean)
        head.target_std.copy_(std)


def provenance_of(
    recipe: Recipe, start: InitialStudent, encoders: Mapping[str, Encoder], corpus: Corpus
) -> dict[str, Any]:
    """What a student says about how it was made."""
    try:
        code_version = version("usad-workbench")
    except PackageNotFoundError:
        code_version = "not installed"
    teachers = [
        *start.taught,
        *(
            {
                "teacher": teacher.name,
                "domain": None if teacher.domain == ALL_DOMAINS else teacher.domain,
                "stage": recipe.stage,
                "target": target_kind(teacher, encoders[teacher.name]),
                "weights_sha256": encoders[teacher.name].weights_sha256,
                "licence": encoders[teacher.name].spec.licence,
            }
            for teacher in recipe.teachers
        ),
    ]
    own = {"licence": recipe.licence, "teachers": teachers}
    return {
        "name": recipe.name,
        "licence": licence_of_record(own, recipe.licence),
        "stage": recipe.stage,
        "start": start.source,
        "teachers": teachers,
        "data": {
            "corpus": corpus.key,
            "n_clips": len({piece.clip_id for piece in corpus.pieces}),
            "n_pieces": len(corpus.pieces),
            "n_failed": len(corpus.failed),
            "hours": {d: round(s / 3600, 3) for d, s in sorted(corpus.seconds().items())},
        },
        "objective": config_to_dict(recipe.objective),
        "code_version": code_version,
        "torch_version": torch.__version__,
        "python_version": platform.python_version(),
    }
