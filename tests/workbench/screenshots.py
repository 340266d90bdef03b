"""Pictures of every page, taken from the running app in a headless Chromium.

``python -m tests.workbench.screenshots WORKSPACE OUTDIR``
"""

import argparse
import contextlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from usad_workbench.core.errors import StoreError, UsadError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.launch import end, launch
from usad_workbench.workbench.speed.browsing import HOST, chromium, free_port

WIDTH, HEIGHT = 1440, 1000
PAGES = ("Overview", "Map", "Search", "Layers", "Bias", "Probes", "Training", "Data")
START_S = 90.0
PAGE_MS = 90_000
SETTLE_MS = 900
"""Fonts, charts and spectrograms draw after the last element has arrived."""


@contextlib.contextmanager
def served(workspace: Path, log: Path | None = None, runs: Sequence[Path] = ()) -> Iterator[str]:
    """The app on a workspace, served while the block runs; its address.

    Raises:
        StoreError: the server did not start.
    """
    port = free_port()
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(log.open("w")) if log else subprocess.DEVNULL
        process = subprocess.Popen(
            launch(workspace, HOST, port, runs), stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _wait(process, f"http://{HOST}:{port}")
            yield f"http://{HOST}:{port}"
        finally:
            end(process)


def _wait(process: "subprocess.Popen[bytes]", address: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StoreError(
                f"The app ended with code {process.returncode} before it answered. Start it by "
                "hand with `usad workbench` and read what it says."
            )
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).read()
            return
        time.sleep(0.3)
    raise StoreError(
        f"The app did not answer within {START_S:.0f} s. Try again on a quiet machine."
    )


@contextlib.contextmanager
def browser_page(
    width: int = WIDTH, height: int = HEIGHT, colours: Literal["light", "dark"] = "light"
) -> Iterator[Any]:
    """A page of a headless Chromium.

    Raises:
        MissingExtraError: no Chromium, or no playwright to drive it.
    """
    with chromium() as browser:
        yield browser.new_page(viewport={"width": width, "height": height}, color_scheme=colours)


def settle(page: Any) -> None:
    """Waits until the app has run and its charts are drawn."""
    page.wait_for_selector(
        "[data-testid='stApp'][data-test-script-state='notRunning']", timeout=PAGE_MS
    )
    page.wait_for_timeout(SETTLE_MS)
    page.wait_for_selector(
        "[data-testid='stApp'][data-test-script-state='notRunning']", timeout=PAGE_MS
    )


def open_by_link(page: Any, name: str) -> None:
    """Opens a page by its link in the navigation and waits for its title."""
    link = page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True)
    if not link.is_visible():  # on a narrow screen the navigation is folded
        page.get_by_test_id("stExpandSidebarButton").click()
    link.click()
    page.get_by_role("heading", name=name, exact=True).first.wait_for(timeout=PAGE_MS)
    settle(page)


def picture(page: Any, path: Path) -> None:
    """A picture of the whole page, as tall as its content."""
    size = page.viewport_size
    tall = page.evaluate("() => document.querySelector('[data-testid=\"stMain\"]').scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": min(max(int(tall), 600), 6000)})
    page.wait_for_timeout(SETTLE_MS)
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path))
    page.set_viewport_size(size)


def take(
    workspace: Path,
    folder: Path,
    names: tuple[str, ...] = PAGES,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    colours: Literal["light", "dark"] = "light",
) -> list[Path]:
    """Takes a picture of each page; where they are."""
    taken = []
    with served(workspace) as address, browser_page(*size, colours) as page:
        page.goto(address, timeout=PAGE_MS)
        settle(page)
        for name in names:
            open_by_link(page, name)
            if name == "Overview":  # the picture is computed behind the page
                page.get_by_text("Comparing layers").wait_for(state="hidden", timeout=PAGE_MS)
                settle(page)
            if name == "Search":
                page.get_by_role("button", name=re.compile("^Find similar to")).first.click()
                page.locator(".hit").first.wait_for(timeout=PAGE_MS)
                page.get_by_role("button", name="+ space").click()
                page.wait_for_timeout(3 * SETTLE_MS)
            taken.append(folder / f"{name.lower()}.png")
            picture(page, taken[-1])
    return taken


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="Pictures of every page of the workbench.")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--pages", default=",".join(PAGES), help="which ones, by name")
    parser.add_argument("--size", default=f"{WIDTH}x{HEIGHT}", help="of the window, in pixels")
    parser.add_argument("--dark", action="store_true", help="as on a dark desktop")
    options = parser.parse_args(arguments)
    width, height = (int(number) for number in options.size.split("x"))
    colours: Literal["light", "dark"] = "dark" if options.dark else "light"
    try:
        folder = Workspace.open(options.workspace).folder
        taken = take(
            folder, options.folder, tuple(options.pages.split(",")), (width, height), colours
        )
    except UsadError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write("".join(f"{path}\n" for path in taken))
    return 0


if __name__ == "__main__":
    sys.exit(main())
