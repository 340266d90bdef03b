"""Worlds whose answer is known: students that copy, and students that only hear the same.

``make_world(seed, scenario)`` gives clips, tasks and encoders as arrays. Every encoder hears
the same clips through its own ears (a random orthonormal map, new in every layer), so all of
them are alike without any copying. A clip in a domain is the sum of

- content: 4 factors that every encoder hears, each at its own loudness exp(0.1 N(0, 1));
- a class: one of 4, of length 2, misheard with a probability that belongs to the clip (shared
  difficulty, 0.2 in the mean), by each encoder in its own way;
- a part of the encoder's own: 4 factors that nobody else has;
- the mean of the domain, the same for all (what pooled similarities fall for);
- noise, less in deeper layers.

Factors are half the cluster's (speaker effects) and half the clip's. Gender belongs to
clusters and is in no vector unless planted. Teachers ``a``, ``b``, ``c`` are specialists of
speech, sound and music in name only: a teacher and the controls of its home domain are
drawn alike, so they are exchangeable. The student ``s`` has all three as teachers on record.

What the suite must say, written before it was first run on these worlds:

=============  ====================================================  ========================
scenario       the student                                           expected
=============  ====================================================  ========================
mixture        0.6 of a's Gram matrix and 0.4 of b's in all domains  inherited: a and b in all
                                                                     domains; c in none.
                                                                     Attribution .6, .4, 0
errors         independent, but hears the class as a does on nine    errors: excess above 0
               of ten clips of every domain                          for a on all tasks; none
                                                                     for b and c. Similarity to
                                                                     a may exceed the controls'
                                                                     (the mistakes are in the
                                                                     vectors), to b and c not
independent    content and a part of its own                         nothing
gender         independent, with a direction of gender of length 3   gender is read from s, at
                                                                     chance from all others;
                                                                     nothing inherited
off-domain     has a's own part in sound and music, its own in       inherited: a in sound and
               speech, a's home                                      in music; not in speech,
                                                                     nothing of b and c
shared         independent; content of twice the variance for all,   nothing, although all
               and half of each teacher's own part is common to      similarities are high
               the teachers
=============  ====================================================  ========================

No domain is unseen, so general-or-mixture cannot be more than undecided, nor can falsified.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests.planted import add_clips, add_encoder
from usad_workbench.core.models.spec import Role
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace

SCENARIOS = ("mixture", "errors", "independent", "gender", "off-domain", "shared")
DOMAINS = ("speech", "sound", "music", "machines", "animals")
TEACHERS = ("a", "b", "c")
STUDENT = "s"
N_FACTORS, N_CLASSES = 4, 4
CLASS_LENGTH, GENDER_LENGTH, DOMAIN_LENGTH = 2.0, 3.0, 2.0
MISHEARD, COPIED_ERRORS = 0.2, 0.9
LOUDNESS_SPREAD = 0.1
WEIGHTS = {"a": 0.6, "b": 0.4, "c": 0.0}
"""Of the mixture."""

Cells = frozenset[tuple[str, str]]
"""(teacher, domain)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlantedEncoder:
    """Vectors per layer `[clip, dim]`, with what an import says about them."""

    role: Role
    domain: str | None
    layers: list[np.ndarray]


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What the suite must say; cells that are in neither set may go either way."""

    inherited: Cells
    not_inherited: Cells
    errors: Cells
    no_errors: Cells
    gender_in: frozenset[str]
    """Encoders from which gender can be read."""


@dataclass(frozen=True, kw_only=True, eq=False)
class World:
    """Clips, tasks, encoders, and what is true of the student."""

    clips: pd.DataFrame
    """``clip_id, domain, cluster_id, label, gender``."""
    tasks: list[dict[str, str]]
    encoders: Mapping[str, PlantedEncoder]
    expected: Expected


@dataclass(kw_only=True, eq=False)
class _Scene:
    """What all encoders of a world have before them."""

    rng: np.random.Generator
    domain: np.ndarray
    cluster: np.ndarray
    label: np.ndarray
    difficulty: np.ndarray
    gender: np.ndarray
    loudness: float
    dim: int
    n_layers: int
    content: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.content = self.factors()

    def factors(self) -> np.ndarray:
        """Unit variance, half the cluster's and half the clip's `[clip, factor]`."""
        of_cluster = self.rng.normal(size=(self.cluster.max() + 1, N_FACTORS))[self.cluster]
        of_clip = self.rng.normal(size=(len(self.cluster), N_FACTORS))
        return np.asarray(np.sqrt(0.5) * (of_cluster + of_clip))

    def heard(self) -> np.ndarray:
        """The class as one encoder hears it `[clip]`."""
        wrong = (self.label + self.rng.integers(1, N_CLASSES, len(self.label))) % N_CLASSES
        is_wrong = self.rng.random(len(self.label)) < self.difficulty
        return np.where(is_wrong, wrong, self.label)

    def layers(
        self, own: np.ndarray, heard: np.ndarray, *, gender_length: float = 0.0
    ) -> list[np.ndarray]:
        """An encoder's vectors, each layer with ears of its own `[clip, dim]`."""
        loudness = self.loudness * np.exp(LOUDNESS_SPREAD * self.rng.normal())
        signal = np.column_stack(
            [
                loudness * self.content,
                CLASS_LENGTH * np.eye(N_CLASSES)[heard],
                own,
                DOMAIN_LENGTH * np.eye(len(DOMAINS))[self.domain],
                gender_length * (self.gender - 0.5),
            ]
        )
        return [self._layer(signal, i) for i in range(self.n_layers + 1)]

    def _layer(self, signal: np.ndarray, number: int) -> np.ndarray:
        ears = np.linalg.qr(self.rng.normal(size=(self.dim, signal.shape[1])))[0].T
        noise = self.rng.normal(size=(len(signal), self.dim))
        # 0.6 in layer 0 down to 0.2 in the last.
        return np.asarray(signal @ ears + (0.6 - 0.4 * number / self.n_layers) * noise)


