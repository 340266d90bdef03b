"""Worlds in which it is known what a student has of its teachers, and what only looks like it.

``make_world(kind, seed)`` gives clips of two domains, speech and sound, in 40 clusters of 5 each,
and encoders of one layer. Every encoder turns the clip's parts into its own axes and adds noise:

- content: 3 factors that all encoders hear, each at its own loudness exp(0.1 N(0, 1));
- a class, one of 4 corners of a square of side 2, misheard with a probability of the clip
  (0.2 in the mean), by each encoder in its own way;
- a part of its own: 2 factors that nobody else has;
- what students of the recipe have in common, 2 factors of half the variance.

These are 8 dimensions (students: 10), so that vectors of 8 have room for a teacher. Factors are
half the cluster's, half the clip's. Teachers are ``t`` of speech and ``u`` of sound. The student
``s`` (``s0, s1, s2`` in groups) has a share ``copied`` of the variance of t's own part in its own
place, on speech clips; of u nothing, and nothing of t in sound. Peers are students ``p0, ...``
without either; placebos are encoders ``q0, ...`` of speech and sound by turns. What the suite must
say was written before it first saw one: inherited is t in speech where something was copied, and
nothing else anywhere; a copy of a fifth or more must not be called "no".

What only looks like inheritance:

- ``better``: teachers and student hear the class better than all others (misheard 0.02, side 3);
- ``shortcut``: teachers and student hear the loudness of a clip (2 standard deviations), others not;
- ``all better``: teachers and student hear everything with less noise (0.1) than all others (0.5,
  placebos times exp(0.1 N(0, 1))), so that similarities to the teachers are multiplied;
- ``less``: peers are trained less (noise 0.9, class of side 1, content at 0.7);
- ``family``: placebos have 0.8 of their own part in common, which is told or ``not told``.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.planted import add_clips, record
from usad_workbench.core.diagnosis.controls import PEERS_AND_PLACEBOS, PLACEBOS_ALONE, Design
from usad_workbench.core.diagnosis.data import DiagnosisConfig, DiagnosisData
from usad_workbench.core.evaluation.testability import possible_tasks
from usad_workbench.core.models.spec import Origin, Role
from usad_workbench.core.similarity import EncoderRole
from usad_workbench.core.similarity.placebo_excess import MIN_FAMILIES
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.spaces import append_vectors, register_encoder
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace

DOMAINS, TEACHERS = ("speech", "sound"), ("t", "u")
N_CLUSTERS, CLUSTER_SIZE, N_CLASSES = 40, 5, 4
COPIED_PAIR = ("t", "speech")
ROGUE_LENGTH = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What is planted, and how many stand beside the student and its teachers."""

    copied: float = 0.0
    n_peers: int = 8
    n_placebos: int = 8
    n_students: int = 1
    width: int = 64
    has_rogue: bool = False
    looks: str = ""
    """What only looks like inheritance."""
    is_told: bool = False
    """Whether architecture and training are told, and equal."""


