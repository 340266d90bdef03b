"""Vectors that were made elsewhere, from Parquet: ``clip_id, encoder, layer, vector``.

A clip comes with all layers of its encoder or not at all. The weights of such an encoder are
not known: a hash of its vectors stands in their place, so that other vectors under the same name
are refused and the same ones skipped. What is refused is refused before anything is added.

Measured on 200,000 x 384, clips known, in processor seconds: 4.0 beside 2.9 of DuckDB's CREATE
TABLE AS from the same Parquet; 540 to 640 MB at the most. 1,000,000 x 384 with a table of their
clips, which are new: 23.7 beside 15.5 (0.66 x its rate), 912 MB. Clip by clip it was 44 (4,500 rows/s).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from dataclasses import replace as dataclass_replace
from pathlib import Path
from typing import Any, cast, get_args

import duckdb
import numpy as np
import pyarrow as pa

from usad_workbench.core.errors import ConfigError, UnknownNameError, did_you_mean
from usad_workbench.core.models.spec import EncoderSpec, Origin, Role
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.importing import Failure
from usad_workbench.core.storage.spaces import (
    EncoderRecord,
    check_provenance,
    register_encoder,
    replacing,
    stored_segments,
    take_place,
    unregister_encoder,
)
from usad_workbench.core.storage.vector_tables import EMPTY_DIGEST, digest_of, ids_of, together
from usad_workbench.core.storage.vector_writer import VectorWriter
from usad_workbench.core.storage.vectors_file import (
    content_of,
    faults_of,
    layer_widths,
    open_vectors,
    portions_of,
    rows_of,
    told_of_encoders,
)
from usad_workbench.core.storage.workspace import Workspace

COMMIT_BYTES = 32 << 20
"""So much is committed together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingsReport:
    """What an import of vectors did."""

    encoders: list[str]
    n_rows: int
    """Vectors that are new."""
    n_skipped: int
    """Vectors that were there already."""
    failed: list[Failure]
    n_clips_added: int = 0
    """What ``add_clips`` said."""


def import_embeddings(
    workspace: Workspace,
    source: str | Path,
    *,
    role: str,
    domain: str | None = None,
    teachers: Sequence[str] = (),
    origin: Origin | None = None,
    licence: str | None = None,
    replace: bool = False,
    add_clips: Callable[[], int] = lambda: 0,
    progress: Progress = no_progress,
) -> EmbeddingsReport:
    """Adds encoders whose vectors are in a Parquet file; one without a single good clip is not.

    Args:
        workspace: Its clips are those that the vectors belong to, one vector for each clip
            and layer; a clip must be one segment.
        source: The file.
        role: student, teacher, control or baseline.
        domain: Home domain of the encoders; any where none.
        teachers: Who taught the students of the file, in stage 1, each on its home domain.
        origin: Family, architecture and training of the encoders. What a column of the file of
            that name says (``teachers`` and ``licence`` too) holds for the encoder of its row.
        licence: Of the encoders and their vectors; "unknown" where nobody says.
        replace: Puts the file's vectors in the place of those that are stored, all at once when
            they are complete, and removes what was computed from the old ones. Where a clip
            that has a stored vector fails, the stored ones of its encoder stay, and this is
            said in ``failed``; clips that the file leaves out are the file's own choice.
        add_clips: Adds clips that the vectors belong to, and says how many; called once the file
            is known not to be refused, such as for other vectors that are stored.
        progress: Called after each block of clips, with how many are stored.

    Raises:
        ConfigError: no such file, missing columns, layers of several widths, another role, or
            a column that says another thing than an argument.
        UnknownNameError: a teacher that the workspace does not have.
        ProvenanceError: other vectors are stored under the name of an encoder, and they
            are not to be replaced.
    """
    check_origin(workspace, role, teachers)
    report = EmbeddingsReport(encoders=[], n_rows=0, n_skipped=0, failed=[])
    with open_vectors(Path(source)) as file:
        widths, told = layer_widths(file), told_of_encoders(file)
        said = {
            name: _said(name, origin or Origin(), teachers, licence, told.get(name, {}))
            for name in widths
        }
        taught = {name: check_origin(workspace, role, one.teachers) for name, one in said.items()}
        jobs = [
            _EncoderImport.begin(
                workspace, file, _spec(name, dims, cast(Role, role), domain, said[name])
            )
            for name, dims in widths.items()
        ]
        if not replace:
            for job in jobs:
                job.recognise(file)
                check_provenance(workspace, job.record)
        report = dataclass_replace(report, n_clips_added=add_clips())
        segments = _segments(workspace)
        for job in jobs:
            job.find_faults(file, segments)
            is_stored = (job.replace if replace else job.add)(file, progress)
            report.failed.extend(job.failed)
            if not is_stored:
                continue
            report.encoders.append(job.name)
            report = dataclass_replace(
                report,
                n_rows=report.n_rows + job.n_clips * len(job.dims),
                n_skipped=report.n_skipped + job.n_skipped * len(job.dims),
            )
            if taught[job.name] or role != "student":
                set_distillation(workspace, job.name, taught[job.name])
    return report


