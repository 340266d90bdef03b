"""What is evaluated on tasks: encoders, and systems made of the teachers.

- teachers side by side, each block centred and scaled with the training fold's statistics;
- their mixture, the same on as many principal axes as the student has dims, each axis with its
  own variance (standardised axes read the unseen task of the demo at 0.45 instead of 0.52);
- the oracle domain router: the domain is known, and the specialist is the teacher that was
  best on folds within the training part of the task, so it is at least as fine as one
  specialist per domain;
- the learned domain router: a linear probe on the cheapest baseline says which teacher's
  home domain a clip is from, out of fold by cluster; a clip sent to another domain than its
  own gets the answer of that domain's teacher.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

import numpy as np

from usad_workbench.core.arrays import Indices
from usad_workbench.core.bias.routing import pca_mixture
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.evaluation.domain_router import LEARNED_ROUTER, Routes, learn_routes
from usad_workbench.core.probes.blocks import Features
from usad_workbench.core.storage.clip_vectors import ClipVectors, clip_vectors, common_clips
from usad_workbench.core.storage.told_recipes import told_recipes
from usad_workbench.core.storage.workspace import Workspace

CONCATENATION = "teachers-concatenated"
"""The name of all teachers' layers side by side."""
MIXTURE = "teachers-pca-mixture"
ORACLE_ROUTER = "oracle-domain-router"
ROUTERS = (ORACLE_ROUTER, LEARNED_ROUTER)
SYSTEMS = (CONCATENATION, MIXTURE, *ROUTERS)
DEPTHS = 4
"""Teachers together offer layers at 0, 1/4, 1/2, 3/4 and the whole of each depth."""

MAX_KEPT_BYTES = 10**9
"""Vectors of one system that are kept; its other layers are read each time they are asked for."""


@dataclass(kw_only=True, eq=False)
class TeacherPool:
    """The teachers of a workspace and what is made of them."""

    workspace: Workspace
    teachers: Sequence[str]
    homes: Mapping[str, str]
    """Home domain to its teacher, the first where there are several."""
    depths: Mapping[str, int]
    width: int
    """Dims of the student's last layer."""
    baseline: str | None
    _mixtures: dict[int, ClipVectors] = field(default_factory=dict)

    @cached_property
    def clip_ids(self) -> list[str]:
        """The clips that all teachers have."""
        return [str(one) for one in common_clips(self.workspace, list(self.teachers)).clip_id]

    def blocks(self, depth: int, clip_ids: Sequence[str]) -> list[ClipVectors]:
        """Each teacher's layer at one of the depths."""
        return [
            clip_vectors(self.workspace, name, round(depth * self.depths[name] / DEPTHS), clip_ids)
            for name in self.teachers
        ]

    def mixture(self, depth: int, clip_ids: Sequence[str]) -> ClipVectors:
        """The teachers' mixture at one of the depths, fitted on all clips they have."""
        if depth not in self._mixtures:
            whole = pca_mixture(self.blocks(depth, self.clip_ids), self.width)
            self._mixtures[depth] = whole.astype(np.float32)
        row_of = {clip_id: row for row, clip_id in enumerate(self.clip_ids)}
        return self._mixtures[depth][[row_of[clip_id] for clip_id in clip_ids]]

    @cached_property
    def routes(self) -> Routes:
        """The learned router's choice for every clip that its embedding has.

        Raises:
            ConfigError: no baseline to read, or fewer than two home domains.
        """
        return learn_routes(self.workspace, self.baseline, self.homes)


def teacher_pool(workspace: Workspace) -> TeacherPool:
    """The teachers that the table ``distillation`` names and that have embeddings."""
    present = workspace.embedded()
    rows = workspace.read("SELECT student, teacher FROM distillation ORDER BY stage, rowid")
    teachers = [name for name in dict.fromkeys(rows.teacher) if name in present]
    encoder_rows = workspace.encoders().set_index("encoder")
    homes: dict[str, str] = {}
    for name in teachers:
        home = encoder_rows.domain[name]
        if isinstance(home, str):
            homes.setdefault(home, name)
    students = [name for name in rows.student if name in present]
    width = int(encoder_rows.dims[students[0]][-1]) if students else 0
    plain = encoder_rows[(encoder_rows.role == "baseline") & encoder_rows.index.isin(present)]
    baselines = plain.sort_values(["n_params", "n_layers"], kind="stable").index.tolist()
    return TeacherPool(
        workspace=workspace,
        teachers=teachers,
        homes=homes,
        width=width,
        depths={name: int(encoder_rows.n_layers[name]) for name in teachers},
        baseline=str(baselines[0]) if baselines else None,
    )


