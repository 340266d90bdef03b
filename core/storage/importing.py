"""Audio into a workspace.

Each file is decoded once, whole and in blocks, so that what is truncated, silent or
not finite is named here and not in the middle of an embedding run. Several are decoded side by
side in threads, and taken in their order. Clips are added in
batches of one transaction each: a killed import has lost the batch in hand at most,
and the same command again adds the rest.

A clip is known by its id, its path and the hash of its file. One that is there keeps its
vectors: what a manifest says of it beyond what is stored is filled in, and where its file is
gone from the stored path and found at another, the path follows.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from usad_workbench.core.audio.reading import scan_audio
from usad_workbench.core.errors import AudioError, UsadError, printable, wrap_errors
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.parallel import ahead_in_threads
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.clip_fields import (
    MEASURED,
    UNKNOWN_DOMAIN,
    change_clips,
    columns_of,
    is_open,
    new_values,
    stored_clips,
)
from usad_workbench.core.storage.clip_rows import insert_clips
from usad_workbench.core.storage.failures import set_failures
from usad_workbench.core.storage.manifests import read_manifest
from usad_workbench.core.storage.segments import Segmentation
from usad_workbench.core.storage.slugs import readable_slug
from usad_workbench.core.storage.sources import SourceClip, as_on_disk, find_sources
from usad_workbench.core.storage.workspace import Workspace

__all__ = [
    "Failure",
    "ImportReport",
    "SourceClip",
    "find_sources",
    "import_clips",
    "insert_clips",
    "read_manifest",
]

STEP = "import"
"""The step under which ``failures`` keeps what an import could not use."""
BATCH_CLIPS = 1024
"""Between two commits: of short clips what two seconds decode."""
BATCH_S = 10.0
"""Or as much time, where clips are long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Something that could not be done, and why."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A clip whose sound another clip had before it."""

    clip_id: str
    of: str
    """The clip that was there first."""
    kind: str
    """``file``: equal bytes; ``samples``: equal sound in another file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What an import did."""

    n_added: int
    n_copies: int
    """Added clips whose audio another clip has under another path."""
    copies: list[Copy]
    """Which they are, and of which."""
    n_skipped: int
    """Already there, with the same content."""
    n_moved: int
    """Skipped clips whose file was found at a new path."""
    n_filled: int
    """Skipped clips that a manifest gave new values."""
    n_by_ffmpeg: int
    """Added clips that FFmpeg had to decode: libsndfile does not read them to their end."""
    failed: list[Failure]


def import_clips(
    workspace: Workspace,
    sources: Sequence[SourceClip],
    *,
    domain: str | None = None,
    update: bool = False,
    progress: Progress = no_progress,
) -> ImportReport:
    """Adds clips and their segments; what cannot be read is named and left out.

    A file that is there is skipped, whatever its clip id: the same path and audio twice would
    put one recording on both sides of a fold. A copy under another path is added, and counted.

    Args:
        workspace: Where to.
        sources: Files with their fields; ``domain``, ``dataset``, ``cluster_id``,
            ``label``, ``split`` and ``clip_id`` fill those columns, every other field
            becomes a column of its own. Several for one file are one, unless they contradict
            each other: that file is refused.
        domain: For files whose fields name none; of clips that are there as a field would be.
        update: Fields replace other values of clips that are there; without it, they fill in
            what is empty, and a contradiction is a failure.
        progress: Called after each file.
    """
    merged, n_again = _merged(sources)
    wanted = {name for source in merged for name in columns_of(source.fields)}
    job = _Import(
        workspace=workspace,
        segmentation=workspace.segmentation,
        domain=domain,
        update=update,
        n_skipped=n_again,
    )
    job.note(stored_clips(workspace, wanted))
    with closing(ahead_in_threads(job.describe, merged)) as described:
        for done, (source, found) in enumerate(described, start=1):
            try:
                with wrap_errors(source.path):
                    job.add(source, *found.result())
            except UsadError as error:
                reason = printable(str(error)).replace(printable(str(source.path)), source.name)
                job.failed.append(Failure(path=source.name, reason=reason))
            if job.is_full():
                job.flush()
            progress(done, len(merged), "import")
    job.flush()
    _note_failures(workspace, [source for source in merged if not source.fault], job.failed)
    return job.report()


def _merged(sources: Sequence[SourceClip]) -> tuple[list[SourceClip], int]:
    """One for each file, with the fields of all that name it, and how many were too many."""
    by_path: dict[str, SourceClip] = {}
    apart: list[SourceClip] = []
    for source in sources:
        if source.fault:
            apart.append(source)
            continue
        key = os.path.abspath(source.path)
        first = by_path.setdefault(key, source)
        if first is not source and not first.fault:
            by_path[key] = _merged_pair(first, source)
    merged = [*by_path.values(), *apart]
    return merged, len(sources) - len(merged)


