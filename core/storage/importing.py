"""Audio into a workspace: files, folders and manifests.

Each file is decoded once, whole and in blocks, so that what is truncated, silent or
not finite is named here and not in the middle of an embedding run. Clips are added in
batches of one transaction each: a killed import has lost the batch in hand at most,
and the same command again adds the rest.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from usad_workbench.core.audio import AUDIO_SUFFIXES, scan_audio
from usad_workbench.core.csv_cells import as_meant
from usad_workbench.core.domains import with_settled_domains
from usad_workbench.core.errors import AudioError, ConfigError, UsadError
from usad_workbench.core.hashing import sha256_of_file
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.schema import CLIP_COLUMNS, quote
from usad_workbench.core.storage.tables import set_failures
from usad_workbench.core.storage.workspace import Workspace

UNKNOWN_DOMAIN = "unknown"
STEP = "import"
"""Under which the table ``failures`` keeps what an import could not use."""
BATCH_CLIPS = 256
MEASURED = frozenset({"path", "duration_s", "sample_rate_hz", "audio_sha256"})
"""Columns that come from the file itself, whatever a manifest says."""
RESERVED = frozenset({"segment_id", "start_s", "end_s", "x", "y", "score", "rank", "vector"})
"""Column names that the app and the other tables use beside a clip's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceClip:
    """A file to add, with what is known of it."""

    path: Path
    fields: Mapping[str, str] = field(default_factory=dict)
    """Values of the manifest's row: contract columns and metadata alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Something that could not be done, and why."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What an import did."""

    n_added: int
    n_copies: int
    """Of these, clips with the audio of another clip, under another path."""
    n_skipped: int
    """Already there, with the same content."""
    failed: list[Failure]


def find_sources(source: str | Path) -> list[SourceClip]:
    """The audio files behind one argument: a file, or every audio file under a folder.

    Raises:
        AudioError: nothing there, or a folder without audio files.
    """
    path = Path(source)
    if path.is_file():
        return [SourceClip(path=path)]
    if not path.is_dir():
        raise AudioError(f"{path} does not exist. Expected an audio file or a folder of them.")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if not found and any(path.rglob("*.arrow")):
        raise AudioError(
            f"{path} looks like a Hugging Face data set on disk, which cannot be imported yet. "
            "Write its audio to files and import those with a manifest."
        )
    if not found:
        raise AudioError(
            f"{path} is a folder without audio files. Expected files that end in "
            f"{', '.join(sorted(AUDIO_SUFFIXES))}."
        )
    return [SourceClip(path=p) for p in found]


