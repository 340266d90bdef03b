"""The errors of the world come out in words; the program's own mistakes stay tracebacks."""

import errno
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from usad_workbench.core.errors import (
    ConfigError,
    DamagedFileError,
    EncodingError,
    FileError,
    HostMemoryError,
    StoreError,
    UsadError,
    WorkerError,
    as_usad_error,
    printable,
    wrap_errors,
)


def _loop(folder: Path) -> None:
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "loop").resolve(strict=True)


def _damaged_database(folder: Path) -> None:
    (folder / "a.duckdb").write_bytes(b"no database" * 1000)
    duckdb.connect(str(folder / "a.duckdb"))


def _damaged_parquet(folder: Path) -> None:
    (folder / "a.parquet").write_bytes(b"PAR1 and no more")
    pq.read_table(folder / "a.parquet")


def _damaged_tensors(folder: Path) -> None:
    (folder / "a.safetensors").write_bytes(bytes(64))
    load_file(folder / "a.safetensors")


def _full(_: Path) -> None:
    Path("/dev/full").write_bytes(b"x")


WORLD: list[tuple[Callable[[Path], object], type[UsadError], str]] = [
    (_full, FileError, "disk is full"),
    (_loop, FileError, "symbolic link that leads to itself"),
    (lambda f: (f / ("n" * 300)).stat(), FileError, "too long"),
    (lambda f: (f / "none").read_bytes(), FileError, "none does not exist"),
    (lambda f: f.read_bytes(), FileError, "is a folder"),
    (lambda f: (f / "a\0b").stat(), FileError, "NUL"),
    (lambda f: f.mkdir(), FileError, "is there already"),
    (lambda f: "caf\udce9".encode(), EncodingError, "UTF-8"),
    (lambda f: b"caf\xe9".decode(), EncodingError, "UTF-8"),
    (lambda f: np.empty(1 << 56), HostMemoryError, "memory"),
    (lambda f: torch.empty(1 << 50), HostMemoryError, "memory"),
    (lambda f: duckdb.execute("SELECT * FROM nothing"), StoreError, "nothing"),
    (lambda f: duckdb.execute("SET memory_limit = 'much'"), StoreError, "Memory must have"),
    (_damaged_database, StoreError, "database"),
    (_damaged_parquet, DamagedFileError, "damaged"),
    (_damaged_tensors, DamagedFileError, "damaged"),
    (lambda f: pa.array(["x"]).cast(pa.int32()), DamagedFileError, "x"),
    (lambda f: json.loads("{"), DamagedFileError, "damaged"),
    (lambda f: json.loads("[" * 100_000), DamagedFileError, "recursion depth"),
    (lambda f: tomllib.loads("a ="), DamagedFileError, "damaged"),
]


@pytest.mark.parametrize(("fault", "kind", "words"), WORLD)
def test_what_the_world_does_is_said_in_words(
    fault: Callable[[Path], object], kind: type[UsadError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words) as raised, wrap_errors("the item"):
        fault(tmp_path)
    said = str(raised.value)
    assert "\n" not in said and said.endswith(".") and "Errno" not in said
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO, errno.EROFS, 9999])
def test_every_error_of_the_system_names_the_file(number: int) -> None:
    said = as_usad_error(OSError(number, "strange", "/data/caf\udce9.wav"))
    assert isinstance(said, FileError)
    assert str(said).startswith("/data/caf\\udce9.wav ")
    str(said).encode()


def test_without_a_name_of_its_own_an_error_names_what_was_at_work() -> None:
    assert str(as_usad_error(OSError(errno.ENOSPC, "full"), "out.csv")).startswith("out.csv ")


def test_a_dead_worker_is_a_worker_error() -> None:
    said = as_usad_error(BrokenProcessPool("A process in the process pool was terminated"))
    assert isinstance(said, WorkerError) and "worker process died" in str(said)


@pytest.mark.parametrize(
    "mistake",
    [
        TypeError("x"),
        KeyError("x"),
        AttributeError("x"),
        ValueError("x"),
        RuntimeError("x"),
        RecursionError("maximum recursion depth exceeded"),
        IndexError("x"),
        ZeroDivisionError(),
    ],
)
def test_mistakes_of_the_program_pass_as_they_are(mistake: Exception) -> None:
    with pytest.raises(type(mistake)) as raised, wrap_errors("the item"):
        raise mistake
    assert raised.value is mistake


def test_an_error_with_words_passes_as_it_is() -> None:
    mine = ConfigError("found, expected, do")
    with pytest.raises(ConfigError) as raised, wrap_errors("the item"):
        raise mine
    assert raised.value is mine


def test_ctrl_c_within_a_query_is_a_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt), wrap_errors():
        raise RuntimeError("Query interrupted")


def test_errors_need_no_library() -> None:
    code = (
        "import sys, usad_workbench.core.errors as e; e.as_usad_error(OSError(28, 'full'));"
        "print([m for m in ('duckdb', 'pyarrow', 'torch', 'numpy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"caf\xe9.wav", "caf\\udce9.wav"),
        ("käse.wav".encode(), "käse.wav"),
        (b"\xed\xa0\x80", "\\udced\\udca0\\udc80"),
        ("🎵".encode(), "🎵"),
    ],
)
def test_every_name_can_be_printed(name: bytes, shown: str) -> None:
    assert printable(os.fsdecode(name)) == shown
