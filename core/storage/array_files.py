"""The vectors of a space as one file that is mapped into memory, beside the database.

DuckDB reads a space at about 1 GB/s each time; what is mapped is there at once, and pages that
nobody looks at are never read. Such a file is written when a large space is read as a whole, holds
a copy and nothing else, and may be removed at any time: what is missing is read from the database.

It is bound to what it is a copy of. Its name holds the digest of the space, so that new vectors
have another file; and it is used by a process only once its content has been found to have this
digest. To have that found by every process would read the whole file each time, so it is noted
beside it together with size, time of change and inode: whoever writes to the file, replaces or
copies it changes one of them.

Segment ids ``[segment]`` as int64 come first, ascending, then from the next multiple of 64 bytes on
the vectors ``[segment, dim]`` as float32, both little-endian.
"""

import json
import os
import secrets
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from usad_workbench.core.locks import try_lock
from usad_workbench.core.storage.vector_tables import (
    DIGEST_KIND,
    EMPTY_DIGEST,
    digest_of,
    together,
)

ARRAYS = "arrays"
"""Folder of the files, beside the database."""
MIN_BYTES = 16 << 20
"""Smaller spaces are read from the database in no time."""
ROOM = 2
"""A file is written where the disk has room for so many of its size, this one among them."""
_SUFFIX = ".array"
_PARTIAL = ".partial"
_STAMP = ".stamp"
_ALIGNED = 64
_BLOCK_ROWS = 20_000

_verified: dict[Path, list[int]] = {}
"""Stamps of files that this process has found to hold what their names say."""


class Arrays(NamedTuple):
    """What lies in an array file; read-only."""

    segment_ids: npt.NDArray[np.int64]
    """Shape [segment], ascending."""
    vectors: npt.NDArray[np.float32]
    """Shape [segment, dim]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayFile:
    """The array file of a space as it is now, there or not."""

    folder: Path
    """Of the workspace."""
    space_id: int
    n: int
    dim: int
    digest: str | None

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / ARRAYS / f"{self.space_id}-{self.digest}{_SUFFIX}"

    @property
    def n_bytes(self) -> int:
        """Its size."""
        return self._offset + 4 * self.n * self.dim

    @property
    def is_small(self) -> bool:
        """Whether the space is so small that no file is written for it."""
        return self.n_bytes < MIN_BYTES

    @property
    def _offset(self) -> int:
        return -(-8 * self.n // _ALIGNED) * _ALIGNED

    def open(self) -> Arrays | None:
        """The arrays; nothing where there is no such file, or one that holds something else.

        A file that holds something else is removed, where it can be.
        """
        if not self.n or not self.dim:
            return None
        try:
            if self.path.stat().st_size != self.n_bytes:
                self._remove()
                return None
            arrays = self._mapped()
            if not self._is_verified(arrays):
                self._remove()
                return None
        except OSError:
            return None
        return arrays

    def create(self) -> "ArrayDraft | None":
        """A file to be filled; nothing where the space is small, or none can be written there."""
        is_current = self.digest is not None and self.digest.startswith(DIGEST_KIND)
        if not is_current or self.is_small:
            return None
        folder = self.path.parent
        try:
            folder.mkdir(exist_ok=True)
            if shutil.disk_usage(folder).free < ROOM * self.n_bytes:
                return None
            return ArrayDraft.begin(self)
        except OSError:
            return None

    def check(self) -> bool:
        """Whether it holds what its name says, whatever was noted of it."""
        if self.path.stat().st_size != self.n_bytes:
            return False
        return self._is_right(self._mapped())

    def _is_right(self, arrays: Arrays) -> bool:
        is_ascending = bool((np.diff(arrays.segment_ids) > 0).all())
        return is_ascending and _digest(arrays) == self.digest

    def _mapped(self) -> Arrays:
        ids = np.memmap(self.path, dtype="<i8", mode="r", shape=(self.n,))
        shape = (self.n, self.dim)
        vectors = np.memmap(self.path, dtype="<f4", mode="r", offset=self._offset, shape=shape)
        return Arrays(np.asarray(ids), np.asarray(vectors))

    def _is_verified(self, arrays: Arrays) -> bool:
        stamp = _stamp_of(self.path)
        if stamp == _verified.get(self.path):
            return True
        if stamp == self._noted():
            _verified[self.path] = stamp
            return True
        if not self._is_right(arrays):
            return False
        _verified[self.path] = stamp
        with suppress(OSError):  # a folder that cannot be written: the next process looks again
            _sync(self.path)
            note = self.path.with_suffix(_STAMP)
            partial = note.with_name(f"{note.name}{secrets.token_hex(4)}{_PARTIAL}")
            partial.write_text(json.dumps(stamp), encoding="utf-8")
            partial.replace(note)
        return True

    def _noted(self) -> list[int] | None:
        try:
            noted = json.loads(self.path.with_suffix(_STAMP).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return noted if isinstance(noted, list) else None

    def _remove(self) -> None:
        with suppress(OSError):
            self.path.unlink()


@dataclass(kw_only=True, eq=False)
class ArrayDraft:
    """An array file that is being filled, under a name of its own until it is complete."""

    file: ArrayFile
    partial: Path
    _descriptor: int
    _n: int = 0
    _digest: str = field(default=EMPTY_DIGEST)

    @classmethod
    def begin(cls, file: ArrayFile) -> Self:
        """An empty one, locked for as long as this process fills it.

        Raises:
            OSError: the folder cannot be written.
        """
        partial = file.path.with_name(f"{file.path.name}.{secrets.token_hex(4)}{_PARTIAL}")
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks: others may clear it away
            try_lock(descriptor)
        return cls(file=file, partial=partial, _descriptor=descriptor)

    def add(self, segment_ids: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32]) -> None:
        """Adds rows in ascending order of their segments.

        Raises:
            OSError: the disk is full.
        """
        ids = np.ascontiguousarray(segment_ids, dtype="<i8")
        rows = np.ascontiguousarray(vectors, dtype="<f4")
        _write(self._descriptor, ids.data.cast("B"), 8 * self._n)
        offset = self.file._offset + 4 * self._n * self.file.dim
        _write(self._descriptor, rows.data.cast("B"), offset)
        self._digest = together(self._digest, digest_of(ids, rows))
        self._n += len(ids)

    def keep(self) -> Arrays | None:
        """Gives the file its name; nothing where what was added is not what the space says."""
        file = self.file
        if self._n != file.n or self._digest != file.digest:
            self.discard()
            return None
        try:
            self.partial.replace(file.path)
            _remove_others(file)
            _verified[file.path] = _stamp_of(file.path)
            return file._mapped()
        except OSError:  # removed meanwhile
            return None
        finally:
            self.discard()

    def discard(self) -> None:
        """Ends it; what has no name yet is removed. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self.partial.unlink(missing_ok=True)


