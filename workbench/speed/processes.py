"""Commands of ``usad`` as their users start them, with what they cost.

The kernel's own figure for the peak memory of a child begins at what the parent
held when it started it, so the peak is asked of the running process itself.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usad_workbench.core.errors import WorkerError


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """A command that ended, and what it cost with the processes that it started."""

    wall_s: float
    processor_s: float
    peak_bytes: int
    """The most memory that it held at once."""
    document: Any
    """What it printed with ``--json``."""


POLL_S = 0.05
BEAT_S = 30.0


def run_usad(
    *arguments: str,
    log: Path | None = None,
    allowed: Sequence[int] = (0,),
    beat: Callable[[float], object] | None = None,
) -> Finished:
    """Runs ``usad ARGUMENTS --json`` in a process of its own.

    Args:
        arguments: Of the command line.
        log: Where what it says on standard error is added; thrown away where none.
        allowed: Exit codes that are no failure.
        beat: Called every half minute with the seconds that have passed.

    Raises:
        WorkerError: another exit code; with the last lines that it said.
    """
    command = [sys.executable, "-m", "usad_workbench.workbench.cli", *arguments, "--json"]
    with tempfile.TemporaryFile("w+") as out, _opened(log) as error:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=error)
        status, usage, peak_bytes = _ended(process.pid, started, beat)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in allowed:
            error.seek(max(0, error.seek(0, os.SEEK_END) - 2000))
            raise WorkerError(
                f"`usad {' '.join(arguments)}` ended with {process.returncode}, expected "
                f"{' or '.join(map(str, allowed))}: {error.read()[-1500:].strip()}"
            )
        out.seek(0)
        document = json.loads(out.read() or "null")
    return Finished(
        wall_s=wall_s,
        processor_s=usage.ru_utime + usage.ru_stime,
        peak_bytes=peak_bytes,
        document=document,
    )


def _ended(
    process_id: int, started: float, beat: Callable[[float], object] | None
) -> tuple[int, resource.struct_rusage, int]:
    """How a process ended, what it used, and its peak memory in bytes, once it has ended."""
    next_beat_s = BEAT_S
    peak_bytes = 0
    while True:
        ended, status, usage = os.wait4(process_id, os.WNOHANG)
        if ended:
            return status, usage, peak_bytes
        peak_bytes = max(peak_bytes, memory_of(process_id).get("VmHWM", 0))
        passed_s = time.perf_counter() - started
        if beat is not None and passed_s > next_beat_s:
            beat(passed_s)
            next_beat_s += BEAT_S
        time.sleep(POLL_S)


def memory_of(process: int | str = "self") -> dict[str, int]:
    """Bytes that a process holds (``VmRSS``) and held at most (``VmHWM``); empty off Linux.

    ``RssAnon`` is what is its own. The rest is of mapped files, which all processes share and the
    kernel takes back where others need the memory.
    """
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    found = (line.split() for line in lines if line.startswith(("VmRSS:", "VmHWM:", "RssAnon:")))
    return {words[0][:-1]: 1024 * int(words[1]) for words in found}


def _opened(log: Path | None) -> Any:
    text: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
    return tempfile.TemporaryFile("w+", **text) if log is None else log.open("a+", **text)
