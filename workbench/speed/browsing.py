"""A headless Chromium, and what a page costs it and the server: whole families of processes.

Chromium draws WebGL in software, in processes of its own, and goes on after a page has answered.
So a step is timed until its picture stands, and its processor seconds are counted until browser
and server are at rest.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from usad_workbench.core.errors import MissingExtraError, WorkerError

HOST = "127.0.0.1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""WebGL in software and no traffic of the browser's own."""
WIDTH, HEIGHT = 1280, 800
WAIT_MS = 300_000
START_S = 600.0
TICK_S = 0.1
REST_SHARE = 0.12
"""Of one core: less for ``REST_TICKS`` in a row, and browser and server are at rest."""
REST_TICKS = 4
REST_MOST_S = 60.0
WATCHED = """{
  const made = HTMLCanvasElement.prototype.getContext;
  window.drawn = new Set();
  HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
    const found = made.call(this, kind, ...more);
    if (found && kind.startsWith("webgl")) window.drawn.add(found);
    return found;
  };
}"""
"""Remembers the contexts of WebGL that a page makes."""
PAINTED = """() => new Promise((done) => {
  requestAnimationFrame(() => requestAnimationFrame(() => {
    for (const gl of window.drawn) gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    requestAnimationFrame(done);
  }));
})"""
"""Returns when the graphics process has drawn all that it was given."""


@dataclass(frozen=True, slots=True)
class StepCost:
    """Of one step of a person: until its picture stands, and what it cost."""

    wall_s: float
    processor_s: float
    """Of browser and server, with the processes that they started, until both are at rest."""


def find_browser() -> str | None:
    """The Chromium of this machine, if there is one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def chromium(*more: str) -> Iterator[Any]:
    """A headless Chromium, ended with the block.

    Args:
        more: Further arguments of its command line.

    Raises:
        MissingExtraError: no Chromium, or no playwright to drive it.
    """
    path = find_browser()
    if path is None:
        raise MissingExtraError(
            f"No Chromium was found under the names {', '.join(BROWSERS)}. Install one "
            "(Debian: `apt-get install chromium`)."
        )
    try:
        playwright = import_module("playwright.sync_api")
    except ImportError as error:
        raise MissingExtraError(
            "Driving the browser needs the package playwright: `pip install 'usad-workbench[dev]'`."
        ) from error
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=[*BROWSER_ARGUMENTS, *more], timeout=WAIT_MS
        )
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def serving(
    command: Sequence[str], address: str, log: Path, cwd: Path | None = None
) -> Iterator[int]:
    """A server while the block runs, from its first answer on; its process.

    Raises:
        WorkerError: it ended, or did not answer.
    """
    with log.open("w", encoding="utf-8") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=cwd)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(address):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(encoding="utf-8", errors="replace")[-800:]
                raise WorkerError(f"{Path(command[0]).name} did not serve {address}: {said}")
            time.sleep(TICK_S)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            answer.read(1)
    except (urllib.error.URLError, OSError):
        return False
    return True


def new_page(browser: Any) -> Any:
    """A page of a browser that has kept nothing, as ``step`` needs it."""
    page = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}).new_page()
    page.add_init_script(WATCHED)
    return page


def step(page: Any, act: Callable[[], object], until: Callable[[], object]) -> StepCost:
    """What one step costs, from rest to rest.

    Args:
        page: Of playwright.
        act: What the person does.
        until: Returns when the answer is there; that its picture is drawn is seen to here.
    """
    at_rest()
    before_s, began = family_seconds(os.getpid()), time.perf_counter()
    act()
    until()
    page.evaluate(PAINTED)
    wall_s = time.perf_counter() - began
    return StepCost(wall_s, at_rest() - before_s)


def at_rest() -> float:
    """Waits until the processes that this one started work no more; their seconds until then."""
    quiet, last_s = 0, family_seconds(os.getpid())
    deadline = time.monotonic() + REST_MOST_S
    while quiet < REST_TICKS and time.monotonic() < deadline:
        time.sleep(TICK_S)
        now_s = family_seconds(os.getpid())
        quiet = quiet + 1 if now_s - last_s < REST_SHARE * TICK_S else 0
        last_s = now_s
    return last_s


def family_seconds(process: int) -> float:
    """Processor seconds of all that a process started, dead or alive, without its own."""
    stats = _stats()
    children: dict[int, list[int]] = {}
    for one, (parent, _, _) in stats.items():
        children.setdefault(parent, []).append(one)
    total_s, left = stats[process][2], list(children.get(process, []))
    while left:
        one = left.pop()
        total_s += sum(stats[one][1:])
        left += children.get(one, [])
    return total_s


def _stats() -> dict[int, tuple[int, float, float]]:
    """Of each process: its parent, its own processor seconds, those of its dead children."""
    found = {}
    tick = os.sysconf("SC_CLK_TCK")
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            words = (folder / "stat").read_text(encoding="utf-8", errors="replace")
            fields = words.rpartition(")")[2].split()
            own, dead = (sum(map(int, fields[i : i + 2])) / tick for i in (11, 13))
            found[int(folder.name)] = (int(fields[1]), own, dead)
    return found
