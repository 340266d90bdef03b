"""``usad workbench`` as a process: it says where it is once it is there, and leaves nothing behind."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.workbench.screenshots import START_S
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cli import main
from usad_workbench.workbench.launch import END_S, listens
from usad_workbench.workbench.speed.browsing import HOST, free_port


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(Workspace.create(tmp_path / "w").folder)


@pytest.fixture(autouse=True)
def all_signals_are_heard() -> Iterator[None]:
    """Also where these tests run behind nohup: what is started inherits what is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@contextmanager
def _workbench(folder: str, port: int, log: Path) -> Iterator["subprocess.Popen[str]"]:
    words = ["workbench", folder, "--port", str(port), "--json"]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "usad_workbench.workbench.cli", *words],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_S
    while not listens(HOST, port):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_it_ends_the_app(folder: str, tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    with _workbench(folder, port, tmp_path / "log.txt") as process:
        _wait_for(port)
        time.sleep(1.0)  # so that it has seen it, too
        process.send_signal(number)
        shown, _ = process.communicate(timeout=2 * END_S)
        assert process.returncode == 0
        assert json.loads(shown) == {"address": f"http://{HOST}:{port}"}
        assert not listens(HOST, port)


def test_a_command_that_is_killed_leaves_no_server(folder: str, tmp_path: Path) -> None:
    """Nobody is left to end the server: it sees by itself that its parent is gone."""
    port = free_port()
    with _workbench(folder, port, tmp_path / "log.txt") as process:
        _wait_for(port)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 2 * END_S
        while listens(HOST, port):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with socket.socket() as free:  # so that the next one can take its place
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind((HOST, port))


def test_a_port_that_is_taken_or_none_is_named(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        for command in (["workbench", folder], ["demo", "--workspace", folder]):
            for port, words in (
                (taken.getsockname()[1], "is taken"),
                (99999, "expected 1 to 65535"),
            ):
                assert main([*command, "--port", str(port), "--json"]) == 2
                shown = capsys.readouterr()
                assert words in shown.err and "The workbench is at" not in shown.err
                assert shown.out == "" and "Traceback" not in shown.err