def _remove_others(file: ArrayFile) -> None:
    """Removes what was mapped of the same space when it had other vectors."""
    for path in file.path.parent.glob(f"{file.space_id}-*"):
        if path.suffix != _PARTIAL and path.stem != file.path.stem:
            path.unlink(missing_ok=True)


def is_mapped(vectors: npt.NDArray[np.float32]) -> bool:
    """Whether these are the vectors of an array file that is as it was when it was opened."""
    base = vectors.base
    if not isinstance(base, np.memmap) or base.filename is None:
        return False
    path = Path(base.filename)
    try:
        return _verified.get(path) == _stamp_of(path)
    except OSError:  # removed
        return False


def remove_unnamed_arrays(folder: Path, named: Collection[Path]) -> None:
    """Removes array files other than these, and what killed commands have left half written.

    Args:
        folder: Of the workspace.
        named: Paths of the files of its spaces.
    """
    stamps = {path.with_suffix(_STAMP) for path in named}
    for path in (folder / ARRAYS).glob("*"):
        if path not in named and path not in stamps and not _is_being_written(path):
            with suppress(OSError):
                path.unlink()


def remove_partial_arrays(folder: Path) -> None:
    """Removes what killed commands have left half written in the folder of a workspace."""
    for path in (folder / ARRAYS).glob(f"*{_PARTIAL}"):
        if not _is_being_written(path):
            with suppress(OSError):
                path.unlink()


def _is_being_written(path: Path) -> bool:
    if path.suffix != _PARTIAL:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True  # gone, or not ours to judge
    try:
        return not try_lock(descriptor, shared=True)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def _digest(arrays: Arrays) -> str:
    digest = EMPTY_DIGEST
    for start in range(0, len(arrays.segment_ids), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        part = digest_of(arrays.segment_ids[rows], arrays.vectors[rows])
        digest = together(digest, part)
    return digest


def _stamp_of(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _sync(path: Path) -> None:
    """Sees to it that the bytes are on the disk, so that the stamp outlives no crash without them."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        n = os.pwrite(descriptor, data, offset)
        data, offset = data[n:], offset + n