def make_world(
    seed: int,
    scenario: str,
    *,
    n_clips: int = 400,
    n_domains: int = 3,
    dim: int = 64,
    n_clusters: int = 40,
    n_controls: int = 6,
    n_layers: int = 2,
) -> World:
    """A world of one scenario, the same for the same arguments.

    Args:
        seed: Of everything.
        scenario: One of ``SCENARIOS``; the table above says what each holds.
        n_clips: In each domain.
        n_domains: Three with a teacher; those after them are unseen.
        dim: Width of every layer.
        n_clusters: Speakers in each domain.
        n_controls: Exchangeable with the teacher, for each teacher.
        n_layers: Depth; there is one layer more.
    """
    rng = np.random.default_rng([seed, SCENARIOS.index(scenario)])
    scene = _scene(rng, scenario, n_clips, n_domains, n_clusters, dim, n_layers)
    shared = scene.factors()
    owns, heards, encoders = {}, {}, {}
    for name, home in zip(TEACHERS, DOMAINS, strict=False):
        own = scene.factors()
        owns[name] = np.sqrt(0.5) * (own + shared) if scenario == "shared" else own
        heards[name] = scene.heard()
        layers = scene.layers(owns[name], heards[name])
        encoders[name] = PlantedEncoder(role="teacher", domain=home, layers=layers)
        for i in range(n_controls):
            layers = scene.layers(scene.factors(), scene.heard())
            control = PlantedEncoder(role="control", domain=home, layers=layers)
            encoders[f"{home}-control-{i}"] = control
    layers = _student(scene, scenario, owns, heards, encoders)
    encoders[STUDENT] = PlantedEncoder(role="student", domain=None, layers=layers)
    domains = [DOMAINS[i] for i in scene.domain]
    clips = pd.DataFrame(
        {
            "clip_id": [f"c{i:03}" for i in range(len(domains))],
            "domain": domains,
            "cluster_id": [f"k{i:03}" for i in scene.cluster],
            "label": [f"class {i}" for i in scene.label],
            "gender": np.where(scene.gender == 1, "f", "m"),
        }
    )
    tasks = [
        {
            "task": f"class-{name}",
            "label_column": "label",
            "domain": name,
            "group_column": "cluster_id",
            "metric": "accuracy",
        }
        for name in DOMAINS[:n_domains]
    ]
    expected = expected_of(scenario, DOMAINS[:n_domains])
    return World(clips=clips, tasks=tasks, encoders=encoders, expected=expected)


