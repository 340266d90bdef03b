"""What is evaluated on tasks: encoders, and systems made of the teachers.

- teachers side by side, each block centred and scaled with the training fold's statistics;
- their mixture, the same on as many principal axes as the student has dims;
- the oracle domain router: the domain is known, and the specialist is the teacher that was
  best on folds within the training part of the task, so it is at least as fine as one
  specialist per domain;
- the learned domain router: a linear probe on the cheapest baseline says which teacher's
  home domain a clip is from, out of fold by cluster; a clip sent to another domain than its
  own gets the answer of that domain's teacher.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from usad_workbench.core.bias.routing import pca_mixture
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.evaluation.domain_router import LEARNED_ROUTER, Routes, learn_routes
from usad_workbench.core.storage.clip_vectors import ClipVectors, clip_vectors, common_clips
from usad_workbench.core.storage.workspace import Workspace

CONCATENATION = "teachers-concatenated"
"""The name of all teachers' layers side by side."""
MIXTURE = "teachers-pca-mixture"
ORACLE_ROUTER = "oracle-domain-router"
ROUTERS = (ORACLE_ROUTER, LEARNED_ROUTER)
SYSTEMS = (CONCATENATION, MIXTURE, *ROUTERS)
DEPTHS = 4
"""Teachers together offer layers at 0, 1/4, 1/2, 3/4 and the whole of each depth."""

Candidates = dict[int, list[ClipVectors]]
"""Layer (of the first block) to its blocks, each [clip, dim]."""


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

    Routers are made of their teachers' predictions, so these come first.

    Raises:
        UnknownNameError: an encoder without embeddings, or a system without two teachers.
    """
    names = list(asked) if asked else [*pool.workspace.embedded(), *_possible(pool)]
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


def _possible(pool: TeacherPool) -> list[str]:
    if len(pool.teachers) < 2:
        return []
    return [
        CONCATENATION,
        *([MIXTURE] if pool.width else []),
        ORACLE_ROUTER,
        *([LEARNED_ROUTER] if pool.baseline and len(pool.homes) > 1 else []),
    ]


def candidates(pool: TeacherPool, system: str, clip_ids: Sequence[str]) -> Candidates:
    """Every layer of one encoder, or the teachers together at the same relative depths."""
    if system == CONCATENATION:
        return {depth: pool.blocks(depth, clip_ids) for depth in range(DEPTHS + 1)}
    if system == MIXTURE:
        return {depth: [pool.mixture(depth, clip_ids)] for depth in range(DEPTHS + 1)}
    return {
        layer: [clip_vectors(pool.workspace, system, layer, clip_ids)]
        for layer in pool.workspace.layers(system)
    }
