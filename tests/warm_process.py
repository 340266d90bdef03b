"""Commands of ``usad`` in forks of a process that has everything imported, each ended at will.

Run as ``python warm_process.py``, under ``LD_PRELOAD=kill_at.so`` where commands are to be stopped at file operations:
it answers one JSON line for each that it reads. A command then costs a fork in place of seconds of imports, and still
ends as a process of its own does: a crash or a lack of memory ends the fork.
"""

import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MANNERS = {"before": 1, "after": 2, "half": 3, "interrupt": 4}
"""How a command ends at a file operation: as in ``kill_at.c``."""
TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """Where a command is stopped: at a file operation, or after some time."""

    at: int = 0
    """Number of the operation, from 1; 0 for none."""
    manner: str = "before"
    after_s: float = 0.0
    """Seconds until SIGKILL; 0 for none."""

    def __str__(self) -> str:
        return f"{self.manner} operation {self.at}" if self.at else f"after {self.after_s:.3f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    """Exit code, or minus the number of the signal."""
    seconds: float
    out: str
    """Standard output."""
    said: str
    """Standard error."""
    peak_bytes: int
    """Highest resident memory, that of the warm process included."""


class WarmProcess:
    """Starts commands and waits for them."""

    def __init__(
        self, folder: Path, environment: dict[str, str], library: Path | None = None
    ) -> None:
        """``library`` is ``kill_at.c``, built; it counts operations below the folder."""
        self.folder = folder
        preload = {"LD_PRELOAD": str(library)} if library else {}
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            env=environment | preload,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: Sequence[str], stop: Stop | None = None, log: str = "") -> Ended:
        """Runs ``usad`` with these arguments to its end or to where it is stopped.

        Args:
            arguments: As on the command line.
            stop: Where it ends; to its end where none.
            log: A file for the operations that were counted.
        """
        stop = stop or Stop()
        order = {
            "arguments": list(arguments),
            "folder": str(self.folder),
            "at": stop.at,
            "log": log,
            "manner": MANNERS[stop.manner],
            "after_s": stop.after_s,
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the warm process ended with {self._process.wait()}"
        return Ended(**json.loads(answer))

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


def _import_everything() -> None:
    from importlib import import_module

    from usad_workbench.workbench import cli

    cli.build_parser()
    for name in (
        "duckdb",
        "faiss",
        "pandas",
        "pyarrow.parquet",
        "scipy.signal",
        "soundfile",
        "torch",
        "usad_workbench.core.embedding",
        "usad_workbench.core.encoders.networks.statistics",
        "usad_workbench.core.encoders.registry",
        "usad_workbench.core.storage.exporting",
        "usad_workbench.core.storage.importing",
        "usad_workbench.core.storage.importing_embeddings",
        "usad_workbench.core.storage.spaces",
        "usad_workbench.core.storage.workspace",
        "usad_workbench.indexes.evaluation",
        "usad_workbench.indexes.spaces",
        "usad_workbench.indexes.check",
        "usad_workbench.training",
        "usad_workbench.training.run",
        "usad_workbench.training.trainer",
        "usad_workbench.workbench.query_vectors",
    ):
        import_module(name)


def _command(order: dict[str, Any], out: int, said: int) -> None:
    """In the fork: the command, as ``usad`` starts it."""
    from usad_workbench.workbench.cli import main

    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (said, 2)):
        os.dup2(source, target)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if order["log"] else -1
    if os.environ.get("LD_PRELOAD"):
        kill_at = ctypes.CDLL(None).kill_at
        kill_at.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int)
        kill_at(order["folder"].encode(), order["at"], order["manner"], log)
    try:
        code = main(order["arguments"])
    except SystemExit as error:  # argparse
        code = error.code if isinstance(error.code, int) else 2
    except BaseException:  # noqa: BLE001 - what any process does at its end
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's end, which takes longer than the command where torch is loaded.
    os._exit(code)


def _wait(process: int, after_s: float) -> tuple[int, float, int]:
    started = time.perf_counter()
    end = started + (after_s or TIMEOUT_S)
    while True:
        ended, status, usage = os.wait4(process, os.WNOHANG)
        now = time.perf_counter()
        if ended:
            return os.waitstatus_to_exitcode(status), now - started, usage.ru_maxrss * 1024
        if now >= end:
            os.kill(process, signal.SIGKILL)
            end = now + TIMEOUT_S
        time.sleep(0.001)


def serve() -> None:
    """Answers the orders on standard input until it closes."""
    answers = os.fdopen(os.dup(1), "w")
    _import_everything()
    gc.freeze()
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        out, said = os.memfd_create("out"), os.memfd_create("said")
        process = os.fork()
        if process == 0:
            _command(order, out, said)
        code, seconds, peak_bytes = _wait(process, order["after_s"])
        answer = Ended(
            code=code, seconds=seconds, out=_text(out), said=_text(said), peak_bytes=peak_bytes
        )
        answers.write(json.dumps(asdict(answer)) + "\n")
        answers.flush()


def _text(descriptor: int) -> str:
    """What was written to a file in memory, which is closed."""
    text = os.pread(descriptor, 10_000_000, 0).decode(errors="replace")
    os.close(descriptor)
    return text


if __name__ == "__main__":
    serve()
