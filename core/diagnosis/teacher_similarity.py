"""Fills ``teacher_similarity`` and what follows from it: the similarity panel.

Every layer of the student against every layer of every other encoder, domain by
domain, on the clips that all of them have. Controls and baselines are compared like
teachers and stand in the column ``teacher``, since a similarity alone says nothing:
the tables ``encoders`` and ``distillation`` say who is what.

The value of every clip stands in ``clip_teacher_similarity`` for the pair of layers that is
nearest by neighbours, of each encoder in each domain; ``neighbour_overlap`` gives those of any
other pair, as the pages do on a click. All pairs of 11 encoders took 396 rows a clip.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from usad_workbench.core.diagnosis.clip_sample import ClipSample
from usad_workbench.core.diagnosis.nearest import (
    SIMILARITIES,
    LazyMatrices,
    TeacherSimilarityRow,
    store_nearest_teachers,
)
from usad_workbench.core.diagnosis.rules import MIN_CLIPS, shipped_rules
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.similarity import (
    EncoderRole,
    LayerMatrix,
    Measure,
    benjamini_hochberg,
    layer_similarity,
    neighbour_overlap,
)
from usad_workbench.core.similarity.layers import describe_thinning
from usad_workbench.core.storage.clip_vectors import ClipVectors, common_clips
from usad_workbench.core.storage.roles import encoder_roles
from usad_workbench.core.storage.rows import select_rows, write_rows
from usad_workbench.core.storage.similarity_tables import replace_clip_similarities
from usad_workbench.core.storage.workspace import Workspace

ESTIMATORS = 2
"""Raised when a measure changes, so that stored similarities are computed anew. 2: CKA over clips
of different clusters."""
MEASURES: tuple[Measure, ...] = ("debiased_linear_cka", "mutual_knn")


@dataclass(frozen=True, kw_only=True, slots=True)
class SimilarityConfig:
    """How the panel is computed."""

    k: int = 10
    """Neighbours per clip of mutual k-NN; Huh et al. 2024 (arXiv:2405.07987) use 10."""
    n_permutations: int = 200
    """Groeger et al. 2026 (arXiv:2602.14486) use 200."""
    seed: int = 0
    alpha: float = field(default_factory=lambda: shipped_rules().alpha)
    """Level at which the statements say that a similarity stands out."""
    max_clips: int = 1000
    """Larger domains are thinned to whole clusters; 1,500 need 2 GB, 1,000 half of it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SimilarityReport:
    """The panel as it now stands in the workspace."""

    student: str
    encoders: list[str]
    domains: list[str]
    n_clips: int
    n_clusters: int
    n_computed: int
    """Pairs of encoder and domain that were not there yet."""
    warnings: list[str] = field(default_factory=list)


def compare_with_teachers(
    workspace: Workspace,
    student: str,
    *,
    roles: Mapping[str, EncoderRole] | None = None,
    config: SimilarityConfig | None = None,
    progress: Progress = no_progress,
) -> SimilarityReport:
    """Compares a student's layers with those of other encoders, domain by domain.

    Similarities that are in the workspace already, computed from the same vectors in the same
    way, are left as they are. What follows from them and from the roles, which teacher is
    nearest, is stated anew each time.

    Args:
        workspace: Holds the embeddings.
        student: Whose layers.
        roles: With whom, and what each of them is to the student; every encoder that has
            embeddings where none, with the roles of ``encoder_roles``.
        config: Neighbours, permutations, seed.
        progress: Called after each encoder and domain.

    Raises:
        UnknownNameError: an encoder without embeddings in the workspace.
    """
    config = config or SimilarityConfig()
    workspace.space_id(student, -1)
    if roles is None:
        present = workspace.embedded()
        known_roles = encoder_roles(workspace, student)
        roles = {name: role for name, role in known_roles.items() if name in present}
    names = [name for name in roles if name != student]
    for name in names:
        workspace.space_id(name, -1)
    clips = common_clips(workspace, [student, *names])
    counts = clips.domain.value_counts()
    domains = sorted(counts.index[counts >= MIN_CLIPS])
    job = _SimilarityJob(workspace, student, clips[clips.domain.isin(domains)], config)
    # A domain is computed for all encoders or for none: differences need both on one sample.
    stale = [domain for domain in domains if any(job.misses(name, domain) for name in names)]
    todo = [(name, domain) for name in names for domain in stale]
    keys = [(student, n, d, measure) for n in names for d in domains for measure in MEASURES]
    matrices = LazyMatrices(
        keys, lambda key: job.matrix(key[1], key[2], cast(Measure, key[3]), n_permutations=0)
    )
    for done, (name, domain) in enumerate(todo, start=1):
        for measure in MEASURES:
            matrices.keep((student, name, domain, measure), job.compare(name, domain, measure))
        progress(done, len(todo), f"compare {student}")
    if todo:
        correct_p_values(workspace, student)
    store_nearest_teachers(workspace, student, domains, matrices, roles, config.alpha)
    used = job.clips
    return SimilarityReport(
        student=student,
        encoders=names,
        domains=domains,
        n_clips=len(used),
        n_clusters=int(used.cluster_id.nunique()),
        n_computed=len(todo),
        warnings=describe_left_out(counts),
    )