def system_names(pool: TeacherPool, asked: Sequence[str] | None, against: str | None) -> list[str]:
    """What is evaluated: what was asked for, or every encoder and every system there can be.

    Of students that were told to be of one recipe the first stands for all (``left_out``). Routers are made of their teachers' predictions, so these come first.

    Raises:
        UnknownNameError: an encoder without embeddings, or a system without two teachers.
    """
    if asked:
        names = list(asked)
    else:
        others = left_out(pool.workspace)
        present = [name for name in pool.workspace.embedded() if name not in others]
        names = [*present, *_possible(pool)]
    if against and against not in names:
        names.append(against)
    for name in names:
        if name not in SYSTEMS:
            pool.workspace.space_id(name, -1)
        elif name not in _possible(pool):
            raise UnknownNameError(
                f"{name} cannot be made of the teachers {list(pool.teachers)}: it takes two that "
                "the table `distillation` names, a mixture a student, a learned router a baseline. "
                "Embed them, or leave it out."
            )
    needed = pool.teachers if set(ROUTERS) & set(names) else []
    plain = [name for name in dict.fromkeys([*names, *needed]) if name not in ROUTERS]
    return [*plain, *(name for name in ROUTERS if name in names)]


def left_out(workspace: Workspace) -> list[str]:
    """Students that are evaluated only where they are named: all but the first of a told recipe.

    Panels read the predictions of the first alone, and a family has dozens of them.
    """
    return [name for recipe in told_recipes(workspace) for name in recipe.students[1:]]


def _possible(pool: TeacherPool) -> list[str]:
    if len(pool.teachers) < 2:
        return []
    return [
        CONCATENATION,
        *([MIXTURE] if pool.width else []),
        ORACLE_ROUTER,
        *([LEARNED_ROUTER] if pool.baseline and len(pool.homes) > 1 else []),
    ]


class Candidates(Mapping[int, list[ClipVectors]]):
    """Every layer of one encoder, or the teachers together at the same relative depths.

    Layer (of the first block) to its blocks, each `[clip, dim]`. As many as fit into
    ``MAX_KEPT_BYTES`` are read at once and kept.
    """

    def __init__(self, pool: TeacherPool, system: str, clip_ids: Sequence[str]) -> None:
        """Reads the layers that are kept."""
        self._pool, self._system, self._clip_ids = pool, system, clip_ids
        self.is_several = system in (CONCATENATION, MIXTURE)
        self._kept: dict[int, list[ClipVectors]] = {}
        n_bytes = 0
        with pool.workspace.database.read():
            layers = range(DEPTHS + 1) if self.is_several else pool.workspace.layers(system)
            self._layers = list(layers)
            for layer in self._layers:
                blocks = self._read(layer)
                n_bytes += sum(block.nbytes for block in blocks)
                if n_bytes > MAX_KEPT_BYTES:
                    break
                self._kept[layer] = blocks

    def __iter__(self) -> Iterator[int]:
        """Layers in rising order."""
        return iter(self._layers)

    def __len__(self) -> int:
        """How many layers there are to choose from."""
        return len(self._layers)

    def __getitem__(self, layer: int) -> list[ClipVectors]:
        """The blocks of one layer."""
        return self._kept[layer] if layer in self._kept else self._read(layer)

    def _read(self, layer: int) -> list[ClipVectors]:
        if self._system == CONCATENATION:
            return self._pool.blocks(layer, self._clip_ids)
        if self._system == MIXTURE:
            return [self._pool.mixture(layer, self._clip_ids)]
        return [clip_vectors(self._pool.workspace, self._system, layer, self._clip_ids)]


class TaskLayers(Sequence[Features]):
    """The candidates on the clips of one task, in their order: a layer is cut when asked for."""

    def __init__(self, layers: Candidates, rows: Indices | None, n_times: int = 1) -> None:
        """Takes the candidates.

        Args:
            layers: Of one system.
            rows: Row numbers of the task's clips; every clip where none.
            n_times: How often all layers stand in the list.
        """
        self._candidates, self._rows = layers, rows
        self.layers = list(layers) * n_times

    def __len__(self) -> int:
        """How many layers the list has."""
        return len(self.layers)

    @overload
    def __getitem__(self, position: int) -> Features: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Features]: ...
    def __getitem__(self, position: int | slice) -> Features | Sequence[Features]:
        """One layer `[clip, dim]`, or blocks whose dims keep their variances, as of a mixture."""
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        blocks = self.blocks(position)
        return blocks if self._candidates.is_several else blocks[0]

    def blocks(self, position: int) -> list[ClipVectors]:
        """The blocks of one layer on the task's clips."""
        blocks = self._candidates[self.layers[position]]
        return blocks if self._rows is None else [block[self._rows] for block in blocks]
