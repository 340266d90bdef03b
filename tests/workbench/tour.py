"""A tour of the app in one minute, as an animated picture: ``python -m tests.workbench.tour WORKSPACE FILE``.

A headless Chromium does what a person would do on the demo's workspace, and each step says what it is.
"""

import argparse
import io
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from tests.workbench.opened_instrument import INSTRUMENT, rests
from tests.workbench.screenshots import PAGE_MS, browser_page, served, settle

WIDTH, HEIGHT, SHOWN = 1280, 800, (960, 600)
QUALITY = 62
HOLD_MS, MOVE_MS = 4200, 90
CAPTION = """(text) => {
  let said = document.querySelector("#tour");
  if (!said) {
    said = document.createElement("div");
    said.id = "tour";
    said.popover = "manual"; // over everything, the navigation too
    said.style.cssText = "inset:auto auto 22px 50%;transform:translateX(-50%);border:0;"
      + "padding:9px 20px;border-radius:22px;background:#17202bee;color:#fff;font:600 18px system-ui;"
      + "white-space:nowrap;pointer-events:none";
    document.body.append(said);
    said.showPopover();
  }
  said.textContent = text;
}"""
Frame = tuple[Image.Image, int]


class Camera:
    """Takes the frames of a page, each for as long as it is shown."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.frames: list[Frame] = []

    def say(self, text: str) -> None:
        """What is done now, at the foot of the picture."""
        self.page.evaluate(CAPTION, text)

    def take(self, ms: int = HOLD_MS) -> None:
        """One frame."""
        shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        self.frames.append((shot.resize(SHOWN, Image.Resampling.LANCZOS), ms))


def tour(page: Any, camera: Camera) -> None:
    """Every step, from the first screen to the proof."""
    page.get_by_text("Comparing layers").wait_for(state="hidden", timeout=PAGE_MS)
    page.locator(".trio button img").last.wait_for(timeout=PAGE_MS)
    settle(page)
    camera.say("What did the student take from its teachers? One sentence, its number, its sounds")
    camera.take()
    camera.say("A click plays a sound that drives the number, and what each encoder finds nearest")
    page.locator(".trio button").nth(1).click()
    camera.take()
    page.locator(".trios .all").click()
    page.locator(".instrument[data-ready]").wait_for(timeout=PAGE_MS)
    rests(page)
    camera.say("The same clips on the map of every encoder and layer")
    camera.take()
    page.evaluate(f"() => {INSTRUMENT}.store.set({{ select: [] }})")
    rests(page)
    camera.say("A lasso: table, counts and sound follow")
    for _ in lasso(page):
        camera.take(MOVE_MS)
    rests(page)
    camera.take()
    page.locator(".rows .row").nth(1).click()
    page.get_by_role("button", name="Similar", exact=True).click()
    page.locator(".hit").first.wait_for(timeout=PAGE_MS)
    rests(page)
    camera.say("What is similar, as each encoder hears it")
    camera.take()
    camera.say("Through the layers, with the selection followed")
    slider = page.get_by_label("Depth: layer of the map")
    slider.focus()
    for key in ["ArrowLeft"] * 4 + ["ArrowRight"] * 4:
        page.keyboard.press(key)
        rests(page)
        page.wait_for_timeout(400)
        camera.take(600)
    page.get_by_role("button", name="Side by side").click()
    rests(page)
    camera.say("Two encoders beside each other, one selection")
    camera.take()
    for name, words in (
        ("Bias", "Every answer beside its placebos: inherited, nothing taken, undecided"),
        ("Layers", "Every pair of layers, domain by domain, down to the clips behind a cell"),
        ("Probes", "What frozen probes read, with intervals and chance"),
    ):
        page.goto(f"{page.address}/{name.lower()}", timeout=PAGE_MS)
        page.get_by_role("heading", name=name, exact=True).first.wait_for(timeout=PAGE_MS)
        settle(page)
        camera.say(words)
        camera.take()


def lasso(page: Any) -> Iterator[None]:
    """Draws around a cluster of the map, a step at a time."""
    box = page.locator(".pane").first.bounding_box()
    at = [box["x"] + 0.28 * box["width"], box["y"] + 0.62 * box["height"]]
    reach = 0.17 * box["width"]
    corners = [
        (
            at[0] + reach * math.cos(i * math.pi / 12),
            at[1] + 0.9 * reach * math.sin(i * math.pi / 12),
        )
        for i in range(25)
    ]
    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(*corners[0])
    page.mouse.down()
    for number, corner in enumerate(corners[1:]):
        page.mouse.move(*corner)
        if number % 3 == 0:
            yield
    page.mouse.up()
    page.wait_for_function("() => location.search.includes('polygon')", timeout=PAGE_MS)


def main(arguments: list[str] | None = None) -> int:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description="A tour of the app as an animated picture.")
    parser.add_argument("workspace", type=Path)
    parser.add_argument("file", type=Path, help="ends in .webp")
    options = parser.parse_args(arguments)
    with served(options.workspace) as address, browser_page(WIDTH, HEIGHT) as page:
        page.address = address
        page.goto(address, timeout=PAGE_MS)
        settle(page)
        camera = Camera(page)
        tour(page, camera)
    pictures, times = zip(*camera.frames, strict=True)
    pictures[0].save(
        options.file,
        save_all=True,
        append_images=list(pictures[1:]),
        duration=list(times),
        loop=0,
        quality=QUALITY,
        method=6,
    )
    sys.stdout.write(f"{options.file}: {len(times)} frames, {sum(times) / 1000:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