def expected_of(scenario: str, domains: tuple[str, ...]) -> Expected:
    """The table of this module for one scenario."""
    every = frozenset((teacher, domain) for teacher in TEACHERS for domain in domains)
    of_a = frozenset(cell for cell in every if cell[0] == "a")
    inherited, open_cells, errors = frozenset[tuple[str, str]](), frozenset(), frozenset()
    no_errors = every
    if scenario == "mixture":
        inherited = frozenset(cell for cell in every if WEIGHTS[cell[0]] > 0)
        errors, no_errors = frozenset(), frozenset()
    elif scenario == "errors":
        open_cells, errors, no_errors = of_a, of_a, every - of_a
    elif scenario == "off-domain":
        inherited = frozenset(cell for cell in of_a if cell[1] != DOMAINS[0])
    return Expected(
        inherited=inherited,
        not_inherited=every - inherited - open_cells,
        errors=errors,
        no_errors=no_errors,
        gender_in=frozenset({STUDENT} if scenario == "gender" else ()),
    )


def write_world(world: World, folder: Path) -> None:
    """Files as somebody else would bring them: ``clips.csv``, ``tasks.csv`` and Parquet.

    One Parquet file for each role and home domain, such as ``teacher-speech.parquet``.
    """
    world.clips.to_csv(folder / "clips.csv", index=False)
    pd.DataFrame(world.tasks).to_csv(folder / "tasks.csv", index=False)
    groups: dict[str, list[pa.Table]] = {}
    for name, one in world.encoders.items():
        for number, vectors in enumerate(one.layers):
            flat = pa.array(vectors.astype(np.float32).ravel())
            table = pa.table(
                {
                    "clip_id": world.clips.clip_id.tolist(),
                    "encoder": [name] * len(vectors),
                    "layer": pa.array([number] * len(vectors), pa.int32()),
                    "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
                }
            )
            groups.setdefault("-".join(filter(None, (one.role, one.domain))), []).append(table)
    for key, tables in groups.items():
        pq.write_table(pa.concat_tables(tables), folder / f"{key}.parquet")


def workspace_of(world: World, folder: Path) -> Workspace:
    """The same in process, without files."""
    workspace = Workspace.create(folder)
    columns = {name: world.clips[name].tolist() for name in world.clips if name != "clip_id"}
    add_clips(workspace, columns)
    for name, one in world.encoders.items():
        add_encoder(workspace, name, one.role, one.domain, one.layers)
    homes = [(name, world.encoders[name].domain, 1) for name in TEACHERS]
    set_distillation(workspace, STUDENT, homes)
    set_tasks(workspace, world.tasks)
    return workspace


def _scene(
    rng: np.random.Generator,
    scenario: str,
    n_clips: int,
    n_domains: int,
    n_clusters: int,
    dim: int,
    n_layers: int,
) -> _Scene:
    domain = np.repeat(np.arange(n_domains), n_clips)
    cluster = domain * n_clusters + np.tile(np.arange(n_clips) % n_clusters, n_domains)
    n = len(domain)
    gender = np.concatenate([rng.permutation(np.arange(n_clusters) % 2) for _ in range(n_domains)])
    return _Scene(
        rng=rng,
        domain=domain,
        cluster=cluster,
        label=rng.integers(N_CLASSES, size=n),
        difficulty=rng.beta(1, 1 / MISHEARD - 1, size=n),
        gender=gender[cluster],
        loudness=np.sqrt(2.0) if scenario == "shared" else 1.0,
        dim=dim,
        n_layers=n_layers,
    )


def _student(
    scene: _Scene,
    scenario: str,
    owns: Mapping[str, np.ndarray],
    heards: Mapping[str, np.ndarray],
    encoders: Mapping[str, PlantedEncoder],
) -> list[np.ndarray]:
    own, heard = scene.factors(), scene.heard()
    if scenario == "mixture":
        return [_mixture(scene, encoders, number) for number in range(scene.n_layers + 1)]
    if scenario == "errors":
        copies = scene.rng.random(len(heard)) < COPIED_ERRORS
        heard = np.where(copies, heards["a"], heard)
    if scenario == "off-domain":
        own = np.where((scene.domain == 0)[:, None], own, owns["a"])
    length = GENDER_LENGTH if scenario == "gender" else 0.0
    return scene.layers(own, heard, gender_length=length)


def _mixture(scene: _Scene, encoders: Mapping[str, PlantedEncoder], number: int) -> np.ndarray:
    """Teachers side by side, turned: its Gram matrix is the weighted sum of theirs."""
    parts = [np.sqrt(w) * encoders[t].layers[number] for t, w in WEIGHTS.items() if w > 0]
    beside = np.column_stack(parts)
    turn = np.linalg.qr(scene.rng.normal(size=(beside.shape[1], beside.shape[1])))[0]
    return np.asarray(beside @ turn)
