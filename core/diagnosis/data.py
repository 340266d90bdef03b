"""What every panel is computed from: one student, its teachers and controls, the clips all have.

A panel reads vectors and labels here and nowhere else, so that a filter or a list of clips
(``where``, ``clip_ids``) holds for every number of a diagnosis.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from usad_workbench.core.arrays import Indices
from usad_workbench.core.diagnosis.clip_sample import ClipSample
from usad_workbench.core.diagnosis.doubts import (
    doubts,
    few_permutations,
    other_teachers,
    small_and_left_out,
    where_letters,
)
from usad_workbench.core.diagnosis.recipes import (
    ToldPeers,
    bystanders_of,
    checked_group,
    peers_as_told,
    told_origins,
)
from usad_workbench.core.diagnosis.rules import MIN_CLIPS, AssociationRule, Rules, shipped_rules
from usad_workbench.core.encoders.students import trained_student_spec
from usad_workbench.core.errors import (
    CheckpointError,
    ConfigError,
    DegenerateError,
    UnknownNameError,
)
from usad_workbench.core.evaluation.predictions import Predictions
from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.evaluation.testability import possible_tasks
from usad_workbench.core.models.spec import Origin
from usad_workbench.core.similarity import EncoderRole
from usad_workbench.core.similarity.collapsed import describe_collapse
from usad_workbench.core.storage.clip_vectors import ClipVectors, common_clips
from usad_workbench.core.storage.distillation import (
    has_teachers,
    record_teachers,
    recorded_teachers,
    taught_domains,
)
from usad_workbench.core.storage.joined_clusters import with_joined_clusters
from usad_workbench.core.storage.roles import encoder_roles
from usad_workbench.core.storage.unseen_domains import is_unseen
from usad_workbench.core.storage.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisConfig:
    """How the panels are computed; the defaults are those of the report."""

    seed: int = 0
    n_permutations: int = 200
    """Groeger et al. 2026 (arXiv:2602.14486) use 200."""
    k: int = 10
    """Neighbours per clip; Huh et al. 2024 (arXiv:2405.07987) use 10."""
    max_clips: int = 1000
    """Nulls and n × n measures take at most this many clips of a domain, in whole clusters."""
    max_domain_clips: int = 5000
    """All else that reads vectors takes at most this many clips of a domain, in whole clusters.
    What is read from stored predictions (mistakes, groups, routing) takes every clip."""
    layers: tuple[int, ...] = ()
    """Student layers of the panels that take few; a quarter, half, three quarters and all of
    the depth where empty."""
    where: str = ""
    """SQL condition on the columns of ``clips``."""
    clip_ids: tuple[str, ...] = ()
    """Only these clips, where not empty."""
    associations: tuple[AssociationRule, ...] = ()
    """Association tests beside the default ones."""
    rules: Rules = field(default_factory=shipped_rules)
    """Level and margin of every panel, and the excess that would matter."""

    def __post_init__(self) -> None:
        """Refuses what leaves no null.

        Raises:
            ConfigError: no permutation at all.
        """
        if self.n_permutations < 1:
            raise ConfigError(
                f"Found {self.n_permutations} permutations, expected at least 1: they are the null "
                f"that a similarity is held against. {self.enough_permutations} are the fewest "
                f"that can show p = {self.rules.alpha:g}, 200 are usual."
            )

    @property
    def enough_permutations(self) -> int:
        """With fewer no p-value, (1 + hits) / (1 + permutations), can be as low as alpha."""
        return max(1, math.ceil(1 / self.rules.alpha - 1e-9) - 1)


@dataclass(kw_only=True, eq=False)
class DiagnosisData:
    """Vectors, labels and roles of one diagnosis. Made by ``load_diagnosis_data``."""

    workspace: Workspace
    student: str
    """The first of ``group``: panels that take one student take this one."""
    roles: Mapping[str, EncoderRole]
    """Role and home domain of every encoder that takes part, to this student."""
    taught: Mapping[str, tuple[str, ...]]
    """Teacher to the domains that it taught on; empty: on all."""
    clips: pd.DataFrame
    """The clips that all encoders have, all columns, in the order of their ids."""
    config: DiagnosisConfig
    warnings: list[str]
    are_teachers_known: bool = True
    """Whether somebody said who taught the student; else the default roles stand in."""
    are_controls_named: bool = False
    """Whether the user chose the controls; else everybody else is one."""
    others_of_group: tuple[str, ...] = ()
    """Further seeds of the student's recipe: the claim is then about the recipe."""
    told_peers: tuple[str, ...] = ()
    """Students with all clips of which teachers, architecture and training were told, the latter
    two the student's, where the user named no controls: no other panel looks at them."""
    bystanders: tuple[str, ...] = ()
    """Encoders with all clips that no other panel looks at, as the user named the controls: they
    taught nobody here, and stand beside the teachers as placebos."""
    origins: Mapping[str, Origin] = field(default_factory=dict)
    """What was told of encoders that were made elsewhere."""
    once_taught: frozenset[str] = frozenset()
    """Encoders on record as teachers of the student that this diagnosis takes for none, unless
    the user named them as controls: in a teacher's place they are no yardstick."""
    collapsed: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """Layers of each encoder that are left out: their clips cannot be told apart."""
    _tasks: Sequence[Task] = ()
    _layers: dict[str, list[int]] = field(default_factory=dict)
    predictions: dict[str, Mapping[str, Predictions]] = field(default_factory=dict, init=False)
    """By task and encoder: what was read so far, for the next panel that asks
    (``predictions.task_predictions`` fills it). A copy on other clips begins without any."""

    @property
    def group(self) -> tuple[str, ...]:
        """The student, and the other seeds of its recipe."""
        return (self.student, *self.others_of_group)

    @property
    def teachers(self) -> list[str]:
        """Encoders that taught the student."""
        return [name for name, role in self.roles.items() if role.role == "teacher"]

    @property
    def controls(self) -> list[str]:
        """Encoders that did not, made for one domain or for any."""
        return [name for name, role in self.roles.items() if role.role == "control"]

    @property
    def baselines(self) -> list[str]:
        """What needs no training: statistics, untrained networks."""
        return [name for name, role in self.roles.items() if role.role == "baseline"]

    @property
    def encoders(self) -> list[str]:
        """The student first, then teachers, controls, baselines and other students."""
        order = ("teacher", "control", "baseline", "student")
        others = [n for role in order for n, r in self.roles.items() if r.role == role]
        return [self.student, *[name for name in others if name != self.student]]

    @property
    def everybody(self) -> list[str]:
        """Whoever this diagnosis looked at, those without a layer left too, each once."""
        beside = (*self.others_of_group, *self.told_peers, *self.bystanders, *self.collapsed)
        return list(dict.fromkeys([*self.encoders, *beside]))

    @property
    def domains(self) -> list[str]:
        """Domains with enough clips to be compared."""
        counts = self.clips.domain.value_counts()
        return sorted(str(name) for name in counts.index[counts >= MIN_CLIPS])

    def is_unseen(self, domain: str) -> bool:
        """Whether the student has teachers and none of them is of this domain."""
        homes = [self.roles[name].domain for name in self.teachers]
        return is_unseen(
            domain,
            homes,
            [domain_taught for name in self.teachers for domain_taught in self.taught[name]],
        )

    @cached_property
    def sample(self) -> ClipSample:
        """Which of ``clips`` stand for each domain; a copy on other clips draws its own."""
        return clip_sample(self.clips, self.config)

    def rows(self, domain: str) -> Indices:
        """Row numbers of a domain's clips, or of ``max_domain_clips`` in whole clusters."""
        return self.sample.of_domain(domain, self.config.max_domain_clips)

    def thinned_rows(self, domain: str) -> Indices:
        """Row numbers of at most ``max_clips`` clips of a domain, in whole clusters.

        The clips that n × n measures and nulls are computed on; the seed decides which.
        """
        return self.sample.of_domain(domain, self.config.max_clips)

    def rows_of_clips(self, clip_ids: Sequence[str]) -> Indices:
        """Row number of each clip.

        Raises:
            UnknownNameError: a clip that is not part of this diagnosis.
        """
        rows = pd.Index(self.clips.clip_id).get_indexer(list(clip_ids))
        if (rows < 0).any():
            missing = [clip_id for clip_id, row in zip(clip_ids, rows, strict=True) if row < 0]
            raise UnknownNameError(
                f"{len(missing)} clips are not part of this diagnosis, such as {missing[0]!r}. "
                "Choose clips that all encoders have."
            )
        return np.asarray(rows, dtype=np.intp)

    def tasks(self) -> list[Task]:
        """The workspace's tasks that can be asked of these clips; a warning names the others."""
        return list(self._tasks)

    def clusters(self, rows: Indices | None = None) -> list[str]:
        """Cluster id of each clip."""
        ids = self.clips.cluster_id.to_numpy()
        return [str(cluster_id) for cluster_id in (ids if rows is None else ids[rows])]

    def layers(self, encoder: str) -> list[int]:
        """Layers of an encoder that have vectors by which clips can be told apart."""
        out = self.collapsed.get(encoder, frozenset())
        return [layer for layer in self._stored(encoder) if layer not in out]

    def _stored(self, encoder: str) -> list[int]:
        if not self._layers:
            self._layers.update(stored_layers(self.workspace))
        return self._layers.get(encoder, [])

    @property
    def student_layers(self) -> list[int]:
        """The student layers that panels of few layers take."""
        present = self.layers(self.student)
        if self.config.layers:
            # A negative one counts from the encoder's end, stored or not, as everywhere.
            asked = [
                self.workspace.space(self.student, layer).layer for layer in self.config.layers
            ]
            missing = [layer for layer in asked if layer not in present]
            if missing:
                flat = set(missing) & self.collapsed.get(self.student, frozenset())
                why = " by which clips can be told apart" if flat else ""
                raise UnknownNameError(
                    f"{self.student} has no vectors of layer {missing[0]}{why}, expected one of "
                    f"{present}. Embed it with `usad embed --layers`, or name another with --layer."
                )
            return asked
        return sorted(
            {present[round(quarter * (len(present) - 1) / 4)] for quarter in (1, 2, 3, 4)}
        )

    def matching_layer(self, encoder: str, student_layer: int) -> int:
        """The layer of another encoder at the same relative depth as the student's.

        Distillation pairs layers by depth; no choice by the largest value, no winner's curse.
        """
        of_student, of_encoder = self._stored(self.student), self._stored(encoder)
        n_steps = len(of_student) - 1
        # One layer alone is a student's output, as of vectors made elsewhere: that of the others.
        depth = of_student.index(student_layer) / n_steps if n_steps else 1.0
        wanted = of_encoder[round(depth * (len(of_encoder) - 1))]
        return min(self.layers(encoder), key=lambda layer: abs(layer - wanted))

    def vectors(self, encoder: str, layer: int, rows: Indices | None = None) -> ClipVectors:
        """One vector per clip `[clip, dim]`, float32, in the order of ``clips``."""
        return self.sample.vectors(self.workspace, encoder, layer, rows)


