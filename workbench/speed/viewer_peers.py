"""Other browsers of embeddings as ``usad bench app`` opens them, each where it can be had.

None of them is a dependency: each is named by an environment variable, and left out with its
reason where that is not set. docs/scale.md says how to get them.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from usad_workbench.workbench.speed.browsing import (
    HOST,
    WAIT_MS,
    StepCost,
    free_port,
    serving,
    step,
)
from usad_workbench.workbench.speed.planted_app import N_LAYERS, N_SOUNDS, Collection, spots
from usad_workbench.workbench.speed.viewers import OUTLINES, REACH, Viewer, draw_outline

NODE, SPOTLIGHT = "USAD_BENCH_NODE", "USAD_BENCH_SPOTLIGHT"
PACKAGES = ("regl-scatterplot", "regl", "pub-sub-es")
SIDE_PX = 640
PLOT = {"xAxisColumn": f"x{N_LAYERS - 1}", "yAxisColumn": f"y{N_LAYERS - 1}", "colorBy": "domain"}
WIDGETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("scatterplot", {**PLOT, "filter": False}),
    ("table", {"tableView": "full", "orderByRelevance": False}),
    ("inspector", {"visibleColumns": 4}),
)
LAYOUT = {
    "orientation": "horizontal",
    "children": [
        {
            "kind": "split",
            "weight": 1,
            "children": [
                {
                    "kind": "tab",
                    "weight": 1,
                    "children": [{"kind": "widget", "type": name, "config": config}],
                }
            ],
        }
        for name, config in WIDGETS
    ],
}
REGL_PAGE = f"""<!doctype html><meta charset="utf-8"><title>regl-scatterplot</title>
<script src="regl/dist/regl.min.js"></script>
<script type="importmap">{{"imports": {{
  "regl": "./regl.js", "pub-sub-es": "./pub-sub-es/dist/index.js",
  "regl-scatterplot": "./regl-scatterplot/dist/regl-scatterplot.esm.js"}}}}</script>
<canvas style="width: {SIDE_PX}px; height: {SIDE_PX}px"></canvas>
<script type="module">
import createScatterplot from "regl-scatterplot";
const canvas = document.querySelector("canvas");
const plot = createScatterplot({{ canvas, width: {SIDE_PX}, height: {SIDE_PX}, pointSize: 3,
  colorBy: "valueA", pointColor: ["#2f6db3", "#d9730d", "#148a68", "#a4559a"] }});
