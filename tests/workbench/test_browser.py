"""The app in a real browser: what a person sees, clicks and hears."""

import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import numpy.typing as npt
import pytest
import soundfile as sf

from tests.workbench.opened_app import click_mark
from tests.workbench.screenshots import browser_page, open_by_link, picture, settle
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


def audio_length(page: Any) -> float:
    """The length of the first sound, as the browser decoded it."""
    length: float = page.evaluate(
        """async () => {
          const audio = document.querySelector('audio');
          if (!(audio.duration > 0))
            await new Promise((done) => audio.addEventListener('loadedmetadata', done));
          return audio.duration;
        }"""
    )
    return length


def test_a_clip_finds_itself_first(page: Any, shots: Path) -> None:
    open_by_link(page, "Search")
    assert page.get_by_text("1 · score 1.000").count() == 2
    assert page.get_by_text(re.compile("the query itself$")).count() == 2
    assert page.get_by_text("<script>window.executed=1</script>").first.is_visible()
    assert page.locator("audio").count() == 11
    clean(page)


def test_a_cell_opens_the_clips_behind_it(page: Any, shots: Path) -> None:
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
    assert page.locator("audio").count() == 20
    picture(page, shots / "layers-clicked.png")
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


def wav(samples: npt.NDArray[Any], rate_hz: int = RATE_HZ, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    subtype = "FLOAT" if kind == "WAV" else "PCM_16"
    sf.write(buffer, samples, rate_hz, format=kind, subtype=subtype)
    return buffer.getvalue()


def noise(seconds: float, rate_hz: int = RATE_HZ, channels: int = 1) -> npt.NDArray[Any]:
    rng = np.random.default_rng(0)
    samples: npt.NDArray[Any] = 0.1 * rng.standard_normal((round(seconds * rate_hz), channels))
    return samples


def broken_samples() -> bytes:
    samples = noise(1.0)
    samples[100] = np.nan
    return wav(samples)


def truncated() -> bytes:
    whole = wav(noise(2.0), kind="FLAC")
    return whole[: len(whole) // 2]


BAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty": ("empty.wav", lambda: b"", "cannot be used"),
    "text": ("notes.wav", lambda: b"this is no audio", "holds no audio"),
    "truncated": ("cut.flac", truncated, "cannot be used"),
    "nan": ("nan.wav", broken_samples, "not finite"),
    "one sample": ("one.wav", lambda: wav(np.array([0.5])), "25 ms"),
    "silence": ("silent.wav", lambda: wav(np.zeros(RATE_HZ)), "is silent"),
    "markup": (
        "<script>window.executed=1<img src=x onerror=window.executed=1>.wav",
        lambda: b"no audio",
        "holds no audio",
    ),
}
GOOD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "plain": ("plain.wav", lambda: wav(noise(2.0))),
    "many channels": ("eight.wav", lambda: wav(noise(2.0, channels=8))),
    "high rate": ("high.wav", lambda: wav(noise(1.0, rate_hz=192_000), 192_000)),
    "long": ("long.flac", lambda: wav(noise(95.0), kind="FLAC")),
    "markup": ("<img src=x onerror=window.executed=1>.wav", lambda: wav(noise(1.0))),
}


@pytest.fixture
def uploader(page: Any, address: str) -> Any:
    """The page Search with two encoders that this machine can run, waiting for a file."""
    page.goto(address, timeout=PAGE_MS)
    settle(page)
    open_by_link(page, "Search")
    page.get_by_role("radio", name="File").or_(
        page.get_by_test_id("stButtonGroup").get_by_text("File", exact=True)
    ).first.click()
    settle(page)

    def upload(name: str, data: bytes) -> None:
        page.locator("input[type=file]").set_input_files(
            {"name": name, "mimeType": "audio/wav", "buffer": data}
        )

    return upload


@pytest.mark.parametrize("kind", BAD)
def test_bad_uploads_are_named(page: Any, uploader: Any, shots: Path, kind: str) -> None:
    name, data, message = BAD[kind]
    uploader(name, data())
    box = page.get_by_test_id("stAlertContentError")
    box.wait_for(timeout=PAGE_MS)
    settle(page)
    said = box.inner_text().replace("\u2060", "")
    assert message in said
    assert name in said
    assert page.get_by_test_id("stException").count() == 0
    if kind == "truncated":
        picture(page, shots / "search-bad-upload.png")
    page.watch.errors = [e for e in page.watch.errors if "upload" not in e.lower()]
    clean(page)


@pytest.mark.parametrize("kind", GOOD)
def test_good_uploads_are_searched(page: Any, uploader: Any, shots: Path, kind: str) -> None:
    name, data = GOOD[kind]
    uploader(name, data())
    page.locator("audio").first.wait_for(state="attached", timeout=PAGE_MS)
    settle(page)
    for side in range(2):
        page.get_by_role("combobox", name="Encoder").nth(side).click()
        # An open list hides everything else from roles, so the keyboard goes where the focus is.
        page.keyboard.press("Control+a")
        page.keyboard.type("log-mel")
        page.get_by_role("option", name="baseline · log-mel-statistics").click()
        settle(page)
    no_error_box(page)
    assert page.get_by_text(re.compile(r"^1 (● )?· score")).count() == 2
    if kind == "long":
        assert page.get_by_text("Part to look for").is_visible()
        assert audio_length(page) == pytest.approx(10.0, abs=0.01)
        picture(page, shots / "search-upload.png")
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