def describe_left_out(counts: "pd.Series[int]") -> list[str]:
    """One warning that names all domains with too few clips, if there are any.

    >>> describe_left_out(pd.Series({"speech": 90, "birds": 3, "bats": 8}))
    ['birds (3 clips), bats (8 clips): fewer than 24 clips that all encoders have, left out']
    """
    small = [f"{domain} ({n} clips)" for domain, n in counts.items() if n < MIN_CLIPS]
    if not small:
        return []
    return [f"{', '.join(small)}: fewer than {MIN_CLIPS} clips that all encoders have, left out"]


class _SimilarityJob:
    """One student's panel: its clips, its vectors, and where rows go."""

    def __init__(
        self,
        workspace: Workspace,
        student: str,
        clips: pd.DataFrame,
        config: SimilarityConfig,
    ) -> None:
        self.workspace = workspace
        self.student = student
        self.clips = clips
        self._config = config
        self._clips_sha256 = hashlib.sha256(clips.to_csv(index=False).encode()).hexdigest()
        self._sample = ClipSample(clips, (config.max_clips,), config.seed)
        self._spaces = workspace.spaces()

    def misses(self, name: str, domain: str) -> bool:
        """Whether this pair has to be computed."""
        stored = self.workspace.read(
            "SELECT count(DISTINCT measure) AS n FROM teacher_similarity WHERE student = ? "
            "AND teacher = ? AND domain = ? AND fingerprint = ?",
            [self.student, name, domain, self._fingerprint(name)],
        )
        return int(stored.n[0]) < len(MEASURES)

    def matrix(
        self, name: str, domain: str, measure: Measure, *, n_permutations: int
    ) -> LayerMatrix:
        """One encoder's matrix in one domain; the permutations make its null and p-values."""
        rows = self._rows(domain)
        config = self._config
        matrix = layer_similarity(
            list(self._of(self.student, rows).values()),
            list(self._of(name, rows).values()),
            self.clips.cluster_id.to_numpy()[rows].tolist(),
            measure=measure,
            k=config.k,
            n_permutations=n_permutations,
            seed=config.seed,
            max_clips=len(rows),
        )
        thinned = describe_thinning(len(rows), int((self.clips.domain == domain).sum()))
        return replace(matrix, reason="; ".join(filter(None, (thinned, matrix.reason))))

    def compare(self, name: str, domain: str, measure: Measure) -> LayerMatrix:
        """Computes and stores one encoder's matrix in one domain."""
        matrix = self.matrix(name, domain, measure, n_permutations=self._config.n_permutations)
        student_layers, layers = self._layers(self.student), self._layers(name)
        stamp = self._fingerprint(name)
        table = similarity_rows(self.student, student_layers, name, layers, domain, matrix, stamp)
        key = {
            "student": self.student,
            "teacher": name,
            "domain": domain,
            "measure": measure,
        }
        with self.workspace.database.write() as connection:
            write_rows(connection, SIMILARITIES, TeacherSimilarityRow, table, key=key)
        if measure == "mutual_knn" and np.isfinite(matrix.values).any():
            i, j = matrix.best
            self._store_clips(name, domain, student_layers[i], layers[j])
        return matrix

    def _rows(self, domain: str) -> npt.NDArray[np.intp]:
        return self._sample.of_domain(domain, self._config.max_clips)

    def _store_clips(self, name: str, domain: str, student_layer: int, layer: int) -> None:
        """Per-clip neighbour overlap of the nearest layer pair, on the clips of its value."""
        rows = self._rows(domain)
        n = len(rows)
        columns = {
            "student": [self.student] * n,
            "student_layer": [student_layer] * n,
            "teacher": [name] * n,
            "teacher_layer": [layer] * n,
            "clip_id": self.clips.clip_id.to_numpy()[rows],
            "measure": ["mutual_knn"] * n,
            "value": neighbour_overlap(
                self._of(self.student, rows)[student_layer],
                self._of(name, rows)[layer],
                self._config.k,
                self.clips.cluster_id.to_numpy()[rows].tolist(),
            ),
        }
        replace_clip_similarities(
            self.workspace, pa.table(columns), student=self.student, teacher=name, domain=domain
        )

    def _fingerprint(self, name: str) -> str:
        """Names what a pair's values were computed from: vectors, clips, clusters, settings."""
        spaces = self._spaces[self._spaces.encoder.isin([self.student, name])]
        config = self._config
        made_from = [
            sorted(
                set(zip(spaces.encoder, spaces.weights_sha256, spaces.code_version, strict=True))
            ),
            [ESTIMATORS, config.k, config.n_permutations, config.seed, config.max_clips],
            self._clips_sha256,
        ]
        return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]

    def _of(self, name: str, rows: npt.NDArray[np.intp]) -> dict[int, ClipVectors]:
        """Vectors [clip, dim] of some rows of the sample, of every layer."""
        return {
            layer: self._sample.vectors(self.workspace, name, layer, rows)
            for layer in self._layers(name)
        }

    def _layers(self, name: str) -> list[int]:
        """The mean-pooled layers of an encoder, ascending."""
        is_own = (self._spaces.encoder == name) & (self._spaces.pooling == "mean")
        return sorted(int(layer) for layer in self._spaces.layer[is_own])


