"""A family of students for a diagnosis: with all teachers, and without each of them in turn.

What a student took from a teacher is what it has and its like without that teacher has not. All
of a family have one recipe, so that they are peers; runs with the same seed begin with the same
weights and see the same clips in the same order, so that they are pairs. Seeds are the outer
loop: wherever a family is stopped, its runs are pairs.

What a run leaves are vectors of the sample clips, none of which it heard.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.config import config_to_dict
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.files import sha256_of_file, written_at_once
from usad_workbench.core.models.checkpoint import load_student
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.models.hashed_tensors import has_hash, open_hashed, save_hashed
from usad_workbench.core.models.sizes import StudentConfig, count_parameters
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.rounded_vectors import write_rounded_vectors
from usad_workbench.sample_data import sample_data_folder
from usad_workbench.training.ablation.grid import (
    EVALUATION_FILE,
    FULL,
    WITHOUT,
    Variant,
    choose,
    folder_of,
    train_rows,
    without,
)
from usad_workbench.training.evaluation import SAMPLE_RATE_HZ, embed_clips
from usad_workbench.training.objective import layer_map
from usad_workbench.training.recipe import Recipe, load_recipe
from usad_workbench.training.run_folder import STUDENT_FOLDER, read_json
from usad_workbench.training.runlog import read_log

VECTORS_FILE, MEMBERS_FILE = "students.parquet", "students.csv"
"""The vectors of a family with who each student is, as ``import-embeddings`` takes them; and what
each was made of, one row a student."""

N_LINES = 5
"""Lines of a run's log that its loss is the mean of: one line is as noisy as its batches."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One finished student of a family; a row of ``MEMBERS_FILE``."""

    encoder: str
    """Its name."""
    family: str
    architecture: str
    training: str
    """The recipe but for teachers and seed."""
    training_seed: int
    """Members of one seed are pairs."""
    teachers: str
    """Names with commas between."""
    knn: float
    """Mean over the tasks of the sample data, last layer."""
    loss: float
    """Mean over the last lines of the log; students of other teachers predict other things."""
    audio_s: float
    """Heard, repeats included."""
    weights_sha256: str
    corpus: str
    """Key of the audio that it learned from."""
    code_version: str
    torch_version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleClips:
    """The clips that vectors are of."""

    names: tuple[str, ...]
    clips: tuple[Clip, ...] = field(repr=False)
    sha256: str
    """Hash of names and sounds: other clips need other vectors."""


def load_sample_clips(folder: Path | None = None) -> SampleClips:
    """All clips of a ``manifest.csv``, decoded; those of the sample data where no folder."""
    folder = folder or sample_data_folder()
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    paths = [folder / row["path"] for row in rows]
    digest = hashlib.sha256()
    for row, path in zip(rows, paths, strict=True):
        digest.update(f"{row['clip_id']} {sha256_of_file(path)}\n".encode())
    return SampleClips(
        names=tuple(row["clip_id"] for row in rows),
        clips=tuple(read_audio(path, sample_rate_hz=SAMPLE_RATE_HZ) for path in paths),
        sha256=digest.hexdigest(),
    )


def make_family(full: Recipe) -> tuple[Variant, ...]:
    """The rows of a family: with all teachers of a recipe, and without each of them.

    Raises:
        ConfigError: a recipe of one teacher, without whom there is none.
    """
    if len(full.teachers) < 2:
        raise ConfigError(
            f"The recipe {full.name} has {len(full.teachers)} teacher, expected two or more: "
            "a family has a student without each of them. Name another recipe."
        )
    rows = {FULL: full} | {f"{WITHOUT}{t.name}": without(full, t.name) for t in full.teachers}
    return tuple(Variant(name=name, recipe=recipe) for name, recipe in rows.items())


def train_family(
    folder: str | Path,
    recipe: str | Path = "family",
    overrides: Sequence[str] = (),
    *,
    seeds: int = 8,
    only: Sequence[str] = (),
    progress: Progress = no_progress,
    encoders: Mapping[str, Encoder] | None = None,
) -> int:
    """Trains what is missing of a family, and embeds the sample clips with each student.

    Args:
        folder: Of the family; each run has a folder in it.
        recipe: Of the student with all teachers, a file or the name of a shipped one.
        overrides: ``key.subkey=value``, on top of it.
        seeds: 0 to one less than this.
        only: Names of rows, such as ``without-musicnn``; all where empty, ``full`` always.
        progress: Called after each piece of work.
        encoders: Teachers to use instead of loading those that the recipe names.

    Returns:
        How many runs were finished by this call.

    Raises:
        ConfigError: a recipe that cannot be used, or another one than a run's.
        UnknownNameError: no such row.
        WeightsError: a teacher's weights have not been fetched.
    """
    full = load_recipe(recipe, tuple(overrides))
    rows, clips, n_finished = choose(make_family(full), only), load_sample_clips(), 0
    runs = train_rows(Path(folder), rows, [full], seeds=seeds, progress=progress, encoders=encoders)
    for run_dir in runs:
        embed_sample(run_dir, full, clips)
        n_finished += 1
    return n_finished