def clip_sample(clips: pd.DataFrame, config: DiagnosisConfig) -> ClipSample:
    """The sample of these clips that the panels look at."""
    return ClipSample(clips, (config.max_domain_clips, config.max_clips), config.seed)


def _no_layer_left(student: str, flat_words: Sequence[str]) -> DegenerateError:
    of_student = [words for words in flat_words if words.startswith(f"{student} layer")]
    return DegenerateError(
        f"{student} has no layer left: {'; '.join(of_student)}. Expected vectors that differ. Embed "
        f"{student} again, or choose other clips with --where."
    )


def load_diagnosis_data(
    workspace: Workspace,
    student: str,
    *,
    teachers: Sequence[str] | None = None,
    controls: Sequence[str] | None = None,
    group: Sequence[str] = (),
    config: DiagnosisConfig | None = None,
) -> DiagnosisData:
    """Everything that the panels of one student are computed from.

    Args:
        workspace: Holds the embeddings.
        student: Who is diagnosed.
        teachers: Who taught it; where none, the table ``distillation``, into which goes what the
            student's checkpoint records; without either the encoders of that role, with a warning.
        controls: Who did not; where none, every other encoder but baselines, and students of
            which teachers, architecture and training are told, the latter two equal to this
            student's.
        group: Further students of the same recipe, with other seeds.
        config: Seed, sizes, selection.

    Raises:
        UnknownNameError: an encoder without embeddings in the workspace.
        ConfigError: a teacher that is a control too, or the student among either.
        DegenerateError: fewer clips than one domain needs.
    """
    config = config or DiagnosisConfig()
    _record_trained_student(workspace, student)
    are_known = teachers is not None or has_teachers(workspace, student)
    origins = told_origins(workspace)
    group = checked_group(workspace, origins, student, group)
    of_all = _roles(workspace, student, teachers, controls)
    roles = {name: role for name, role in of_all.items() if name not in group}
    for name in (student, *group, *roles):
        workspace.space_id(name, -1)
    clips, counts = _common(workspace, [student, *group, *roles], config)
    sample = clip_sample(clips, config)
    tasks, untested = possible_tasks(_task_rows(workspace), clips)
    record, named = recorded_teachers(workspace, student), {student, *group, *roles}
    told = ToldPeers()
    if controls is None:
        told = peers_as_told(workspace, origins, student, clips, named)
    bystanders = bystanders_of(workspace, clips, named, record)
    everybody = [student, *group, *roles, *told.names, *bystanders]
    collapsed, gone, flat_words = _collapsed(workspace, everybody, clips, sample, {student, *group})
    roles = {name: role for name, role in roles.items() if name not in gone}
    return DiagnosisData(
        workspace=workspace,
        student=student,
        roles=roles,
        taught=_taught(workspace, student, roles),
        clips=clips,
        config=config,
        are_teachers_known=are_known,
        are_controls_named=controls is not None,
        others_of_group=tuple(group),
        told_peers=tuple(name for name in told.names if name not in gone),
        bystanders=tuple(name for name in bystanders if name not in gone),
        origins=origins,
        once_taught=frozenset(record - set(teachers or record) - set(controls or ())),
        collapsed=collapsed,
        _tasks=tasks,
        warnings=[
            *doubts(workspace, student, are_known),
            *other_teachers(student, teachers, record),
            *few_permutations(
                config.n_permutations, config.enough_permutations, config.rules.alpha
            ),
            *small_and_left_out(counts),
            *sample.describe([str(name) for name, n in counts.items() if n >= MIN_CLIPS]),
            *flat_words,
            *where_letters(workspace, config.where),
            *told.warnings,
            *(f"task {name} is left out: {why}" for name, why in untested.items()),
        ],
    )


