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
from usad_workbench.core.errors import AudioError, ConfigError, UsadError
from usad_workbench.core.hashing import sha256_of_file
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.schema import CLIP_COLUMNS, quote
from usad_workbench.core.storage.workspace import Workspace

UNKNOWN_DOMAIN = "unknown"
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
            rows = [{k: v for k, v in row.items() if k and v} for row in reader]
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

    Args:
        workspace: Where to.
        sources: Files with their fields; ``domain``, ``dataset``, ``cluster_id``,
            ``label``, ``split`` and ``clip_id`` fill those columns, every other field
            becomes a column of its own.
        domain: For files whose fields name none.
        progress: Called after each file.
    """
    stored = workspace.sql("SELECT clip_id, audio_sha256 FROM clips")
    known = dict(zip(stored.clip_id, stored.audio_sha256, strict=True))
    failed: list[Failure] = []
    n_added = n_skipped = 0
    batch: list[dict[str, object]] = []
    for done, source in enumerate(sources, start=1):
        try:
            row = _describe(source, domain, workspace.folder)
            if _is_new(row, known):
                batch.append(row)
            else:
                n_skipped += 1
        except UsadError as error:
            failed.append(Failure(path=str(source.path), reason=str(error)))
        if len(batch) == BATCH_CLIPS:
            n_added += insert_clips(workspace, batch)
            batch = []
        progress(done, len(sources), "import")
    n_added += insert_clips(workspace, batch)
    return ImportReport(n_added=n_added, n_skipped=n_skipped, failed=failed)


def _is_new(row: Mapping[str, object], known: dict[str, str]) -> bool:
    """Whether a clip is to be added; notes it as known."""
    clip_id, digest = str(row["clip_id"]), str(row["audio_sha256"])
    if clip_id not in known:
        known[clip_id] = digest
        return True
    if known[clip_id] != digest:
        raise AudioError(
            f"The clip id {clip_id!r} is already taken by other audio. Give this clip another "
            "id in the manifest."
        )
    return False


def _describe(source: SourceClip, domain: str | None, folder: Path) -> dict[str, object]:
    """The row of ``clips`` for one file: read whole, checked, hashed."""
    path = source.path.resolve()
    info = scan_audio(path)
    digest = sha256_of_file(path)
    fields = {column_name(name): value for name, value in source.fields.items()}
    clip_id = fields.pop("clip_id", "") or f"{_slug(path.stem)}-{digest[:8]}"
    inside = path.is_relative_to(folder)
    return {
        "domain": domain or UNKNOWN_DOMAIN,
        "dataset": path.parent.name,
        "cluster_id": clip_id,
        **fields,
        "clip_id": clip_id,
        "path": str(path.relative_to(folder) if inside else path),
        "duration_s": info.duration_s,
        "sample_rate_hz": info.sample_rate_hz,
        "audio_sha256": digest,
    }


def insert_clips(workspace: Workspace, rows: list[dict[str, object]]) -> int:
    """Adds clips and their segments in one transaction; returns how many were new.

    A clip without ``duration_s`` is one segment: it has no audio to cut.
    """
    if not rows:
        return 0
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