const read = async (name, kind) => new kind(await (await fetch(name)).arrayBuffer());
window.chosen = null;
plot.subscribe("select", ({{ points }}) => (window.chosen = points.length));
const codes = await read("codes.bin", Float32Array);
window.show = async (layer) => {{
  const [x, y] = await Promise.all(["x", "y"].map((axis) => read(`${{axis}}${{layer}}.bin`, Float32Array)));
  await plot.draw({{ x, y, valueA: codes }});
  window.shown = layer;
}};
window.tool = (mouseMode) => plot.set({{ mouseMode }});
window.forget = () => {{ plot.deselect(); window.chosen = null; }};
await window.show({N_LAYERS - 1});
</script>"""


class Regl(Viewer):
    """regl-scatterplot on a page of its own: a library of points, without table, texts or sound."""

    name = "regl-scatterplot"

    def missing(self) -> str:
        """It is a package of npm."""
        folder = Path(os.environ.get(NODE, ""), "node_modules")
        if NODE in os.environ and all((folder / one).is_dir() for one in PACKAGES):
            return ""
        return f"{NODE} names no folder into which npm has installed {', '.join(PACKAGES)}"

    def serve(self, collection: Collection, folder: Path) -> Any:
        """Its modules, a page and the points as binary columns."""
        site = folder / "regl"
        _write_site(site, collection)

        @contextmanager
        def served() -> Iterator[str]:
            port = free_port()
            address = f"http://{HOST}:{port}"
            command = [sys.executable, "-m", "http.server", str(port), "--bind", HOST]
            with serving(command, f"{address}/index.html", folder / "regl.log", site):
                yield f"{address}/index.html"

        return served()

    def first_picture(self, page: Any, address: str) -> StepCost:
        """Until its promise of a drawing is kept."""
        return step(
            page,
            lambda: page.goto(address, wait_until="commit"),
            lambda: self._shows(page, N_LAYERS - 1),
        )

    def lasso(self, page: Any, i: int) -> StepCost:
        """Until it says how many points."""
        page.evaluate("() => { window.forget(); window.tool('lasso'); }")
        draw_outline(page, page.locator("canvas").bounding_box(), i)
        return step(page, page.mouse.up, lambda: self._chose(page))

    def click(self, page: Any, i: int) -> StepCost:
        """Until it says which point: it has no sounds."""
        page.evaluate("() => { window.forget(); window.tool('panZoom'); }")
        box = page.locator("canvas").bounding_box()
        x, y = spots()[i % N_SOUNDS]
        left = box["x"] + (x / 1.2 + 1) / 2 * box["width"]
        top = box["y"] + (1 - y / 1.2) / 2 * box["height"]

        def press() -> None:
            page.mouse.move(left, top)
            page.mouse.click(left, top)

        return step(page, press, lambda: self._chose(page))

    def layer(self, page: Any, i: int) -> StepCost:
        """The points of another layer, fetched and drawn."""
        wanted = N_LAYERS - 2 - i
        return step(
            page,
            lambda: page.evaluate(f"() => {{ window.show({wanted}); }}"),
            lambda: self._shows(page, wanted),
        )

    def _shows(self, page: Any, layer: int) -> None:
        page.wait_for_function(f"() => window.shown === {layer}", timeout=WAIT_MS)

    def _chose(self, page: Any) -> None:
        page.wait_for_function("() => window.chosen !== null", timeout=WAIT_MS)


def _write_site(site: Path, collection: Collection) -> None:
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    for name in PACKAGES:
        shutil.copytree(Path(os.environ[NODE], "node_modules", name), site / name)
    (site / "regl.js").write_text("export default window.createREGL;\n", encoding="utf-8")
    (site / "index.html").write_text(REGL_PAGE, encoding="utf-8")
    table = pq.read_table(collection.table)
    for layer in range(N_LAYERS):
        for axis in "xy":
            values = table[f"{axis}{layer}"].to_numpy().astype("<f4") / 1.2
            (site / f"{axis}{layer}.bin").write_bytes(values.tobytes())
    codes = table["domain"].combine_chunks().dictionary_encode().indices.to_numpy()
    (site / "codes.bin").write_bytes(codes.astype("<f4").tobytes())


class Spotlight(Viewer):
    """Renumics Spotlight on the same table: a scatter plot of two columns, a table, an inspector.

    It selects by a rectangle instead of a lasso, and plays a sound once its own button is found:
    that step is left out.
    """

    name = "Spotlight"

    def missing(self) -> str:
        """It is installed beside this package: it needs another pandas."""
        if Path(os.environ.get(SPOTLIGHT, "")).is_file():
            return ""
        return f"{SPOTLIGHT} names no command spotlight"

    def serve(self, collection: Collection, folder: Path) -> Any:
        """Its command on the table."""
        layout = folder / "spotlight.json"
        layout.write_text(json.dumps(LAYOUT), encoding="utf-8")

        @contextmanager
        def served() -> Iterator[str]:
            port = free_port()
            address = f"http://{HOST}:{port}"
            words = [str(collection.table), "--host", HOST, "--port", str(port), "--no-browser"]
            words += ["--dtype", "path=Audio", "--layout", str(layout)]
            with serving([os.environ[SPOTLIGHT], *words], address, folder / "spotlight.log"):
                yield address

        return served()

    def first_picture(self, page: Any, address: str) -> StepCost:
        """Until its table shows the first clip and its plot has a canvas."""

        def drawn() -> None:
            page.get_by_text("tone0", exact=False).first.wait_for(timeout=WAIT_MS)
            page.locator("canvas").first.wait_for(timeout=WAIT_MS)

        return step(page, lambda: page.goto(address, wait_until="commit"), drawn)

    def lasso(self, page: Any, i: int) -> StepCost:
        """A rectangle with Control held; until it says how many rows."""
        before = self._selected(page)
        box = page.locator("canvas").first.bounding_box()
        across, down = OUTLINES[i % len(OUTLINES)]
        side = REACH * min(box["width"], box["height"])
        centre = box["x"] + across * box["width"], box["y"] + down * box["height"]
        page.mouse.move(centre[0] - side, centre[1] - side)
        page.mouse.down()
        page.mouse.move(centre[0] + side, centre[1] + side, steps=8)
        said = "(before) => document.body.innerText.match(/Selected\\s*(\\d+)/)?.[1] !== before"
        return step(
            page,
            page.mouse.up,
            lambda: page.wait_for_function(said, arg=before, timeout=WAIT_MS),
        )

    def _selected(self, page: Any) -> str | None:
        found = re.search(r"Selected\s*(\d+)", page.inner_text("body"))
        return found[1] if found else None