def _merged_pair(first: SourceClip, other: SourceClip) -> SourceClip:
    clash = [name for name, value in other.fields.items() if first.fields.get(name, value) != value]
    if clash:
        return replace(
            first,
            fault=f"Several rows name this file, with different {', '.join(clash)}; expected one "
            "row a file. Parts of a file cannot have labels of their own yet: cut it into one "
            "file for each, or leave one row.",
        )
    return replace(first, fields={**first.fields, **other.fields})


@dataclass(kw_only=True, eq=False)
class _Import:
    """An import in progress: the clips that are there, those of this import included."""

    workspace: Workspace
    segmentation: Segmentation
    domain: str | None
    update: bool
    clips: dict[str, dict[str, object]] = field(default_factory=dict)
    """What is known of each clip, by its id."""
    by_path: dict[str, str] = field(default_factory=dict)
    by_digest: dict[str, list[str]] = field(default_factory=dict)
    by_samples: dict[str, str] = field(default_factory=dict)
    """The first clip of each sound."""
    batch: list[dict[str, object]] = field(default_factory=list)
    changes: dict[str, dict[str, str]] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    flushed_s: float = field(default_factory=time.monotonic)
    n_added: int = 0
    n_skipped: int = 0
    n_moved: int = 0
    n_filled: int = 0
    n_by_ffmpeg: int = 0

    def note(self, rows: Sequence[dict[str, object]]) -> None:
        """Notes clips."""
        for row in rows:
            clip_id = str(row["clip_id"])
            self.clips[clip_id] = row
            if row["path"]:
                self.by_path[str(row["path"])] = clip_id
            if row["audio_sha256"]:
                self.by_digest.setdefault(str(row["audio_sha256"]), []).append(clip_id)
            if row["samples_digest"]:
                self.by_samples.setdefault(str(row["samples_digest"]), clip_id)

    def describe(self, source: SourceClip) -> tuple[dict[str, object], str]:
        """What a file holds, read to its end; called in several threads.

        Raises:
            UsadError: a file that cannot be used.
        """
        if source.fault:
            raise AudioError(source.fault)
        return _describe(source, self.domain, self.workspace.folder)

    def add(self, source: SourceClip, row: dict[str, object], decoder: str) -> None:
        """Takes a file: as a new clip, or as one that is there.

        Raises:
            UsadError: a file that contradicts what is stored.
        """
        clip_id = self._existing(row, is_named="clip_id" in columns_of(source.fields))
        if clip_id is None:
            self.segmentation.cut(float(str(row["duration_s"])))  # as it will be: bounded
            self.n_by_ffmpeg += decoder == "FFmpeg"
            self._note_copy(row)
            self.note([row])
            self.batch.append(row)
        else:
            given = {"domain": self.domain} if self.domain else {}
            self._update(self.clips[clip_id], row, {**given, **columns_of(source.fields)})

    def _note_copy(self, row: Mapping[str, object]) -> None:
        clip_id, digest = str(row["clip_id"]), str(row["audio_sha256"])
        if digest in self.by_digest:
            first = self.by_digest[digest][0]
            self.copies.append(Copy(clip_id=clip_id, of=first, kind="file"))
        elif (first_one := self.by_samples.get(str(row["samples_digest"]))) is not None:
            self.copies.append(Copy(clip_id=clip_id, of=first_one, kind="samples"))

    def is_full(self) -> bool:
        """Whether what was taken is to be stored."""
        n = len(self.batch) + len(self.changes)
        return n >= BATCH_CLIPS or (n > 0 and time.monotonic() - self.flushed_s > BATCH_S)

    def _existing(self, row: Mapping[str, object], *, is_named: bool) -> str | None:
        """The clip that a file is; none where it is a new one.

        Raises:
            AudioError: its id belongs to other audio, or it has changed.
        """
        clip_id, path, digest = (str(row[name]) for name in ("clip_id", "path", "audio_sha256"))
        if clip_id in self.clips:
            if self.clips[clip_id]["audio_sha256"] != digest:
                raise AudioError(
                    f"The clip id {clip_id!r} is already taken by other audio. Give this clip "
                    "another id in the manifest."
                )
            return clip_id
        if path in self.by_path:
            known = self.by_path[path]
            if self.clips[known]["audio_sha256"] != digest:
                raise AudioError(
                    f"{path} has changed since it was imported as the clip {known!r}. Expected "
                    "the audio of then: put it back, or give the new audio a name of its own."
                )
            return known
        same = [] if is_named else self.by_digest.get(digest, [])
        return next((one for one in same if self._is_gone(self.clips[one])), None)

    def _is_gone(self, clip: Mapping[str, object]) -> bool:
        path = str(clip["path"] or "")
        return bool(path) and not os.path.lexists(self.workspace.audio_path(path))

    def _update(
        self, clip: dict[str, object], row: Mapping[str, object], fields: Mapping[str, str]
    ) -> None:
        """Gives a clip that is there what is new about it."""
        fields = {name: value for name, value in fields.items() if name != "clip_id"}
        new = new_values(clip, fields, self.update)
        self.n_skipped += 1
        self.n_filled += bool(new)
        if row["path"] != clip["path"] and self._is_gone(clip):
            self.n_moved += 1
            new["path"] = str(row["path"])
            self.by_path[new["path"]] = str(clip["clip_id"])
        if not clip["samples_digest"]:  # of an earlier version, which did not measure it
            new["samples_digest"] = str(row["samples_digest"])
        clip.update(new)
        if new and not any(clip is waiting for waiting in self.batch):
            self.changes.setdefault(str(clip["clip_id"]), {}).update(new)

    def flush(self) -> None:
        """Stores what was taken."""
        n_added = insert_clips(self.workspace, self.batch)
        self.n_added += n_added
        if n_added < len(self.batch):
            self._see_what_others_added(len(self.batch) - n_added)
        change_clips(self.workspace, self.changes)
        self.batch, self.changes = [], {}
        self.flushed_s = time.monotonic()

    def _see_what_others_added(self, n_there: int) -> None:
        """Counts clips that another import added in the meantime, and names what it has not."""
        n_failed = len(self.failed)
        wanted = {name for row in self.batch for name in row}
        there = {str(clip["clip_id"]): clip for clip in stored_clips(self.workspace, wanted)}
        for row in self.batch:
            clip = there[str(row["clip_id"])]
            said = {
                name: str(value)
                for name, value in row.items()
                if name not in MEASURED and not is_open(row, name)
            }
            if clip["audio_sha256"] != row["audio_sha256"] or new_values(clip, said, update=True):
                self.failed.append(
                    Failure(
                        path=str(row["path"]),
                        reason=f"Another import added the clip {row['clip_id']!r} in the meantime, "
                        "with other audio or values. Run the same command again: it compares them.",
                    )
                )
        self.n_skipped += n_there - (len(self.failed) - n_failed)

    def report(self) -> ImportReport:
        """What was done so far."""
        return ImportReport(
            n_added=self.n_added,
            n_copies=len(self.copies),
            copies=self.copies,
            n_skipped=self.n_skipped,
            n_moved=self.n_moved,
            n_filled=self.n_filled,
            n_by_ffmpeg=self.n_by_ffmpeg,
            failed=self.failed,
        )


