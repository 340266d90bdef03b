"""How the app is started and ended: a process of Streamlit, and the address that it needs."""

import errno
import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from usad_workbench.core.errors import ConfigError

HERE = Path(__file__).resolve().parent
MAX_PORT = 65_535
END_S = 10.0
"""How long the app may take to end by itself."""
MAX_UPLOAD_MB = 300
"""An hour of stereo WAV at 44.1 kHz is 630 MB; its FLAC or MP3 fits."""


def streamlit_arguments() -> list[str]:
    """Streamlit's options: no telemetry, no developer tools, our looks."""
    return [
        "--server.headless",
        "true",
        "--server.fileWatcherType",
        "none",
        "--server.runOnSave",
        "false",
        "--runner.magicEnabled",
        "false",  # a text in a page's code is no text on the page
        "--server.showEmailPrompt",
        "false",
        "--server.maxUploadSize",
        str(MAX_UPLOAD_MB),
        "--browser.gatherUsageStats",
        "false",
        "--client.toolbarMode",
        "minimal",
        "--client.showErrorDetails",
        "none",
        "--client.showErrorLinks",
        "false",
        "--theme.base",
        str(HERE / "assets" / "theme.toml"),
    ]


def launch(
    workspace: Path, host: str = "127.0.0.1", port: int = 8501, runs: Sequence[Path] = ()
) -> list[str]:
    """The command that serves the app on a workspace until it is stopped, or this process ends.

    Args:
        workspace: Its folder.
        host: The address that is listened on.
        port: Of that address.
        runs: Folders of training runs; where none, ``runs`` beside the workspace.
    """
    return [
        sys.executable,
        "-m",
        "usad_workbench.workbench.server",
        str(os.getpid()),
        str(HERE / "asgi.py"),
        "--server.address",
        host,
        "--server.port",
        str(port),
        *streamlit_arguments(),
        "--",
        str(workspace),
        *(word for folder in runs for word in ("--runs", str(folder))),
    ]


def check_address(host: str, port: int) -> None:
    """Refuses an address that cannot be listened on.

    Raises:
        ConfigError: no port, one that is taken, or a host that is not this machine.
    """
    if not 1 <= port <= MAX_PORT:
        raise ConfigError(f"Found the port {port}, expected 1 to {MAX_PORT}. Choose another.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        errors = [_bind(family, address) for family, *_, address in found]
    except OSError as error:
        errors = [error]
    if any(error and error.errno == errno.EADDRINUSE for error in errors):
        raise ConfigError(
            f"Port {port} of {host} is taken, expected a free one. Stop the program that has it, "
            "or choose another with --port."
        )
    if all(errors):
        raise ConfigError(
            f"{host}, port {port} cannot be listened on: {errors[0]}. Expected an address of this "
            "machine and a port that you may use. Choose others with --host and --port."
        )


def is_private(host: str) -> bool:
    """Whether only this machine reaches an address.

    >>> is_private("127.0.0.1"), is_private("0.0.0.0"), is_private("::1")
    (True, False, True)
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address[0])).is_loopback for *_, address in found)


def _bind(family: int, address: tuple[object, ...]) -> OSError | None:
    """Why an address cannot be listened on, if it cannot."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As servers do: a connection that was closed a moment ago holds nothing.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def listens(host: str, port: int) -> bool:
    """Whether somebody answers at an address."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process and waits for it, whether it listens or not."""
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