@dataclass(kw_only=True, eq=False)
class _EncoderImport:
    """The import of one encoder."""

    workspace: Workspace
    record: EncoderRecord
    dims: dict[int, int]
    not_finite: list[str]
    """Clips with a value that is not finite."""
    failed: list[Failure] = field(default_factory=list)
    n_clips: int = 0
    n_skipped: int = 0
    _failing: list[str] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        workspace: Workspace,
        file: duckdb.DuckDBPyConnection,
        spec: EncoderSpec,
    ) -> "_EncoderImport":
        """What is known of an encoder, and a hash of its vectors in the place of its weights."""
        content, not_finite = content_of(file, spec.name)
        record = EncoderRecord(spec=spec, weights_sha256=content)
        dims = {layer: dim for layer, dim in enumerate(spec.dims) if dim}
        return cls(workspace=workspace, record=record, dims=dims, not_finite=not_finite)

    @property
    def name(self) -> str:
        """The name of the encoder."""
        return self.record.spec.name

    def recognise(self, file: duckdb.DuckDBPyConnection) -> None:
        """Takes the stored hash for its own where it is one of before and the vectors are equal.

        Up to schema 2 a sorted file was hashed. What tells is the digest of the vectors that are
        stored: of an import that was killed those are a part of the file's.
        """
        spaces = self.workspace.spaces("mean")
        spaces = spaces[spaces.encoder == self.name]
        stored = set(spaces.weights_sha256)
        if not stored or stored == {self.record.weights_sha256} or any(spaces.sample_rate_hz):
            return
        if set(spaces.layer) != set(self.dims):  # clips of one layer more would pass as stored
            return
        file.register("workspace_segments", _segments(self.workspace))
        file.execute("CREATE OR REPLACE TABLE of_workspace AS SELECT * FROM workspace_segments")
        file.unregister("workspace_segments")
        with self.workspace.database.write() as connection:  # digests of today
            digests = dict(
                connection.execute(
                    "SELECT layer, digest FROM spaces WHERE encoder = ? AND pooling = 'mean'",
                    [self.name],
                ).fetchall()
            )
            ids = {
                int(space.layer): ids_of(connection, int(space.space_id))
                for space in spaces.itertuples()
            }
        found = dict.fromkeys(digests, EMPTY_DIGEST)
        for block, layers in rows_of(file, self.name, "JOIN of_workspace USING (clip_id)"):
            of_rows = block["segment_id"].to_numpy()
            for layer in layers.keys() & digests.keys():
                rows, vectors = layers[layer]
                is_stored = np.isin(of_rows[rows], ids[layer])
                part = digest_of(of_rows[rows][is_stored], vectors[is_stored])
                found[layer] = together(found[layer], part)
        if found == digests:
            self.record = dataclass_replace(self.record, weights_sha256=stored.pop())

    def find_faults(self, file: duckdb.DuckDBPyConnection, segments: pa.Table) -> None:
        """Names the clips that cannot be taken; the others are in ``good`` of the file then."""
        faults = faults_of(file, self.name, list(self.dims), segments, self.not_finite)
        self.failed += [
            Failure(path=f"{self.name}: {clip_id}", reason=reason) for clip_id, reason in faults
        ]
        self._failing = [clip_id for clip_id, _ in faults]

    def add(self, file: duckdb.DuckDBPyConnection, progress: Progress) -> bool:
        """Adds what is not stored yet; whether the workspace has any vector of it then.

        Transactions are seen as they come, like those of an encoder that is being embedded: a
        killed import goes on where it was, and ``usad check`` names what is missing.
        """
        register_encoder(self.workspace, self.record)
        self._run(file, progress, None)
        if len(stored_segments(self.workspace, self.name)):
            return True
        unregister_encoder(self.workspace, self.name)  # no trace of it is left then
        return False

    def replace(self, file: duckdb.DuckDBPyConnection, progress: Progress) -> bool:
        """Puts the file's vectors in the place of the stored ones; whether they took it."""
        with replacing(self.workspace) as run:
            self._run(file, progress, run)
            n_lost = self._count_lost()
            if n_lost:
                self.failed.append(
                    Failure(
                        path=self.name,
                        reason=f"{n_lost} clips that have stored vectors failed, so all stored "
                        "vectors stay. Mend these clips in the file, or leave them out of it.",
                    )
                )
            elif self.n_clips:
                take_place(self.workspace, self.record, run)
            return not n_lost and self.n_clips > 0

    def _count_lost(self) -> int:
        """How many segments of clips that failed have a stored vector."""
        if not self._failing:
            return 0
        failing = pa.array(self._failing, pa.string())
        with self.workspace.among(failing) as (connection, chosen):
            rows = connection.execute(
                f"SELECT segment_id FROM segments WHERE {chosen}"
            ).fetchnumpy()
        stored = stored_segments(self.workspace, self.name)
        return int(np.isin(rows["segment_id"], stored).sum())

    def _run(self, file: duckdb.DuckDBPyConnection, progress: Progress, run: str | None) -> None:
        """Adds the good clips that are not there yet."""
        ((total,),) = file.execute("SELECT count(*) FROM good").fetchall()
        stored = pa.table({"segment_id": stored_segments(self.workspace, self.name, run)})
        file.register("stored", stored)
        file.execute("DELETE FROM good WHERE segment_id IN (SELECT segment_id FROM stored)")
        file.unregister("stored")
        ((left,),) = file.execute("SELECT count(*) FROM good").fetchall()
        self.n_skipped = total - left
        if not left:
            return
        with VectorWriter(
            self.workspace, self.record, "mean", run, commit_bytes=COMMIT_BYTES
        ) as writer:
            for segment_ids, vectors in portions_of(file, self.name, self.dims):
                writer.add(segment_ids, vectors)
                self.n_clips += len(segment_ids)
                progress(self.n_skipped + writer.n_committed, total, f"import {self.name}")
        progress(self.n_skipped + self.n_clips, total, f"import {self.name}")