def embed_sample(run_dir: Path, recipe: Recipe, clips: SampleClips) -> dict[int, Tensor]:
    """Vectors of the clips by the distilled layers of a finished student.

    They are kept in the run's folder, and read from there the next time.

    Returns:
        By layer, float16 [clip, dim]: means over frames.
    """
    path = run_dir / f"vectors-{clips.sha256[:16]}.safetensors"
    if not has_hash(path):
        layers = distilled_layers(recipe)
        vectors = embed_clips(load_student(run_dir / STUDENT_FOLDER), clips.clips, layers)
        halves = {
            str(layer): torch.from_numpy(of_layer).half()
            for layer, of_layer in zip(layers, vectors, strict=True)
        }
        save_hashed(path, halves, path.name)
    return {int(layer): vectors for layer, vectors in open_hashed(path, path.name).items()}


def distilled_layers(recipe: Recipe) -> tuple[int, ...]:
    """The student's layers that predict a teacher's.

    >>> from usad_workbench.training.recipe import load_recipe
    >>> distilled_layers(load_recipe("family"))
    (2, 4, 6, 8)
    """
    n_distilled, n_layers = recipe.objective.n_layers, recipe.student.n_layers
    return tuple(layer for layer, _ in layer_map(n_distilled, n_layers, n_layers))


def write_family(
    folder: str | Path,
    recipe: str | Path = "family",
    overrides: Sequence[str] = (),
    *,
    seeds: int = 8,
) -> list[Member]:
    """Writes the vectors of all finished students of a family, and who they are.

    The file has ``clip_id, encoder, layer, vector`` of the last layer and, of each encoder,
    ``family, architecture, training, training_seed, teachers``. Values are rounded to half
    precision, and take two bytes.

    Args:
        folder: Of the family.
        recipe: That of ``train_family``.
        overrides: Likewise.
        seeds: Likewise.

    Returns:
        The students, seed by seed.
    """
    folder, full = Path(folder), load_recipe(recipe, tuple(overrides))
    clips, layer = load_sample_clips(), full.student.n_layers
    members, tables = [], []
    for seed in range(seeds):
        for row in make_family(full):
            run_dir = folder_of(folder, seed, row.name)
            if not (run_dir / EVALUATION_FILE).is_file():
                continue
            member = _member(run_dir, row, seed)
            vectors = embed_sample(run_dir, full, clips)[layer]
            members.append(member)
            tables.append(_table(member, layer, clips.names, vectors))
    if tables:
        _write(folder, members, pa.concat_tables(tables))
    return members


def _member(run_dir: Path, row: Variant, seed: int) -> Member:
    described = read_json(run_dir / STUDENT_FOLDER / "config.json")
    made, tasks = described["provenance"], read_json(run_dir / EVALUATION_FILE)["knn"]
    return Member(
        encoder=f"{made['name']}-{seed}",
        family=row.recipe.name,
        architecture=architecture_of(row.recipe.student),
        training=training_of(row.recipe),
        training_seed=seed,
        teachers=",".join(teacher["teacher"] for teacher in made["teachers"]),
        knn=round(sum(task["value"] for task in tasks.values()) / len(tasks), 4),
        loss=round(fmean(line["loss"] for line in read_log(run_dir)[-N_LINES:]), 4),
        audio_s=round(made["audio_s"], 1),
        weights_sha256=described["sha256"]["model.safetensors"],
        corpus=made["data"]["corpus"],
        code_version=made["code_version"],
        torch_version=made["torch_version"],
    )


def architecture_of(config: StudentConfig) -> str:
    """An architecture in words, with a hash of all of its settings.

    >>> from usad_workbench.core.models.sizes import SIZES
    >>> architecture_of(SIZES["demo"])[:41]
    'USAD, 8 layers of 256, 7.8 M parameters ('
    """
    millions = count_parameters(config).total / 1e6
    settings = _digest(config_to_dict(config))
    return (
        f"USAD, {config.n_layers} layers of {config.dim}, {millions:.2g} M parameters ({settings})"
    )


def training_of(recipe: Recipe) -> str:
    """A training in words, with a hash of all that it depends on but teachers, seed and paths."""
    settings = config_to_dict(recipe)
    settings = {name: settings[name] for name in ("stage", "data", "objective", "optimiser")}
    settings["data"].pop("cache")
    settings["data"].pop("sources")
    settings["precision"] = recipe.run.precision
    n_steps, batch_s = recipe.optimiser.n_steps, recipe.data.batch_s
    return f"{n_steps} steps of {batch_s:g} s ({_digest(settings)})"


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def _table(member: Member, layer: int, names: Sequence[str], vectors: Tensor) -> pa.Table:
    n_clips, dim = vectors.shape
    flat = pa.array(vectors.float().numpy().reshape(-1))
    of_encoder = {
        "encoder": member.encoder,
        "layer": layer,
        "family": member.family,
        "architecture": member.architecture,
        "training": member.training,
        "training_seed": member.training_seed,
        "teachers": member.teachers,
    }
    offsets = pa.array(range(0, n_clips * dim + 1, dim), pa.int32())
    columns = {name: pa.array([value] * n_clips) for name, value in of_encoder.items()}
    return pa.table(
        {"clip_id": list(names), **columns, "vector": pa.ListArray.from_arrays(offsets, flat)}
    )


def _write(folder: Path, members: Sequence[Member], table: pa.Table) -> None:
    write_rounded_vectors(folder / VECTORS_FILE, table)
    with (
        written_at_once(folder / MEMBERS_FILE) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, [f.name for f in fields(Member)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(member) for member in members)
