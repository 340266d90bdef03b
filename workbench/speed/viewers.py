"""Browsers of embeddings in a Chromium, each behind the same five steps.

First picture, lasso, click to sound, another layer, similar sounds: a viewer that has no such
step says so by not having it. A step ends when its answer is on the screen.
"""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from usad_workbench.workbench.launch import launch
from usad_workbench.workbench.speed.browsing import (
    HOST,
    WAIT_MS,
    StepCost,
    free_port,
    serving,
    step,
)
from usad_workbench.workbench.speed.planted_app import N_LAYERS, N_SOUNDS, Collection

STEPS = ("first picture", "lasso", "click to sound", "layer change", "search")
OUTLINES = ((0.30, 0.30), (0.66, 0.36), (0.42, 0.64))
"""Middles of the outlines that are drawn, as shares of the map's width and height."""
REACH = 0.13
CORNERS = ((-1, -0.4), (-0.4, -1), (0.6, -0.9), (1, 0.1), (0.4, 1), (-0.7, 0.8))


class Viewer(ABC):
    """A browser of embeddings, served for one collection."""

    name: str

    def missing(self) -> str:
        """Why it cannot be measured here; empty where it can."""
        return ""

    @abstractmethod
    def serve(self, collection: Collection, folder: Path) -> Any:
        """A context that serves it, and gives its address."""

    @abstractmethod
    def first_picture(self, page: Any, address: str) -> StepCost:
        """From an empty page to all points drawn."""

    def lasso(self, page: Any, i: int) -> StepCost | None:
        """An outline is let go, until what is in it is known; none without a lasso."""
        return None

    def click(self, page: Any, i: int) -> StepCost | None:
        """A click on the point of a sound, until it is heard."""
        return None

    def layer(self, page: Any, i: int) -> StepCost | None:
        """Another layer's map, until it is drawn."""
        return None

    def search(self, page: Any, i: int) -> StepCost | None:
        """What is similar to the sound that was clicked last."""
        return None


def draw_outline(page: Any, box: dict[str, float], i: int) -> None:
    """Moves the pressed mouse around a part of the map: the answer comes when it is let go."""
    across, down = OUTLINES[i % len(OUTLINES)]
    centre = box["x"] + across * box["width"], box["y"] + down * box["height"]
    side = REACH * min(box["width"], box["height"])
    corners = [(centre[0] + side * x, centre[1] + side * y) for x, y in CORNERS]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in [*corners[1:], corners[0]]:
        page.mouse.move(*corner, steps=4)


class Workbench(Viewer):
    """This project's page ``Map``."""

    name = "usad workbench"
    _seen: frozenset[str] | set[str] = frozenset()
    """Maps that were drawn already."""
    APP = "document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot.instrument"

    def serve(self, collection: Collection, folder: Path) -> Any:
        """As ``usad workbench`` does."""

        @contextmanager
        def served() -> Iterator[str]:
            port = free_port()
            address = f"http://{HOST}:{port}"
            command = launch(collection.workspace, HOST, port)
            with serving(command, f"{address}/_stcore/health", folder / "workbench.log"):
                yield address

        return served()

    def first_picture(self, page: Any, address: str) -> StepCost:
        """Until points have their places and colours."""

        def drawn() -> None:
            page.locator(".instrument[data-ready]").wait_for(timeout=WAIT_MS)
            self._wait(page, "app.panes.panes[0].colours && app.panes.panes[0].to")

        return step(page, lambda: page.goto(f"{address}/map", wait_until="commit"), drawn)

    def lasso(self, page: Any, i: int) -> StepCost:
        """Shift and drag; until bar, bars of counts and table have followed."""
        self._do(page, "app.store.set({ select: [] })")
        page.keyboard.down("Shift")
        draw_outline(page, page.locator(".pane").first.bounding_box(), i)
        page.keyboard.up("Shift")
        known = "app.bar.selected < app.bar.n && app.table.n === app.bar.selected"
        counted = "app.facets.found.n_selected === app.bar.selected && !app.api.pending"
        return step(page, page.mouse.up, lambda: self._wait(page, f"{known} && {counted}"))

    def click(self, page: Any, i: int) -> StepCost | None:
        """Until the sound plays and its spectrogram is drawn; none in a collection without sound."""
        self._do(page, "app.store.set({ select: [], focus: null })")
        segment = i % N_SOUNDS
        left, top, has_audio = self._do(
            page,
            f"""app.api.json("row", {{ segment: {segment} }}).then(({{ row, has_audio }}) => {{
              const [pane] = app.panes.panes, frame = pane.host.getBoundingClientRect();
              const [left, top] = pane.screen(...pane.at(row));
              return [frame.left + left, frame.top + top, has_audio];
            }})""",
        )
        if not has_audio:
            return None
        heard = f"app.store.state.focus === {segment} && app.player.audio.currentTime > 0"
        seen = "app.player.picture.complete && app.player.picture.naturalWidth > 0"
        return step(
            page,
            lambda: page.mouse.click(left, top),
            lambda: self._wait(page, f"{heard} && {seen}"),
        )

    def layer(self, page: Any, i: int) -> StepCost | None:
        """Another map, each for the first time, as the boxes above the map set it."""
        known = self._do(page, "app.collection.maps.map((one) => one.map)")
        shown = self._do(page, "app.store.state.map")
        self._seen = {*self._seen, shown}
        fresh = [one for one in reversed(known) if one not in self._seen]
        if not fresh:
            return None
        wanted = json.dumps(fresh[0])
        return step(
            page,
            lambda: self._do(page, f"app.store.set({{ map: {wanted} }})"),
            lambda: self._wait(page, f"app.panes.panes[0].host.dataset.map === {wanted}"),
        )

    def search(self, page: Any, i: int) -> StepCost:
        """The key S, until its hits are listed and marked."""
        self._do(page, "app.store.set({ for: [] })")
        self._do(page, f"app.describe({{ segment: {i % N_SOUNDS} }}).then((row) => app.focus(row))")
        there = "app.panes.marks.length && !app.api.pending"
        return step(page, lambda: page.keyboard.press("s"), lambda: self._wait(page, there))

    def _do(self, page: Any, expression: str) -> Any:
        return page.evaluate(f"() => {{ const app = {self.APP}; return {expression}; }}")

    def _wait(self, page: Any, condition: str) -> None:
        page.wait_for_function(
            f"() => {{ const app = {self.APP}; return Boolean({condition}); }}", timeout=WAIT_MS
        )


