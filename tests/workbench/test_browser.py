"""The app in a real browser: what a person sees, clicks and hears."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pandas as pd
import pytest

from tests.workbench.opened_app import click_mark
from tests.workbench.screenshots import browser_page, open_by_link, picture, settle
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.app import PAGES

pytestmark = pytest.mark.browser
RATE_HZ = 16_000
LOOPBACK = {"127.0.0.1", "localhost", ""}
PAGE_MS = 60_000


class Watch:
    """What a page did behind its back."""

    def __init__(self, page: Any) -> None:
        self.outside: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._request)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _request(self, request: Any) -> None:
        address = urlparse(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.hostname not in LOOPBACK:
            self.outside.append(request.url)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.errors.append(message.text)


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Any]:
    with browser_page() as found:
        found.watch = Watch(found)
        found.goto(address, timeout=PAGE_MS)
        settle(found)
        yield found


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    return Path(os.environ.get("USAD_SCREENSHOTS") or tmp_path)


def no_error_box(page: Any) -> None:
    assert page.get_by_test_id("stException").count() == 0
    assert page.get_by_test_id("stAlertContentError").count() == 0


def clean(page: Any) -> None:
    """Nothing went outside, nothing failed in the console, no name was executed."""
    assert page.watch.outside == []
    assert page.watch.errors == []
    assert page.evaluate("window.executed") is None


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_by_its_link(page: Any, shots: Path, name: str) -> None:
    open_by_link(page, name)
    no_error_box(page)
    picture(page, shots / f"{name.lower()}.png")
    assert (shots / f"{name.lower()}.png").stat().st_size > 20_000
    clean(page)


def test_a_cell_leads_to_clips_neighbours_sound_and_export(
    page: Any, shots: Path, workspace: Workspace
) -> None:
    open_by_link(page, "Layers")
    cell = page.evaluate(
        """() => {
          const chart = document.querySelector('[data-testid="stPlotlyChart"] .js-plotly-plot');
          const box = chart.getBoundingClientRect(), full = chart._fullLayout;
          return {x: box.left + full.xaxis._offset + full.xaxis.d2p(1),
                  y: box.top + full.yaxis._offset + full.yaxis.d2p(2)};
        }"""
    )
    click_mark(page, cell["x"], cell["y"])
    page.get_by_role("heading", name=re.compile("layer 2 × .* layer 1$")).wait_for(timeout=PAGE_MS)
    settle(page)
    # Four at each end, more where somebody asks, and one beside its nearest in both layers.
    assert page.locator("audio").count() >= 8 + 3
    picture(page, shots / "layers-clicked.png")
    plays = "async (sound) => { sound.muted = true; await sound.play(); return sound.duration; }"
    assert page.locator("audio").first.evaluate(plays) > 0
    with page.expect_download(timeout=PAGE_MS) as download:
        page.locator('[class*="clips-of-cell"] button').click()
    rows = pd.read_csv(download.value.path())
    assert set(rows["student_layer"]) == {2} and set(rows["teacher_layer"]) == {1}
    (domain,) = set(rows["domain"])
    n = workspace.read("SELECT count(*) AS n FROM clips WHERE domain = ?", [domain])["n"][0]
    assert len(rows) == rows["clip_id"].nunique() == n
    most = rows.sort_values(["value", "clip_id"], ascending=[False, True])["clip_id"].iloc[0]
    shown = page.get_by_test_id("stMain").inner_text()
    assert shown.index(most) < shown.index("Least faithful clips")
    page.get_by_role("button", name="Find similar").first.click()
    page.get_by_role("heading", name="Search", exact=True).first.wait_for(timeout=PAGE_MS)
    page.locator(".instrument[data-ready]").wait_for(state="attached", timeout=PAGE_MS)
    clean(page)


def test_a_dot_of_bias_opens_the_clips_behind_it(page: Any, shots: Path) -> None:
    open_by_link(page, "Bias")
    dot = page.evaluate(
        """() => {
          const chart = document.querySelector('[data-testid="stPlotlyChart"] .js-plotly-plot');
          chart.scrollIntoView();
          const box = chart.getBoundingClientRect(), full = chart._fullLayout;
          const trace = chart._fullData.find((t) => t.customdata);
          return {x: box.left + full.xaxis._offset + full.xaxis.d2p(trace.x[0]),
                  y: box.top + full.yaxis._offset + full.yaxis.d2p(trace.y[0])};
        }"""
    )
    click_mark(page, dot["x"], dot["y"])
    page.get_by_text("Most faithful clips").wait_for(timeout=PAGE_MS)
    settle(page)
    picture(page, shots / "bias-clicked.png")
    page.get_by_role("button", name="All layers of this pair").click()
    page.get_by_role("heading", name="Layers", exact=True).wait_for(timeout=PAGE_MS)
    settle(page)
    no_error_box(page)
    clean(page)


def test_sql_is_answered_and_can_be_taken_along(page: Any, shots: Path) -> None:
    open_by_link(page, "Data")
    page.get_by_role("tab", name="SQL").click()
    page.get_by_role("button", name="Run").click()
    with page.expect_download(timeout=PAGE_MS) as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    text = Path(download.value.path()).read_text()
    assert text.splitlines()[0] == "domain,label,clips,seconds"
    picture(page, shots / "data-sql.png")
    clean(page)