def read_manifest(manifest: str | Path) -> list[SourceClip]:
    """The rows of a CSV with a column ``path``, relative to the CSV.

    Raises:
        ConfigError: no such file, or no column ``path``.
    """
    manifest = Path(manifest)
    if not manifest.is_file():
        raise ConfigError(f"{manifest} does not exist. Expected a CSV with a column 'path'.")
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "path" not in (reader.fieldnames or []):
                raise ConfigError(
                    f"{manifest} has the columns {reader.fieldnames}, expected 'path' among them."
                )
            rows = [{as_meant(k): as_meant(v) for k, v in row.items() if k and v} for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{manifest} is not a CSV in UTF-8: {error}. Export it again.") from error
    return [
        SourceClip(path=manifest.parent / row.pop("path", ""), fields=row)
        for row in map(dict, rows)
    ]


def import_clips(
    workspace: Workspace,
    sources: Sequence[SourceClip],
    *,
    domain: str | None = None,
    progress: Progress = no_progress,
) -> ImportReport:
    """Adds clips and their segments; what cannot be read is named and left out.

    A file that is there is skipped, whatever its clip id: the same path and audio twice would
    put one recording on both sides of a fold. A copy under another path is added, and counted.

    Args:
        workspace: Where to.
        sources: Files with their fields; ``domain``, ``dataset``, ``cluster_id``,
            ``label``, ``split`` and ``clip_id`` fill those columns, every other field
            becomes a column of its own.
        domain: For files whose fields name none.
        progress: Called after each file.
    """
    known = _Known.of(workspace)
    failed: dict[str, str] = {}
    n_added = n_copies = n_skipped = 0
    batch: list[dict[str, object]] = []
    for done, source in enumerate(sources, start=1):
        try:
            row = _describe(source, domain, workspace.folder)
            if known.has(row):
                n_skipped += 1
            else:
                n_copies += known.add(row)
                batch.append(row)
        except UsadError as error:
            failed[str(source.path)] = str(error)
        if len(batch) == BATCH_CLIPS:
            n_added += insert_clips(workspace, batch)
            batch = []
        progress(done, len(sources), "import")
    n_added += insert_clips(workspace, batch)
    _note_failures(workspace, sources, failed)
    return ImportReport(
        n_added=n_added,
        n_copies=n_copies,
        n_skipped=n_skipped,
        failed=[Failure(path=path, reason=reason) for path, reason in failed.items()],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """The clips that are there, those of this import included."""

    by_id: dict[str, str]
    """Hash of the audio by clip."""
    by_path: dict[str, str]
    """Clip by path."""
    digests: set[str]

    @staticmethod
    def of(workspace: Workspace) -> "_Known":
        stored = workspace.read("SELECT clip_id, path, audio_sha256 FROM clips")
        return _Known(
            by_id=dict(zip(stored.clip_id, stored.audio_sha256, strict=True)),
            by_path={
                path: clip_id
                for path, clip_id in zip(stored.path, stored.clip_id, strict=True)
                if path
            },
            digests=set(stored.audio_sha256.dropna()),
        )

    def has(self, row: Mapping[str, object]) -> bool:
        """Whether a clip is there: its id, or its file under another id.

        Raises:
            AudioError: the id belongs to other audio, or the file has changed.
        """
        clip_id, path, digest = (str(row[name]) for name in ("clip_id", "path", "audio_sha256"))
        if clip_id in self.by_id:
            if self.by_id[clip_id] != digest:
                raise AudioError(
                    f"The clip id {clip_id!r} is already taken by other audio. Give this clip "
                    "another id in the manifest."
                )
            return True
        if path not in self.by_path:
            return False
        if self.by_id[self.by_path[path]] != digest:
            raise AudioError(
                f"{path} has changed since it was imported as the clip {self.by_path[path]!r}. "
                "Expected the audio of then: put it back, or give the new audio a name of its own."
            )
        return True

    def add(self, row: Mapping[str, object]) -> bool:
        """Notes a clip; whether another one has its audio."""
        clip_id, path, digest = (str(row[name]) for name in ("clip_id", "path", "audio_sha256"))
        is_copy = digest in self.digests
        self.by_id[clip_id], self.by_path[path] = digest, clip_id
        self.digests.add(digest)
        return is_copy


def _note_failures(
    workspace: Workspace, sources: Sequence[SourceClip], failed: Mapping[str, str]
) -> None:
    """Keeps the failures for the page ``Data``, in place of what was said of these files before."""
    set_failures(
        workspace,
        STEP,
        {_stored_path(Path(path), workspace.folder): reason for path, reason in failed.items()},
        items={_stored_path(source.path, workspace.folder) for source in sources},
    )


def _describe(source: SourceClip, domain: str | None, folder: Path) -> dict[str, object]:
    """The row of ``clips`` for one file: read whole, checked, hashed."""
    path = source.path.resolve()
    info = scan_audio(path)
    digest = sha256_of_file(path)
    fields = {column_name(name): value for name, value in source.fields.items()}
    clip_id = fields.pop("clip_id", "") or f"{_slug(path.stem)}-{digest[:8]}"
    return {
        "domain": domain or UNKNOWN_DOMAIN,
        "dataset": path.parent.name,
        "cluster_id": clip_id,
        **fields,
        "clip_id": clip_id,
        "path": _stored_path(path, folder),
        "duration_s": info.duration_s,
        "sample_rate_hz": info.sample_rate_hz,
        "audio_sha256": digest,
    }


def _stored_path(path: Path, folder: Path) -> str:
    """A file as ``clips`` names it: relative where it lies in the workspace, else in full."""
    whole = path.resolve()
    return str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole)


def insert_clips(workspace: Workspace, rows: list[dict[str, object]]) -> int:
    """Adds clips and their segments in one transaction; returns how many were new.

    A clip without ``duration_s`` is one segment: it has no audio to cut.
    """
    if not rows:
        return 0
    rows = with_settled_domains(rows, workspace.read("SELECT DISTINCT domain FROM clips").domain)
    segmentation = workspace.segmentation
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    cuts = [
        (str(row["clip_id"]), start_s, end_s)
        for row in rows
        for start_s, end_s in segmentation.cut(float(str(row.get("duration_s") or 0.0)))
    ]
    segments = pa.table(
        {
            "clip_id": [c for c, _, _ in cuts],
            "start_s": [s for _, s, _ in cuts],
            "end_s": [e for _, _, e in cuts],
        }
    )
    columns = ", ".join(quote(name) for name in names)
    with workspace.database.write() as connection:
        for name in names:
            if name not in CLIP_COLUMNS:
                connection.execute(
                    f"ALTER TABLE clips ADD COLUMN IF NOT EXISTS {quote(name)} VARCHAR"
                )
        connection.register("new_clips", table)
        connection.register("new_segments", segments)
        connection.execute(
            "CREATE TEMP TABLE fresh AS SELECT clip_id FROM new_clips "
            "WHERE clip_id NOT IN (SELECT clip_id FROM clips)"
        )
        connection.execute(
            f"INSERT INTO clips ({columns}) SELECT {columns} FROM new_clips "
            "WHERE clip_id IN (SELECT clip_id FROM fresh)"
        )
        connection.execute(
            "INSERT INTO segments SELECT row_number() OVER () - 1 + "
            "(SELECT coalesce(max(segment_id) + 1, 0) FROM segments), clip_id, start_s, end_s, ? "
            "FROM new_segments WHERE clip_id IN (SELECT clip_id FROM fresh)",
            [segmentation.name],
        )
        added = connection.execute("SELECT count(*) FROM fresh").fetchone()
    return int(added[0]) if added else 0


def column_name(name: str) -> str:
    """The column that a manifest's field becomes; never one that means something else."""
    column = re.sub(r"\W+", "_", name.strip().lower()).strip("_") or "field"
    return f"meta_{column}" if column in RESERVED or column in MEASURED else column


def _slug(stem: str) -> str:
    """The part of a file name that is safe in any id.

    >>> _slug("<script>alert(1)</script> 01")
    'script-alert-1-script-01'
    """
    return re.sub(r"[^0-9A-Za-z_.]+", "-", stem).strip("-.")[:60] or "clip"
