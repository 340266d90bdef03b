"""Index files: which one belongs to the vectors of a space, and what killed commands left.

Beside the database lies ``indexes/space_<id>-<hash>.faiss``, named after its own content and
never written again; the table ``indexes`` says which file is a space's, its hash, and the
digest of the vectors that it was built from. A file is used where both still hold. It takes
its name in the transaction that notes it, so a file that no row names belongs to no living
command: the next ``usad index`` removes it.

A file is mapped into memory, and hashed only where its size, time or inode are not those of
when it was written: a search of a million vectors does not read 400 MB first. ``usad check``
hashes it in any case.
"""

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from usad_workbench.core.errors import (
    DamagedFileError,
    MissingExtraError,
    StoreError,
    wrap_errors,
)
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.locks import abandoned, claimed
from usad_workbench.core.metrics import check_metric
from usad_workbench.core.storage.index_records import (
    IndexRecord,
    index_record,
    listed_index_files,
    note_index,
)
from usad_workbench.core.storage.leftovers import INDEXES, remove_unnamed_files
from usad_workbench.core.storage.workspace import Space, Workspace
from usad_workbench.indexes.building import Built, Settings
from usad_workbench.indexes.faiss_index import VectorIndex

Stamp = tuple[int, int, int]
"""Size, time and inode of a file."""
FOLDER = INDEXES
_WORK = "index"
_MAX_OPEN = 16
"""Mapped files: what is not read takes no memory."""
_open: OrderedDict[tuple[Path, str, Stamp | None], VectorIndex] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """The index of a space, or why there is none to rely on."""

    index: VectorIndex | None = None
    settings: Settings | None = None
    """What was chosen for it and why."""
    path: Path | None = None
    bytes: int = 0
    digest: str | None = None
    """The digest of the vectors that it was built from."""
    problem: str = ""
    """What is wrong with the index that the workspace lists; empty where none is listed too."""
    is_behind: bool = False
    """Whether the file is sound, and of other vectors than are stored now."""


def index_file(workspace: Workspace, space_id: int) -> Path | None:
    """The file that the workspace lists as the index of a space."""
    record = index_record(workspace, space_id)
    return None if record is None else _path(workspace, record.file)


def open_index(workspace: Workspace, space: Space, *, is_hashed: bool = False) -> Opened:
    """The index of a space if it was built from just these vectors and its file is unchanged.

    A file is opened once a process, until its size, time or inode changes.

    Args:
        workspace: Lists the file.
        space: What ``Workspace.space`` gives.
        is_hashed: Whether to read the whole file and compare its hash, stamp or no stamp.

    Returns:
        The index, or why there is none to rely on.

    Raises:
        StoreError: the workspace cannot be read; a damaged index file is no error.
    """
    record = index_record(workspace, space.space_id)
    if record is None:
        return Opened()
    name = f"The index of {space.encoder} layer {space.layer} ({space.pooling})"
    path = _path(workspace, record.file)
    if not path.is_file():
        return Opened(problem=f"{name} is missing: there is no {FOLDER}/{path.name}.")
    try:
        settings = None if record.settings is None else Settings.from_json(record.settings)
        with wrap_errors(path):
            index = _read(path, record, settings, is_hashed=is_hashed)
    except (StoreError, OSError, DamagedFileError, MissingExtraError) as error:
        return Opened(problem=f"{name} cannot be used: {error}")
    opened = Opened(
        index=index,
        settings=settings,
        path=path,
        bytes=record.bytes,
        digest=record.vectors_digest,
    )
    problem = _why_behind(record, settings, space, len(index))
    return replace(opened, is_behind=True, problem=f"{name} {problem}") if problem else opened


def _why_behind(record: IndexRecord, settings: Settings | None, space: Space, n: int) -> str:
    if space.digest is None or record.vectors_digest is None:
        return "is behind: it was built by a version that did not note from which vectors."
    if record.vectors_digest != space.digest:
        return (
            f"is behind: it was built from other vectors than are stored now ({n:,}, now "
            f"{space.n:,})."
        )
    if settings is None and record.kind != "flat":
        return "is behind: it was built by a version that did not measure how much to read of it."
    return ""