class Plotly(Viewer):
    """What a page of Streamlit does without an instrument: a plotly chart that reruns the page.

    A click is not timed: those of a driven browser chose no point of its chart.
    """

    name = "plotly in Streamlit"

    def serve(self, collection: Collection, folder: Path) -> Any:
        """A page of one chart, a box for the layer and a player."""

        @contextmanager
        def served() -> Iterator[str]:
            port = free_port()
            address = f"http://{HOST}:{port}"
            page = Path(__file__).with_name("plotly_page.py")
            options = ["--server.headless=true", "--browser.gatherUsageStats=false"]
            options += [f"--server.port={port}", f"--server.address={HOST}"]
            command = [sys.executable, "-m", "streamlit", "run", str(page), *options]
            command += ["--", str(collection.table)]
            with serving(command, f"{address}/_stcore/health", folder / "plotly.log"):
                yield address

        return served()

    def first_picture(self, page: Any, address: str) -> StepCost:
        """Until the chart has its points."""

        def drawn() -> None:
            self._rests(page)

        return step(page, lambda: page.goto(address, wait_until="commit"), drawn)

    def lasso(self, page: Any, i: int) -> StepCost:
        """With its own lasso; until the page says how many."""
        before = self._said(page)
        draw_outline(page, page.locator(".js-plotly-plot .nsewdrag").first.bounding_box(), i)
        return step(page, page.mouse.up, lambda: self._says_other(page, before))

    def layer(self, page: Any, i: int) -> StepCost:
        """By the box above the chart."""

        def choose() -> None:
            page.get_by_role("combobox").first.click()
            page.get_by_role("option").nth(N_LAYERS - 2 - i).click()

        title = f"layer {N_LAYERS - 2 - i}"
        there = "(title) => document.querySelector('.js-plotly-plot')?.layout?.title?.text.includes(title)"

        def drawn() -> None:
            page.wait_for_function(there, arg=title, timeout=WAIT_MS)
            self._rests(page)

        return step(page, choose, drawn)

    def _rests(self, page: Any) -> None:
        page.wait_for_function(
            "() => document.querySelector('.js-plotly-plot .nsewdrag') && document.querySelector("
            "'[data-testid=stApp][data-test-script-state=notRunning]')",
            timeout=WAIT_MS,
        )

    def _said(self, page: Any) -> str:
        return str(page.locator("[data-testid=stCaptionContainer]").first.inner_text())

    def _says_other(self, page: Any, before: str) -> None:
        page.wait_for_function(
            "(before) => document.querySelector('[data-testid=stCaptionContainer]')?.innerText "
            "!== before",
            arg=before,
            timeout=WAIT_MS,
        )
