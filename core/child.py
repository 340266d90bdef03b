"""Programs that are run for us and end with us, also where this process is killed."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

_RUN = """
import os, runpy, sys, threading

def end_with_parent():
    os.read(0, 1)  # nothing is ever written: it returns when the last writer is gone
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def run_module(
    module: str, arguments: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m module``; what it writes is in the result.

    A child is told of nothing when its parent is killed. It reads from a pipe whose only writer
    is here, so that the end of this process, however it comes, is an end for it to see.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was ended.
    """
    reader, writer = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, "-c", _RUN, module, *arguments],
            stdin=reader,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=None if env is None else {**os.environ, **env},
        )
    finally:
        os.close(reader)
        os.close(writer)
