"""The one error tree of the package.

Everything a user can cause is a ``UsadError``: the command line and the app show
its message without a traceback. Each child also inherits the builtin that a
caller would expect, so ``except ValueError`` keeps working.

A message has three parts: what was found, what was expected, what to do.

The errors of the world are no errors of ours: a disk that is full, a file without rights, a
name that no file system takes, a damaged database, a process that was killed. ``wrap_errors``
stands at each boundary, once: around a command, a page, one item of a loop.

    for path in paths:
        try:
            with wrap_errors(path):
                use(path)
        except UsadError as error:
            failed[path] = str(error)

What is no error of the world, such as a TypeError, passes as it is: it is a mistake of the
program, and its traceback is what helps. Libraries are told by the names of their modules, so
that nothing is imported here.
"""

import csv
import errno
import json
import os
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from difflib import get_close_matches


class UsadError(Exception):
    """Base of every error that a user is shown without a traceback."""


class ConfigError(UsadError, ValueError):
    """A recipe, an override or an argument that cannot be used."""


class UntrustedCodeError(ConfigError):
    """A model whose own code would have to run, where nobody has said that it may."""


class AudioError(UsadError, ValueError):
    """Audio that is unreadable, empty, non-finite, silent or too short."""


class ShapeError(UsadError, ValueError):
    """Arrays that do not fit together."""


class DegenerateError(UsadError, ValueError):
    """Input for which the asked quantity is mathematically undefined."""


class UnknownNameError(UsadError, LookupError):
    """A name that is not registered; the message lists the nearest ones."""


class StoreError(UsadError, RuntimeError):
    """A workspace that is damaged, locked or of another version."""


class ChangedError(StoreError):
    """A workspace that was written to since it was looked at: look again."""


class QueryError(UsadError, ValueError):
    """SQL that is not understood, does more than read, or was stopped at a limit."""


class ProvenanceError(StoreError):
    """Two things that must not be compared: other weights, rate, window or code."""


class CheckpointError(UsadError, RuntimeError):
    """A checkpoint that is damaged or does not belong to this recipe."""


class WeightsError(UsadError, RuntimeError):
    """Pretrained weights that are missing, changed or could not be fetched."""


class HubError(WeightsError):
    """A hub that cannot be reached, or does not give what was asked for."""


class EncoderError(UsadError, RuntimeError):
    """An encoder that fails on audio, such as a model's own code on a clip it was not made for."""


class DeviceMemoryError(UsadError, RuntimeError):
    """A single clip for which the device has no memory."""


class MissingExtraError(UsadError, ImportError):
    """An optional dependency that is not installed; the message names the extra."""


class TrainingError(UsadError, RuntimeError):
    """A run that cannot go on, e.g. a loss that is not finite."""


class Cancelled(UsadError):
    """Raised by a progress callback to stop the work between two items."""


class FileError(UsadError, OSError):
    """A file or folder that the system does not let us read, write or name."""


class EncodingError(UsadError, ValueError):
    """Text or a name that is not UTF-8."""


class HostMemoryError(UsadError, MemoryError):
    """More memory asked for than the machine has."""


class WorkerError(UsadError, RuntimeError):
    """A process that died in the middle of its work."""


class DamagedFileError(UsadError, ValueError):
    """A document, table or file of tensors that does not hold what its format promises."""