def _note_failures(
    workspace: Workspace, sources: Sequence[SourceClip], failed: Sequence[Failure]
) -> None:
    """Keeps the failures for the page ``Data``, in place of what was said of these files before."""
    stored = {
        source.name: source.name if source.shown else _stored_path(source.path, workspace.folder)
        for source in sources
    }
    set_failures(
        workspace,
        STEP,
        {stored[failure.path]: failure.reason for failure in failed if failure.path in stored},
        items=set(stored.values()),
    )


def _describe(
    source: SourceClip, domain: str | None, folder: Path
) -> tuple[dict[str, object], str]:
    """The row of ``clips`` for one file, read whole, checked, hashed; and who decoded it."""
    for text in (str(source.path), *source.fields, *source.fields.values()):
        text.encode()  # what is not UTF-8 cannot be stored
    path = as_on_disk(source.path).resolve()
    info = scan_audio(path)
    digest = sha256_of_file(path)
    fields = columns_of(source.fields)
    clip_id = fields.pop("clip_id", "") or _clip_id(path, digest)
    row = {
        "domain": domain or UNKNOWN_DOMAIN,
        "dataset": path.parent.name,
        "cluster_id": clip_id,
        **fields,
        "clip_id": clip_id,
        "path": _stored_path(path, folder),
        "duration_s": info.duration_s,
        "sample_rate_hz": info.sample_rate_hz,
        "audio_sha256": digest,
        "samples_digest": info.samples_digest,
    }
    return row, info.decoder


def _clip_id(path: Path, digest: str) -> str:
    """A clip's id where none is given: its name and content; an unpacked file is named so already."""
    name, content = readable_slug(path.stem) or "clip", f"-{digest[:8]}"
    return name if content in name else name + content


def _stored_path(path: Path, folder: Path) -> str:
    """A file as ``clips`` names it: relative where it lies in the workspace, else in full."""
    try:
        whole = path.resolve()
    except (OSError, RuntimeError, ValueError):  # too long, a loop, a NUL
        whole = Path(os.path.abspath(path))
    return printable(str(whole.relative_to(folder) if whole.is_relative_to(folder) else whole))