KINDS: Mapping[str, Kind] = {
    "placebo, 8 peers": Kind(),
    "placebo, 4 peers": Kind(n_peers=4),
    "placebo, 8 peers, 3 placebos": Kind(n_placebos=3),
    "placebo, 8 controls": Kind(n_peers=0, n_placebos=16),
    "placebo, width 8": Kind(width=8),
    "placebo, width 1024": Kind(width=1024),
    "placebo, a rogue dimension": Kind(has_rogue=True),
    "placebo, 3 students": Kind(n_students=3),
    "better teacher, 8 peers told": Kind(looks="better", is_told=True),
    "better teacher, 8 controls": Kind(looks="better", n_peers=0, n_placebos=16),
    "shared shortcut, 8 peers": Kind(looks="shortcut"),
    "shared shortcut, 8 controls": Kind(looks="shortcut", n_peers=0, n_placebos=16),
    "better at all, 8 peers told": Kind(looks="all better", is_told=True),
    "one family, 4 controls": Kind(looks="family", n_peers=0, n_placebos=8),
    "one family not told, 4 controls": Kind(looks="family not told", n_peers=0, n_placebos=8),
    "less-trained peers, 8": Kind(looks="less"),
    "less-trained peers, 8 told": Kind(looks="less", is_told=True),
    "20 % copied, 8 peers": Kind(copied=0.2),
    "20 % copied, 4 peers": Kind(copied=0.2, n_peers=4),
    "20 % copied, 8 controls": Kind(copied=0.2, n_peers=0, n_placebos=16),
    "20 % copied, width 8": Kind(copied=0.2, width=8),
    "20 % copied, width 1024": Kind(copied=0.2, width=1024),
    "20 % copied, a rogue dimension": Kind(copied=0.2, has_rogue=True),
    "20 % copied, 3 students": Kind(copied=0.2, n_students=3),
    "30 % copied, 8 peers": Kind(copied=0.3),
    "50 % copied, 8 peers": Kind(copied=0.5),
    "50 % copied, 4 peers": Kind(copied=0.5, n_peers=4),
    "50 % copied, 8 controls": Kind(copied=0.5, n_peers=0, n_placebos=16),
    "50 % copied, width 8": Kind(copied=0.5, width=8),
    "50 % copied, width 16": Kind(copied=0.5, width=16),
    "50 % copied, width 1024": Kind(copied=0.5, width=1024),
    "50 % copied, a rogue dimension": Kind(copied=0.5, has_rogue=True),
    "50 % copied, 3 students": Kind(copied=0.5, n_students=3),
    "all copied, 8 peers": Kind(copied=1.0),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class InheritanceWorld:
    """Clips, and every encoder's vectors with what an import says of it."""

    kind: Kind
    clips: pd.DataFrame
    """``clip_id, domain, cluster_id, label, loudness_db``."""
    vectors: Mapping[str, np.ndarray]
    """`[clip, dim]` by encoder."""

    @property
    def students(self) -> list[str]:
        return student_names(self.kind)

    @property
    def peers(self) -> list[str]:
        return [f"p{i}" for i in range(self.kind.n_peers)]

    @property
    def placebos(self) -> list[str]:
        return [f"q{i}" for i in range(self.kind.n_placebos)]

    def role(self, name: str) -> tuple[Role, str | None]:
        """Role and home domain."""
        if name in TEACHERS:
            return "teacher", DOMAINS[TEACHERS.index(name)]
        if name in self.placebos:
            return "control", DOMAINS[int(name[1:]) % 2]
        return "student", None

    def origin(self, name: str) -> Origin:
        """What is told of an encoder."""
        if name in self.placebos:
            return Origin(family="k") if self.kind.looks == "family" else Origin()
        is_told = self.kind.is_told and name not in TEACHERS
        seed = int(name[1:] or 0) if name not in TEACHERS else None
        return (
            Origin(architecture="small", training="alike", training_seed=seed)
            if is_told
            else Origin()
        )


def student_names(kind: Kind) -> list[str]:
    """Names of the seeds of the recipe."""
    return ["s"] if kind.n_students == 1 else [f"s{i}" for i in range(kind.n_students)]


@dataclass(kw_only=True, eq=False)
class _Scene:
    """What all encoders of a world have before them."""

    rng: np.random.Generator
    kind: Kind
    cluster: np.ndarray
    label: np.ndarray
    difficulty: np.ndarray
    content: np.ndarray = field(init=False)
    loudness: np.ndarray = field(init=False)
    recipe: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.content, self.loudness, self.recipe = (self.factors(k) for k in (3, 1, 2))

    def factors(self, k: int = 2) -> np.ndarray:
        """Unit variance, half the cluster's and half the clip's `[clip, factor]`."""
        of_cluster = self.rng.normal(size=(self.cluster.max() + 1, k))[self.cluster]
        return np.asarray(
            np.sqrt(0.5) * (of_cluster + self.rng.normal(size=(len(self.cluster), k)))
        )

    def encoder(
        self,
        own: np.ndarray,
        *,
        is_student: bool = False,
        misheard: float = 0.2,
        side: float = 2.0,
        gain: float = 1.0,
        noise: float = 0.3,
        loudness: float = 0.0,
    ) -> np.ndarray:
        """An encoder's vectors `[clip, dim]`."""
        n, rng = len(self.label), self.rng
        wrong = (self.label + rng.integers(1, N_CLASSES, n)) % N_CLASSES
        is_wrong = rng.random(n) < np.minimum(1.0, self.difficulty * misheard / 0.2)
        heard = np.where(is_wrong, wrong, self.label)
        corners = side * (np.stack([heard % 2, heard // 2], axis=1) - 0.5)
        parts = [gain * np.exp(0.1 * rng.normal()) * self.content, corners, own]
        if loudness:
            parts.append(loudness * self.loudness)
        if is_student:
            parts.append(np.sqrt(0.5) * self.recipe)
        signal = np.column_stack(parts)
        size = max(signal.shape[1], self.kind.width)
        ears = np.linalg.qr(rng.normal(size=(size, size)))[0]
        x = signal @ ears[: signal.shape[1], : self.kind.width]
        x = x + noise * rng.normal(size=x.shape)
        if self.kind.has_rogue:
            x[:, rng.integers(self.kind.width)] += ROGUE_LENGTH * rng.normal(size=n)
        return np.asarray(x)


def make_world(kind: Kind, seed: int) -> InheritanceWorld:
    """A world of one kind, the same for the same arguments."""
    rng = np.random.default_rng([seed, zlib.crc32(repr(kind).encode())])
    cluster = np.repeat(np.arange(len(DOMAINS) * N_CLUSTERS), CLUSTER_SIZE)
    n = len(cluster)
    domain = np.asarray(DOMAINS)[cluster // N_CLUSTERS]
    scene = _Scene(
        rng=rng,
        kind=kind,
        cluster=cluster,
        label=rng.integers(N_CLASSES, size=n),
        difficulty=rng.beta(1, 4, size=n),
    )
    good = {
        "better": {"misheard": 0.02, "side": 3.0},
        "shortcut": {"loudness": 2.0},
        "all better": {"noise": 0.1},
    }.get(kind.looks, {})
    poor = {
        "less": {"noise": 0.9, "side": 1.0, "gain": 0.7, "misheard": 0.3},
        "all better": {"noise": 0.5},
    }.get(kind.looks, {})
    owns = {name: scene.factors() for name in TEACHERS}
    vectors = {name: scene.encoder(own, **good) for name, own in owns.items()}  # type: ignore[arg-type]
    share = np.where(domain == COPIED_PAIR[1], kind.copied, 0.0)[:, None]
    for name in student_names(kind):
        own = np.sqrt(share) * owns["t"] + np.sqrt(1 - share) * scene.factors()
        vectors[name] = scene.encoder(own, is_student=True, **good)  # type: ignore[arg-type]
    for i in range(kind.n_peers):
        vectors[f"p{i}"] = scene.encoder(scene.factors(), is_student=True, **poor)  # type: ignore[arg-type]
    common = scene.factors()
    for i in range(kind.n_placebos):
        own = scene.factors()
        if kind.looks.startswith("family"):
            own = np.sqrt(0.8) * common + np.sqrt(0.2) * own
        ears = {"noise": 0.5 * np.exp(0.1 * rng.normal())} if kind.looks == "all better" else {}
        vectors[f"q{i}"] = scene.encoder(own, **ears)
    clips = pd.DataFrame(
        {
            "clip_id": [f"c{i:03}" for i in range(n)],
            "domain": domain,
            "cluster_id": [f"k{i:02}" for i in cluster],
            "label": [f"class {i}" for i in scene.label],
            "loudness_db": scene.loudness[:, 0],
        }
    )
    return InheritanceWorld(kind=kind, clips=clips, vectors=vectors)


def task_rows() -> list[dict[str, str]]:
    """A task of each domain."""
    return [
        {
            "task": f"class-{name}",
            "label_column": "label",
            "domain": name,
            "group_column": "cluster_id",
            "metric": "accuracy",
        }
        for name in DOMAINS
    ]


def workspace_of(world: InheritanceWorld, folder: Path) -> Workspace:
    """A world in a workspace, in process."""
    workspace = Workspace.create(folder)
    columns = {n: world.clips[n].astype(str).tolist() for n in world.clips if n != "clip_id"}
    add_clips(workspace, columns)
    ids = np.arange(len(world.clips), dtype=np.int64)
    for name, vectors in world.vectors.items():
        role, domain = world.role(name)
        entry = record(name, role, domain, [vectors])
        entry = _with_origin(entry, world.origin(name))
        register_encoder(workspace, entry)
        append_vectors(workspace, entry, "mean", ids, {0: vectors.astype(np.float32)})
    homes = [(name, domain, 1) for name, domain in zip(TEACHERS, DOMAINS, strict=True)]
    for name in world.students:
        set_distillation(workspace, name, homes)
    set_tasks(workspace, task_rows())
    return workspace


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tasks:
    """What the panel asks a workspace for: the label columns of tasks."""

    def read(self, query: str, values: list[str] | None = None) -> pd.DataFrame:
        assert "label_column" in query, query
        return pd.DataFrame({"label_column": ["label"]})


def data_of(world: InheritanceWorld, domains: tuple[str, ...] = DOMAINS) -> DiagnosisData:
    """A world as ``load_diagnosis_data`` gives it, without a workspace: a store takes most time."""
    is_asked = world.clips.domain.isin(domains)
    clips = world.clips[is_asked].reset_index(drop=True)
    tasks, _ = possible_tasks([row for row in task_rows() if row["domain"] in domains], clips)
    others = {name: world.role(name) for name in (*TEACHERS, *world.peers, *world.placebos)}
    first, *group = world.students
    data = DiagnosisData(
        workspace=_Tasks(),  # type: ignore[arg-type]
        student=first,
        others_of_group=tuple(group),
        roles={
            name: EncoderRole(role="control" if name not in TEACHERS else role, domain=home)
            for name, (role, home) in others.items()
        },
        taught=dict.fromkeys(TEACHERS, ()),
        clips=clips,
        config=DiagnosisConfig(),
        warnings=[],
        are_controls_named=True,
        origins={name: world.origin(name) for name in world.vectors},
        _tasks=tasks,
    )
    data._layers.update({name: [0] for name in world.vectors})
    for name, vectors in world.vectors.items():
        data.sample._vectors[name, 0] = vectors[is_asked].astype(np.float32)
    return data


def designs_of(data: DiagnosisData, world: InheritanceWorld) -> dict[str, Design]:
    """Who stands in whose place, as ``design_for`` says it of a workspace with this world."""
    designs = {}
    for teacher, home in zip(TEACHERS, DOMAINS, strict=True):
        placebos = [q for q in world.placebos if world.peers or world.role(q)[1] == home]
        is_one = world.kind.looks == "family"
        n_families = 1 if is_one else len(placebos)
        designs[teacher] = Design(
            teacher=teacher,
            students=tuple(world.students),
            peers=tuple(world.peers),
            placebos=tuple(placebos),
            families=tuple(0 if is_one else i for i in range(len(placebos))),
            form=PEERS_AND_PLACEBOS if world.peers else PLACEBOS_ALONE,
            outsiders=tuple(name for name in TEACHERS if name != teacher),
            is_on_record=world.kind.is_told and bool(world.peers),
            reason="" if n_families >= MIN_FAMILIES else "too few families",
        )
    return designs


def write_world(world: InheritanceWorld, folder: Path) -> dict[str, Path]:
    """Files as somebody else would bring them, by role: clips, tasks, and Parquet of vectors."""
    files = {"clips": folder / "clips.csv", "tasks": folder / "tasks.csv"}
    world.clips.to_csv(files["clips"], index=False)
    pd.DataFrame(task_rows()).to_csv(files["tasks"], index=False)
    tables: dict[str, list[pa.Table]] = {}
    for name, vectors in world.vectors.items():
        role, domain = world.role(name)
        origin = world.origin(name)
        n, dim = vectors.shape
        flat = pa.array(vectors.astype(np.float32).ravel())
        table = pa.table(
            {
                "clip_id": world.clips.clip_id.tolist(),
                "encoder": [name] * n,
                "layer": pa.array([0] * n, pa.int32()),
                "vector": pa.FixedSizeListArray.from_arrays(flat, dim),
                "family": pa.array([origin.family] * n, pa.string()),
                "architecture": pa.array([origin.architecture] * n, pa.string()),
                "training": pa.array([origin.training] * n, pa.string()),
                "training_seed": pa.array([origin.training_seed] * n, pa.int64()),
                "teachers": pa.array(
                    [",".join(TEACHERS) if name in world.students else None] * n, pa.string()
                ),
            }
        )
        tables.setdefault("-".join(filter(None, (role, domain))), []).append(table)
    for key, parts in tables.items():
        files[key] = folder / f"{key}.parquet"
        pq.write_table(pa.concat_tables(parts), files[key])
    return files


def _with_origin(entry, origin):  # type: ignore[no-untyped-def]
    return replace(entry, spec=replace(entry.spec, origin=origin))