@contextmanager
def wrap_errors(subject: object = "") -> Iterator[None]:
    """Raises the errors of the world that leave the block as a ``UsadError``.

    Args:
        subject: What was at work, such as a path: named where the error names nothing.

    >>> with wrap_errors("a.wav"):  # doctest: +IGNORE_EXCEPTION_DETAIL
    ...     open("/")
    Traceback (most recent call last):
    usad_workbench.core.errors.FileError: / is a folder, a file was expected. Check the path.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == "Query interrupted":
            raise KeyboardInterrupt from error  # what DuckDB makes of a Ctrl-C
        described = as_usad_error(error, subject)
        if described is None or described is error:
            raise
        raise described from error


def as_usad_error(error: BaseException, subject: object = "") -> UsadError | None:
    """An error of the world as one with words, a ``UsadError`` as it is, else nothing.

    >>> as_usad_error(TypeError("a mistake of the program"))
    >>> as_usad_error(MemoryError(), "long.wav")
    HostMemoryError('long.wav needs more memory than there is. Free some, or do it in parts.')
    """
    if isinstance(error, UsadError):
        return error
    if isinstance(error, BrokenPipeError):  # nobody reads what is printed: no error of the work
        return None
    what = printable(str(subject))
    text = printable(_first_line(error))
    if isinstance(error, OSError):
        return _file_error(error, what)
    if _is_lack_of_memory(error, text):
        return HostMemoryError(
            f"{what or 'This'} needs more memory than there is. Free some, or do it in parts."
        )
    if isinstance(error, UnicodeError):
        return EncodingError(
            f"{what or 'Some text'} holds what is not UTF-8 ({text}). Rename it, or save the "
            "file as UTF-8."
        )
    if isinstance(error, BrokenExecutor):
        return WorkerError(
            "A worker process died: something ended it, such as a lack of memory. The same "
            "command goes on where it was; with less memory in use elsewhere it may get through."
        )
    return _path_error(error, what, text) or _library_error(error, what, text)


DOCUMENT_ERRORS = (json.JSONDecodeError, tomllib.TOMLDecodeError, csv.Error)
"""What the standard library says of documents that are not in their format."""
_SYSTEM_WORDS = {
    errno.ENOSPC: "cannot be written: the disk is full. Free some space and do the same again.",
    errno.EDQUOT: "cannot be written: the quota is used up. Free some space and do it again.",
    errno.EACCES: "may not be opened: permission denied. Change its rights, or use another.",
    errno.EPERM: "may not be changed: permission denied. Change its rights, or use another.",
    errno.EROFS: "cannot be written: its file system is read-only. Use another place.",
    errno.ENAMETOOLONG: "has a name that is too long for the file system. Give it a shorter one.",
    errno.ELOOP: "is a symbolic link that leads to itself. Remove it or point it at a file.",
    errno.ENOENT: "does not exist. Check the path.",
    errno.EISDIR: "is a folder, a file was expected. Check the path.",
    errno.ENOTDIR: "lies below a file, a folder was expected there. Check the path.",
    errno.EEXIST: "is there already as something else. Use another name, or remove it.",
    errno.EIO: "cannot be read or written: the device reports an error. Copy it elsewhere.",
    errno.EMFILE: "cannot be opened: too many files are open. Raise the limit (`ulimit -n`).",
}


def printable(text: str) -> str:
    """The text as every output takes it: what is no UTF-8 in a file's name is escaped.

    >>> printable("caf\\udce9.wav")
    'caf\\\\udce9.wav'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _file_error(error: OSError, subject: str) -> FileError:
    name = error.filename
    where = printable(os.fsdecode(name)) if isinstance(name, (str, bytes, os.PathLike)) else ""
    if error.errno in _SYSTEM_WORDS:
        return FileError(f"{where or subject or 'A file'} {_SYSTEM_WORDS[error.errno]}")
    reason = error.strerror or _first_line(error) or type(error).__name__
    return FileError(
        f"{where or subject or 'A file'} cannot be used: {printable(reason)}. Check it and what it "
        "lies on."
    )


def _path_error(error: BaseException, subject: str, text: str) -> FileError | None:
    """What Python says of paths before it asks the system."""
    if isinstance(error, ValueError) and "embedded null" in text:
        return FileError(
            f"{subject or 'A name'} holds a NUL character, which no path may. Rename it."
        )
    if isinstance(error, RuntimeError) and text.startswith("Symlink loop"):
        return FileError(f"{subject or 'A path'} {_SYSTEM_WORDS[errno.ELOOP]}")
    return None


def _library_error(error: BaseException, subject: str, text: str) -> UsadError | None:
    is_too_deep = isinstance(error, RecursionError) and "JSON" in text
    if is_too_deep or isinstance(error, DOCUMENT_ERRORS) or _is_of(error, "pyarrow", "safetensors"):
        return DamagedFileError(
            f"{subject or 'A file'} cannot be read: {text}. It is damaged or of another format; "
            "export or copy it again."
        )
    return _database_error(subject, text) if _is_of(error, "_duckdb", "duckdb") else None


def _database_error(subject: str, text: str) -> UsadError:
    what = subject or "The database"
    if "No space left" in text:
        return FileError(f"{what} {_SYSTEM_WORDS[errno.ENOSPC]}")
    return StoreError(
        f"{what} cannot be used: {text}. A file that was damaged has to come back from a copy; "
        "`usad check` examines a workspace."
    )


def _is_lack_of_memory(error: BaseException, text: str) -> bool:
    """Whether DuckDB, Arrow or torch had no memory, for which each has names of its own."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryException", "OutOfMemoryError"}:
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text


def _is_of(error: BaseException, *packages: str) -> bool:
    return any(kind.__module__.split(".")[0] in packages for kind in type(error).__mro__)


def _first_line(error: BaseException) -> str:
    """What an error says, without the lines of SQL or code that libraries put below."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "").rstrip(".")


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """A sentence that helps after a misspelt name.

    >>> did_you_mean("whisper", ["whisper-tiny.en", "ge2e"])
    'Did you mean whisper-tiny.en?'
    >>> did_you_mean("wavlm", ["ge2e"])
    'Known: ge2e.'
    """
    names = sorted(candidates)
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    return f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names) or 'none'}."