def similarity_rows(
    student: str,
    student_layers: Sequence[int],
    teacher: str,
    teacher_layers: Sequence[int],
    domain: str,
    matrix: LayerMatrix,
    fingerprint: str,
) -> list[TeacherSimilarityRow]:
    """Rows of ``teacher_similarity`` from one matrix, q-values not yet known."""
    return [
        TeacherSimilarityRow(
            student=student,
            student_layer=student_layer,
            teacher=teacher,
            teacher_layer=teacher_layer,
            domain=domain,
            measure=matrix.measure,
            value=float(matrix.values[i, j]),
            ci_low=float(matrix.ci_low[i, j]),
            ci_high=float(matrix.ci_high[i, j]),
            null_kind=matrix.null_kind,
            null_q95=float(matrix.null_q95[i, j]),
            p_value=float(matrix.p_value[i, j]),
            n_clips=matrix.n_clips,
            n_clusters=matrix.n_clusters,
            reason=matrix.reason,
            fingerprint=fingerprint,
        )
        for i, student_layer in enumerate(student_layers)
        for j, teacher_layer in enumerate(teacher_layers)
    ]


def correct_p_values(workspace: Workspace, student: str) -> None:
    """Writes q-values: Benjamini-Hochberg over the panel, measure by measure."""
    key = {"student": student}
    with workspace.database.write() as connection:
        rows = select_rows(connection, TeacherSimilarityRow, SIMILARITIES, key=key)
        write_rows(connection, SIMILARITIES, TeacherSimilarityRow, with_q_values(rows), key=key)


def with_q_values(rows: Sequence[TeacherSimilarityRow]) -> list[TeacherSimilarityRow]:
    """The rows with q-values over all of them, measure by measure, in their order."""
    corrected = list(rows)
    for measure in dict.fromkeys(row.measure for row in rows):
        indices = [i for i, row in enumerate(rows) if row.measure == measure]
        q = benjamini_hochberg(np.array([rows[i].p_value for i in indices], dtype=np.float64))
        for i, q_value in zip(indices, q.tolist(), strict=True):
            corrected[i] = replace(rows[i], q_value=q_value)
    return corrected