def _common(
    workspace: Workspace, encoders: Sequence[str], config: DiagnosisConfig
) -> "tuple[pd.DataFrame, pd.Series[int]]":
    """The chosen clips that all encoders have, and how many of each domain that was chosen.

    Raises:
        DegenerateError: fewer clips than one domain needs.
    """
    shared = common_clips(workspace, encoders)
    clips = workspace.clips(config.where or None)
    if config.clip_ids:
        clips = clips[clips.clip_id.isin(config.clip_ids)]
    chosen = clips.domain.unique()
    clips = clips[clips.clip_id.isin(shared.clip_id)]
    clips = with_joined_clusters(clips.reset_index(drop=True))
    if not (clips.domain.value_counts() >= MIN_CLIPS).any():
        letters = "".join(f" Note: {note}." for note in where_letters(workspace, config.where))
        raise DegenerateError(
            f"{len(clips)} clips are left that all encoders have, none of the domains has "
            f"{MIN_CLIPS}. Widen the filter, or embed more clips with every encoder.{letters}"
        )
    counts = clips.domain.value_counts()
    nowhere = [str(name) for name in chosen if name not in counts.index]
    return clips, pd.concat([counts, pd.Series(0, index=nowhere, dtype=counts.dtype)])


def _collapsed(
    workspace: Workspace,
    encoders: Sequence[str],
    clips: pd.DataFrame,
    sample: ClipSample,
    students: Collection[str],
) -> tuple[dict[str, frozenset[int]], set[str], list[str]]:
    """Layers without geometry in a domain that is diagnosed, who has no other, and warnings.

    Raises:
        DegenerateError: a student has no other layer.
    """
    counts = clips.domain.value_counts()
    domains = sorted(str(name) for name in counts.index[counts >= MIN_CLIPS])
    places = {d: np.flatnonzero((clips.domain == d).to_numpy()[sample.rows]) for d in domains}
    stored = stored_layers(workspace)
    collapsed: dict[str, frozenset[int]] = {}
    words = []
    with workspace.database.read():
        for name in dict.fromkeys(encoders):
            flat = set()
            for layer in stored[name]:
                x = sample.vectors(workspace, name, layer, sample.rows)
                how = {d: said for d, at in places.items() if (said := describe_collapse(x[at]))}
                if how:
                    flat.add(layer)
                    of_clips = ", ".join(f"all clips of {d} {said}" for d, said in how.items())
                    words.append(f"{name} layer {layer} has collapsed and is left out: {of_clips}")
            if flat:
                collapsed[name] = frozenset(flat)
    gone = {name for name, flat in collapsed.items() if flat >= set(stored[name])}
    for name in students:
        if name in gone:
            raise _no_layer_left(name, words)
    return collapsed, gone, words


