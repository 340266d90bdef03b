"""``usad workbench``."""

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import add_address, add_trust
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.gate import PASSWORD
from usad_workbench.workbench.launch import check_address, end, is_private, launch, listens
from usad_workbench.workbench.output import Output

logger = logging.getLogger(__name__)
POLL_S = 0.1
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("workspace", metavar="W", help="the workspace folder")
    add_address(parser)
    parser.add_argument(
        "--runs",
        action="append",
        default=[],
        metavar="DIR",
        help="a training run, or a folder of some; by default the folder runs beside the "
        "workspace, or here",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="open no browser, where there is one"
    )
    add_trust(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Opens the app on a workspace and serves it until stopped."""
    from usad_workbench.core.storage.workspace import Workspace

    folder = Workspace.open(args.workspace).folder

    def announce(address: str) -> None:
        output.result({"address": address}, describe_address(address))
        if not args.json and not args.no_browser and has_browser():
            webbrowser.open(address)

    return serve(folder, args.host, args.port, args.runs, announce=announce)


def has_browser() -> bool:
    """Whether somebody sits before this machine: a terminal, and a screen to open a browser on."""
    has_screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    return has_screen and sys.stdout.isatty()


def describe_address(address: str) -> str:
    """What a person is told once the app answers."""
    return f"The workbench is at {address} (stop with Ctrl-C)."


def serve(
    folder: Path,
    host: str,
    port: int,
    runs: Sequence[str] = (),
    *,
    announce: Callable[[str], None],
) -> int:
    """Serves the app on a folder until it is stopped; the app ends with this process.

    Args:
        folder: Of the workspace.
        host: The address that is listened on.
        port: Of that address.
        runs: Folders of training runs.
        announce: Called with the address once the app answers there.

    Raises:
        ConfigError: an address that cannot be listened on, or that others reach without a
            password.
    """
    check_address(host, port)
    _check_password(host)
    with _signals_noted() as asked:
        process = subprocess.Popen(
            launch(folder, host, port, [Path(run).resolve() for run in runs])
        )
        try:
            is_announced = False
            while process.poll() is None and not asked:
                if not is_announced and listens(host, port):
                    is_announced = True
                    announce(f"http://{f'[{host}]' if ':' in host else host}:{port}")
                time.sleep(POLL_S)
        finally:
            end(process)
    return DONE if asked or process.returncode == 0 else SOME_FAILED


def _check_password(host: str) -> None:
    """Refuses an address that others reach where no password is set."""
    if is_private(host):
        return
    if not os.environ.get(PASSWORD):
        raise ConfigError(
            f"Found the host {host}, which others reach, and no password, expected one: whoever "
            f"opens the app can read the whole workspace. Set {PASSWORD} in the environment, or "
            "leave the host at 127.0.0.1."
        )
    logger.warning(
        "The password and the sounds travel readable: put a proxy with HTTPS before this address."
    )


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """The signals to end that came since; one that is ignored, as behind nohup, stays so."""
    asked: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, lambda found, _: asked.append(found))
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
