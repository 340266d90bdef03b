"""The app as tests open it: in this process, or served to a headless Chromium."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.workbench.screenshots import browser_page, served, settle
from usad_workbench.workbench import app
from usad_workbench.workbench.speed.browsing import find_browser

APP = Path(app.__file__)
TIMEOUT_S = 60
PAGE_MS = 60_000


def open_app(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> AppTest:
    """The app on a folder, after its first run in this process."""
    monkeypatch.setattr(sys, "argv", ["app.py", str(folder), *arguments])
    return AppTest.from_file(str(APP), default_timeout=TIMEOUT_S).run()


def page_opener(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Callable[[str], AppTest]:
    """What opens a page of the app by its name, and fails where the page does."""
    opened = open_app(monkeypatch, folder)

    def open_page(name: str) -> AppTest:
        page = opened.switch_page(f"views/{name.lower()}.py").run()
        assert not page.exception, page.exception
        return page

    return open_page


def texts(page: AppTest) -> str:
    """All that a page says, as Markdown."""
    kinds = (page.markdown, page.caption, page.header, page.subheader, page.info, page.error)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def plain_texts(page: AppTest) -> str:
    """The same without the backslashes that keep names from being Markdown."""
    return texts(page).replace("\\", "")


def pick(page: AppTest, label: str, value: Any) -> AppTest:
    """The page after a choice in one of its boxes."""
    box = next(box for box in page.selectbox if box.label == label)
    changed = box.set_value(value).run()
    assert not changed.exception, changed.exception
    return changed


def require_browser() -> None:
    """Skips where there is no Chromium to open the app in; in CI that is a failure."""
    if find_browser() is not None:
        return
    if os.environ.get("CI"):
        pytest.fail("No Chromium on this machine, and this is CI: install one.")
    pytest.skip("NO BROWSER TESTS: no Chromium on this machine.")


@contextmanager
def app_in_browser(folder: Path, log: Path) -> Iterator[Any]:
    """The app on a workspace, open in a browser; what fails in the page is in its ``errors``."""
    require_browser()
    with served(folder, log) as address, browser_page() as page:
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(address, timeout=PAGE_MS)
        settle(page)
        yield page


def click_mark(page: Any, x: float, y: float) -> None:
    """Clicks a mark of a chart: a click counts once the chart shows the mark's label."""
    page.mouse.move(x, y)
    page.locator(".hoverlayer > *").first.wait_for(state="attached", timeout=PAGE_MS)
    page.mouse.click(x, y)
