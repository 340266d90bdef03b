"""Recipes: one TOML file that says everything about a run.

Each dataclass is one table of the file. Bounds of a number stand beside it and are compared when
a file is read, checks of several keys sit in their table, between tables in ``Recipe``.
"""

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from usad_workbench.core.clips import TEACHER_DOMAINS
from usad_workbench.core.config import Between, load_config
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.sizes import Depth, StudentConfig, count_parameters

ALL_DOMAINS = "all"
"""The domain of a teacher that knows several: a match for every clip (USAD 2.0, stage 2)."""
TargetScaling = Literal["none", "standardise"]
Pooled = Literal["prediction", "hidden"]
MultiDomain = Literal["matched", "half"]
Steps = Annotated[int, Between(1, 10**9)]
StepsOrNever = Annotated[int, Between(0, 10**9)]
Seconds = Annotated[float, Between(0.1, 100_000)]
Decay = Annotated[float, Between(0, 1, without_high=True)]
Positive = Annotated[float, Between(0, 1e30, without_low=True)]
NotNegative = Annotated[float, Between(0, 1e30)]
Width = Annotated[int, Between(0, 65_536)]
Layer = Annotated[int, Between(1, 1000)]
MAX_LOADERS = 256
MAX_PARAMETERS = 20_000_000_000
"""Sixteen times the largest published student: more is a slip of the pen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherRecipe:
    """One teacher; ``[[teachers]]``."""

    name: str
    """A name of ``usad encoders list``."""
    domain: str
    """The domain that it is the specialist of; ``all`` for a teacher of several."""
    target: Literal["auto", "ffn", "block", "output"] = "auto"
    """What the student predicts: the feed-forward output before the residual (USAD), what
    leaves the block, or the same with the last layer behind the teacher's final norm.
    ``auto`` is ``ffn`` where the teacher has such blocks. *Reading*: which of them stage 2
    predicts is not published."""
    layers: tuple[Layer, ...] = ()
    """The teacher's layers, one per distilled layer; round(k L / K) where empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRecipe:
    """A manifest or a folder; ``[[data.sources]]``."""

    path: str
    """CSV with the columns clip_id, path, domain, paths relative to its folder; or a folder
    of audio. Relative to the current folder."""
    domain: str = ""
    """Domain of a folder's files and of a manifest's rows that name none; rows of other domains
    are left out, so that a manifest can be named once per domain, each with its share."""
    share: NotNegative = 0.0
    """Relative seconds of audio, by repeating or leaving out; all sources or none have one.
    As it comes where none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRecipe:
    """What is learned from; ``[data]``."""

    sources: tuple[SourceRecipe, ...]
    """Their clip_ids must differ."""
    domains: tuple[str, ...] = TEACHER_DOMAINS
    """Clips of other domains are left out: what is meant to stay unseen, stays so."""
    exclude: tuple[str, ...] = ()
    """Manifests whose recordings must not be learned from, found by their content."""
    max_clip_s: Seconds = 10.0
    """Longer clips are cut into pieces of this length (USAD, sec. IV-B: 10 s)."""
    cut: Literal["consecutive", "random"] = "consecutive"
    """Whether all of a longer recording is learned from, or one piece from a random place,
    the same one in every epoch and run."""
    min_clip_s: Seconds = 0.5
    """Shorter clips, and shorter remainders, are left out."""
    batch_s: Seconds = 100.0
    """Seconds of audio in a batch, padding included."""
    targets: Literal["cached", "online"] = "cached"
    """Whether the teachers run once, their targets kept on disk, or at every step."""
    audio: Literal["cached", "decoded"] = "cached"
    """Whether all audio is decoded once and kept on disk, or from its files at every step:
    for corpora that the disk cannot hold twice, so only with online targets."""
    max_left_out: StepsOrNever = 100
    """Pieces that a teacher may give values for which half precision cannot hold: it does not
    teach them, and they are named; one more ends the run."""
    n_loaders: Annotated[int, Between(0, MAX_LOADERS)] = 0
    """Processes that read ahead, in each training process; none where 0. Batches and their
    order are the same for any number."""
    gain_db: Annotated[float, Between(0, 120)] = 0.0
    """The student hears each clip louder or softer by up to this, while targets stay those
    of the clip itself; 0 for none, as in the papers."""
    mix_probability: Annotated[float, Between(0, 1)] = 0.0
    """How often the student hears another clip of the batch mixed in (WavLM, sec. III-A),
    while targets stay those of the clip itself; 0 for none, as in the papers."""
    mix_snr_db: tuple[Annotated[float, Between(-120, 120)], ...] = (0.0, 20.0)
    """Lowest and highest ratio of a clip's power to that of what is mixed in."""
    cache: str = ""
    """Folder for audio and targets, shared between runs; ``cache`` in the run where empty."""

    def __post_init__(self) -> None:
        if not self.min_clip_s <= self.max_clip_s <= self.batch_s:
            raise ConfigError(
                f"Found min_clip_s = {self.min_clip_s}, max_clip_s = {self.max_clip_s}, batch_s "
                f"= {self.batch_s}; expected min_clip_s <= max_clip_s <= batch_s."
            )
        shares = [source.share for source in self.sources]
        if not shares or min(shares) < 0 or min(shares) == 0 < max(shares):
            raise ConfigError(
                f"Found shares {shares} of data.sources, expected one source or more, and "
                "a positive share for each or for none."
            )
        if self.audio == "decoded" and self.targets == "cached":
            raise ConfigError(
                "data.audio = 'decoded' with data.targets = 'cached': targets take more room "
                "than the audio that is too much for the disk. Set data.targets = 'online'."
            )
        if len(self.mix_snr_db) != 2 or self.mix_snr_db[0] > self.mix_snr_db[1]:
            raise ConfigError(
                f"Found mix_snr_db = {list(self.mix_snr_db)}, expected lowest and highest."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveRecipe:
    """What is minimised; ``[objective]``."""

    n_layers: Layer = 4
    """Distilled layers K (USAD, sec. III-B)."""
    omega: Positive = 10.0
    """Weight of the teacher whose domain a clip has, over that of each other (USAD 2.0)."""
    multi_domain: MultiDomain = "matched"
    """*Reading*: the weight of a teacher with domain ``all``, see ``domain_weights``."""
    target_scaling: TargetScaling = "none"
    """``none`` is the published formula. ``standardise`` brings each dimension of each
    target to mean 0 and deviation 1 over the corpus, for teachers of unlike scale."""
    pooled: Pooled = "prediction"
    """*Reading*: what is averaged where a teacher has fewer frames than the student."""
    head_dim: Width = 0
    """Width inside a head; the student's where 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimiserRecipe:
    """AdamW with linear warm-up and linear decay to zero; ``[optimiser]``."""

    peak_lr: Positive
    n_steps: Steps
    warmup_steps: StepsOrNever
    beta1: Decay = 0.9
    beta2: Decay = 0.98
    weight_decay: NotNegative = 0.01
    """Decay of matrices; biases and norms have none."""
    clip_norm: Positive = 1.0
    """The gradient's norm is cut to this."""
    accumulate: Annotated[int, Between(1, 100_000)] = 1
    """Parts that a batch goes through the student in, for less memory; the loss and the
    gradient stay those of the whole batch."""
    ema_decay: Decay = 0.0
    """Decay of the average of the student's weights, which is then what is kept: average = decay
    average + (1 - decay) weights after each step. None where 0, as in the papers."""

    def __post_init__(self) -> None:
        if self.warmup_steps >= self.n_steps:
            raise ConfigError(
                f"Found warmup_steps = {self.warmup_steps}, n_steps = {self.n_steps}; expected "
                "warmup_steps < n_steps."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecipe:
    """How it is run; ``[run]``."""

    seed: Annotated[int, Between(0, 2**63 - 1)] = 0
    device: str = "cpu"
    """A torch device; with several processes each takes the one of its LOCAL_RANK."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the student's matrix products; weights and loss are float32."""
    log_every: Steps = 10
    """Steps between two lines of the log; each line is the mean since the one before."""
    checkpoint_every: Steps = 500
    keep_checkpoints: Steps = 2
    """Older ones are deleted."""
    compile: bool = False
    """Whether torch.compile makes kernels of the student's blocks; takes minutes at first."""
    activation_checkpointing: bool = False
    """Whether the backward pass computes the blocks again, for less memory."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """With several processes (``torchrun``): a whole model in each, or one spread over all
    of them (FSDP2), for students that one device cannot hold."""
    tensorboard: bool = False
    """Whether the log is also written for TensorBoard, to ``tensorboard`` in the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationRecipe:
    """Probes of the student while it trains; ``[evaluation]``.

    One split into folds and few clips, so that an evaluation takes seconds: good for
    curves, not for the table of a paper. That is what ``usad evaluate`` is for.
    """

    every: StepsOrNever = 0
    """Steps between two evaluations, the untrained student's the first; 0 for none."""
    manifest: str = "sample_data"
    """CSV with clip_id, path, domain, cluster_id and the columns that the tasks name;
    ``sample_data`` for the clips that come with this program."""
    tasks: str = "sample_data"
    """CSV with task, label_column, domain, group_column, metric."""
    names: tuple[str, ...] = ()
    """Which of the tasks; all where empty."""
    layers: tuple[Annotated[int, Between(-1000, 1000)], ...] = (-1,)
    """Layers of the student; with several, the layer is chosen on the training folds."""
    protocols: tuple[Literal["knn", "linear"], ...] = ("knn", "linear")
    max_clips: Annotated[int, Between(2, 10**9)] = 100
    """Clips of a task, taken in turn from each cluster, the same ones in every run."""
    max_clip_s: Seconds = 10.0
    """Seconds from its beginning that are heard of a longer clip."""

    def __post_init__(self) -> None:
        if not (self.layers and self.protocols):
            raise ConfigError(
                f"Found layers = {list(self.layers)}, protocols = {list(self.protocols)}; "
                "expected one or more of each. Set every = 0 for no evaluation."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class StartRecipe:
    """What the student begins as; ``[start]``."""

    student: str = ""
    """A run's folder, ``DIR@STEP`` for an earlier checkpoint of it, or the folder of a
    student; random weights where empty."""
    depth: Depth = "same"
    """How more layers than that student has are made; see ``source_layers``."""

    def __post_init__(self) -> None:
        if self.depth != "same" and not self.student:
            raise ConfigError(
                f"start.depth = '{self.depth}' scales a trained student, but start.student is "
                "empty. Name one, or leave start.depth out."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One stage of distillation."""

    name: str
    """Name of the student."""
    licence: str = "Apache-2.0"
    """Licence of its weights; a teacher that forbids commercial use has the last word."""
    stage: Annotated[int, Between(1, 1000)] = 1
    """1 distils specialists, 2 supervised encoders into a student of stage 1 (or, with an
    empty ``start.student``, from scratch: the paper's comparison). Recorded with the
    teachers; what is done follows from the rest of the recipe."""
    start: StartRecipe = field(default_factory=StartRecipe)
    student: StudentConfig
    teachers: tuple[TeacherRecipe, ...]
    data: DataRecipe
    objective: ObjectiveRecipe = field(default_factory=ObjectiveRecipe)
    optimiser: OptimiserRecipe
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)

    def __post_init__(self) -> None:
        names = [teacher.name for teacher in self.teachers]
        if not self.name.strip() or not self.licence.strip():
            raise ConfigError("name or licence is empty. Name the student and its licence.")
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"Found teachers {names}, expected one or more different ones.")
        n_params = count_parameters(self.student).total
        if n_params > MAX_PARAMETERS:
            raise ConfigError(
                f"student.dim = {self.student.dim} and student.n_layers = {self.student.n_layers} "
                f"give {n_params:,} parameters, expected at most {MAX_PARAMETERS:,}. Lower one."
            )
        if self.objective.n_layers > self.student.n_layers:
            raise ConfigError(
                f"objective.n_layers = {self.objective.n_layers} needs as many different layers, "
                f"the student has {self.student.n_layers}. Distil fewer, or make it deeper."
            )
        for teacher in self.teachers:
            if teacher.layers and len(teacher.layers) != self.objective.n_layers:
                raise ConfigError(
                    f"{teacher.name} names {len(teacher.layers)} layers, objective.n_layers is "
                    f"{self.objective.n_layers}. Name as many, or none."
                )


def find_recipe(recipe: str | Path) -> Path:
    """The file of a recipe: a path, or the name of a shipped one.

    Raises:
        ConfigError: neither.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    shipped = Path(str(resources.files("usad_workbench.training"))) / "recipes"
    named = shipped / f"{path.name.removesuffix('.toml')}.toml"
    if path.name == str(recipe) and named.is_file():
        return named
    names = ", ".join(sorted(p.stem for p in shipped.glob("*.toml"))) or "none"
    raise ConfigError(f"{recipe} is no file and no shipped recipe. Shipped: {names}.")


def load_recipe(recipe: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """A recipe from its file or name, with overrides applied.

    Raises:
        ConfigError: see ``load_config``.
    """
    return load_config(Recipe, find_recipe(recipe), overrides)