def stored_layers(workspace: Workspace) -> dict[str, list[int]]:
    """The mean-pooled layers of each encoder that have vectors."""
    spaces = workspace.spaces("mean")
    return {
        str(name): [int(layer) for layer in rows.layer] for name, rows in spaces.groupby("encoder")
    }


def _task_rows(workspace: Workspace) -> list[dict[str, str]]:
    rows = workspace.read("SELECT * FROM tasks ORDER BY task").to_dict("records")
    return [{str(k): v for k, v in row.items()} for row in rows]


def _roles(
    workspace: Workspace,
    student: str,
    teachers: Sequence[str] | None,
    controls: Sequence[str] | None,
) -> dict[str, EncoderRole]:
    """Who takes part, with the role that it has to this student."""
    both = set(teachers or ()) & set(controls or ())
    asked = [*(teachers or ()), *(controls or ())]
    if both or student in asked:
        wrong = student if student in asked else min(both)
        raise ConfigError(
            f"{wrong} has two roles, expected one: the student, a teacher of it, or a control. "
            "Name it once."
        )
    present = workspace.embedded()
    known_roles = encoder_roles(workspace, student, teachers)
    for name in asked:
        if name not in known_roles:
            workspace.space_id(name, -1)
    roles = {}
    for name, role in known_roles.items():
        if name == student or name not in present:
            continue
        if controls is not None and name in controls:
            role = EncoderRole(role="control", domain=role.domain)
        elif controls is not None and role.role == "control":
            continue
        if role.role != "student":
            roles[name] = role
    return roles


def _record_trained_student(workspace: Workspace, student: str) -> None:
    """Records who taught a student of this program whose vectors are older than that record."""
    try:
        spec = trained_student_spec(student)
    except CheckpointError:  # the run is gone; its vectors are here
        return
    if spec is not None:
        record_teachers(workspace, student, spec.taught_by)


def _taught(
    workspace: Workspace, student: str, roles: Mapping[str, EncoderRole]
) -> dict[str, tuple[str, ...]]:
    record = taught_domains(workspace.read, student)
    return {
        name: () if None in record.get(name, {None}) else tuple(sorted(map(str, record[name])))
        for name, role in roles.items()
        if role.role == "teacher"
    }