def check_origin(
    workspace: Workspace, role: str, teachers: Sequence[str]
) -> list[tuple[str, str | None, int]]:
    """Who taught encoders of a role: rows of (teacher, home domain, stage).

    Raises:
        ConfigError: another role, or teachers of one that is no student.
        UnknownNameError: a teacher that the workspace does not have.
    """
    if role not in get_args(Role):
        raise ConfigError(f"Found role {role!r}, expected one of {', '.join(get_args(Role))}.")
    if teachers and role != "student":
        raise ConfigError(f"Found teachers for a {role}, expected them for students only.")
    homes = dict(workspace.encoders()[["encoder", "domain"]].values.tolist())
    for name in teachers:
        if name not in homes:
            raise UnknownNameError(
                f"The workspace has no teacher {name!r}. {did_you_mean(name, homes)} Import the "
                "teachers before their students."
            )
    return [(name, homes[name] if isinstance(homes[name], str) else None, 1) for name in teachers]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Said:
    """What somebody says of an encoder."""

    origin: Origin
    teachers: Sequence[str]
    licence: str


def _said(
    encoder: str,
    origin: Origin,
    teachers: Sequence[str],
    licence: str | None,
    told: dict[str, Any],
) -> _Said:
    """What is said of an encoder by argument or by the columns of its file.

    Raises:
        ConfigError: one says another thing than the other.
    """
    by_argument = {name: value for name, value in asdict(origin).items() if value is not None}
    by_argument |= {"teachers": tuple(teachers)} if teachers else {}
    by_argument |= {"licence": licence} if licence else {}
    for name in by_argument.keys() & told.keys():
        if by_argument[name] != told[name]:
            raise ConfigError(
                f"Found {name} {by_argument[name]!r} for {encoder!r} beside {told[name]!r} in the "
                "file, expected it said once. Leave out the option or the column."
            )
    both = by_argument | told
    of_it, under = both.pop("teachers", ()), both.pop("licence", "unknown")
    return _Said(origin=Origin(**both), teachers=of_it, licence=under)


def _spec(
    encoder: str, dims: dict[int, int], role: Role, domain: str | None, said: _Said
) -> EncoderSpec:
    """What is known of an encoder; layers without vectors have width 0."""
    depth = max(dims)
    return EncoderSpec(
        name=encoder,
        role=role,
        domain=domain,
        n_layers=depth,
        dims=tuple(dims.get(layer, 0) for layer in range(depth + 1)),
        frame_rates_hz=(0.0,) * (depth + 1),
        sample_rate_hz=0,
        n_params=None,
        licence=said.licence,
        citation="imported vectors",
        origin=said.origin,
    )


def _segments(workspace: Workspace) -> pa.Table:
    with workspace.database.read() as connection:
        return connection.sql("SELECT segment_id, clip_id FROM segments").to_arrow_table()
