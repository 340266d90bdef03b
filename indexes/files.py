"""Index files: which one belongs to the vectors of a space, and what killed commands left.

Beside the database lies ``indexes/space_<id>-<hash>.faiss``, named after its own content and
never written again; the table ``indexes`` says which file is a space's, its hash, and the
digest of the vectors that it was built from. A file is used where both still hold. It takes
its name in the transaction that notes it, so a file that no row names belongs to no living
command: the next ``usad index`` removes it.
"""

import math
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from usad_workbench.core.errors import StoreError, wrap_errors
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.locks import abandoned, claimed
from usad_workbench.core.storage.index_records import (
    IndexRecord,
    index_record,
    listed_index_files,
    note_index,
)
from usad_workbench.core.storage.leftovers import INDEXES, remove_unnamed_files
from usad_workbench.core.storage.workspace import Space, Workspace
from usad_workbench.indexes.faiss_index import VectorIndex

FOLDER = INDEXES
_WORK = "index"
_MAX_OPEN = 4
_open: OrderedDict[tuple[Path, str, int, int], VectorIndex] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """The index of a space, or why there is none to rely on."""

    index: VectorIndex | None = None
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


def open_index(workspace: Workspace, space: Space) -> Opened:
    """The index of a space if it was built from just these vectors and its file is unchanged.

    A file is hashed and read once a process, until its size or time changes.

    Args:
        workspace: Lists the file.
        space: What ``Workspace.space`` gives.

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
        with wrap_errors(path):
            index = _read(path, record.file_sha256, record.kind)
    except (StoreError, OSError) as error:
        return Opened(problem=f"{name} cannot be used: {error}")
    if space.digest is None or record.vectors_digest != space.digest:
        origin = (
            "by a version that did not note from which vectors"
            if record.vectors_digest is None
            else f"from other vectors than are stored now ({len(index):,}, now {space.n:,})"
        )
        return Opened(
            index=index,
            bytes=record.bytes,
            digest=record.vectors_digest,
            is_behind=True,
            problem=f"{name} is behind: it was built {origin}.",
        )
    return Opened(index=index, bytes=record.bytes, digest=space.digest)


def save_index(workspace: Workspace, space: Space, index: VectorIndex) -> Path | None:
    """Writes the index of a space and notes it; none where its vectors have changed meanwhile.

    Raises:
        FileError: a folder that cannot be written.
    """
    folder = workspace.folder / FOLDER
    with wrap_errors(folder):
        folder.mkdir(exist_ok=True)
        with claimed(folder, _WORK) as name:
            part = _part(folder, name)
            index.save(part)
            sha256 = sha256_of_file(part)
            path = folder / f"space_{space.space_id}-{sha256[:12]}.faiss"
            is_noted = _note(workspace, space, index, part, path, sha256)
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
    workspace: Workspace, space: Space, index: VectorIndex, part: Path, path: Path, sha256: str
) -> bool:
    record = IndexRecord(
        space_id=space.space_id,
        kind=index.kind,
        n=len(index),
        file=f"{FOLDER}/{path.name}",
        file_sha256=sha256,
        recall_at_10=math.nan,
        ms_per_query=math.nan,
        bytes=part.stat().st_size,
        vectors_digest=space.digest,
    )
    old = note_index(workspace, space, record, lambda: os.replace(part, path))
    if old is None:
        return False
    for file in old:
        if _path(workspace, file) != path:
            with suppress(OSError):  # somebody else has removed it, or will
                _path(workspace, file).unlink()
    return True


def _read(path: Path, sha256: str, kind: str) -> VectorIndex:
    status = path.stat()
    key = (path, sha256, status.st_size, status.st_mtime_ns)
    with _lock:
        if key in _open:
            _open.move_to_end(key)
            return _open[key]
        if sha256_of_file(path) != sha256:
            raise StoreError(f"{FOLDER}/{path.name} is not as it was written.")
        _open[key] = VectorIndex.load(path, kind)
        while len(_open) > _MAX_OPEN:
            _open.popitem(last=False)
        return _open[key]


def _path(workspace: Workspace, file: str) -> Path:
    return workspace.folder / FOLDER / Path(file).name


def _part(folder: Path, name: str) -> Path:
    return folder / f".{name}.part"