def save_index(workspace: Workspace, space: Space, built: Built) -> Path | None:
    """Writes the index of a space and notes it; none where its vectors have changed meanwhile.

    Raises:
        FileError: a folder that cannot be written.
    """
    folder = workspace.folder / FOLDER
    with wrap_errors(folder):
        folder.mkdir(exist_ok=True)
        with claimed(folder, _WORK) as name:
            part = _part(folder, name)
            built.index.save(part)
            sha256 = sha256_of_file(part)
            path = folder / f"space_{space.space_id}-{sha256[:12]}.faiss"
            is_noted = _note(workspace, space, built, part, path, sha256)
            part.unlink(missing_ok=True)
    return path if is_noted else None


def clear_leftovers(workspace: Workspace) -> None:
    """Removes files that no row names, and parts whose command has ended."""
    folder = workspace.folder / FOLDER
    if not folder.is_dir():
        return
    with wrap_errors(folder):
        with abandoned(folder, _WORK) as names:
            for name in names:
                _part(folder, name).unlink(missing_ok=True)
        for part in folder.glob("space_*.part"):  # of versions that claimed nothing
            part.unlink(missing_ok=True)
        remove_unnamed_files(workspace.database)


def unnamed_files(workspace: Workspace) -> list[str]:
    """Index files that belong to no space."""
    named = {_path(workspace, file) for file in listed_index_files(workspace)}
    folder = workspace.folder / FOLDER
    return [f"{FOLDER}/{p.name}" for p in sorted(folder.glob("*.faiss")) if p not in named]


def _note(
    workspace: Workspace, space: Space, built: Built, part: Path, path: Path, sha256: str
) -> bool:
    settings = replace(built.settings, file_stamp=stamp_of(part))  # it keeps these when renamed
    record = IndexRecord(
        space_id=space.space_id,
        kind=built.index.kind,
        n=len(built.index),
        file=f"{FOLDER}/{path.name}",
        file_sha256=sha256,
        recall_at_10=math.nan,
        ms_per_query=math.nan,
        bytes=part.stat().st_size,
        vectors_digest=space.digest,
        metric=built.index.metric,
        settings=settings.to_json(),
    )
    old = note_index(workspace, space, record, lambda: os.replace(part, path))
    if old is None:
        return False
    for file in old:
        if _path(workspace, file) != path:
            with suppress(OSError):  # somebody else has removed it, or will
                _path(workspace, file).unlink()
    return True


def stamp_of(path: str | Path) -> Stamp | None:
    """Size, time and inode of a file: what changes with its content; none where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def are_as_stamped(stamps: Iterable[tuple[str, Stamp | None]]) -> bool:
    """Whether each file still has the stamp that it had; none where it was not there.

    This is asked for every query: of a missing file in a way that raises no exception.
    """
    for path, stamp in stamps:
        if stamp is None:
            if os.access(path, os.F_OK):
                return False
        elif stamp_of(path) != stamp:
            return False
    return True


def _read(
    path: Path, record: IndexRecord, settings: Settings | None, *, is_hashed: bool
) -> VectorIndex:
    stamp = stamp_of(path)
    key = (path, record.file_sha256, stamp)
    with _lock:
        if key in _open and not is_hashed:
            _open.move_to_end(key)
            return _open[key]
        is_known = settings is not None and settings.file_stamp == stamp and not is_hashed
        if not is_known and sha256_of_file(path) != record.file_sha256:
            raise StoreError(f"{FOLDER}/{path.name} is not as it was written.")
        if key not in _open:
            metric = check_metric(record.metric or "cosine")
            effort = None if settings is None else settings.effort
            _open[key] = VectorIndex.load(path, record.kind, metric, effort)
        _open.move_to_end(key)
        while len(_open) > _MAX_OPEN:
            _open.popitem(last=False)
        return _open[key]


def _path(workspace: Workspace, file: str) -> Path:
    return workspace.folder / FOLDER / Path(file).name


def _part(folder: Path, name: str) -> Path:
    return folder / f".{name}.part"
