"""Pages that everybody can use: read aloud, in light and dark, on a phone and on a tablet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import pytest

from tests.workbench.opened_app import app_in_browser
from tests.workbench.screenshots import PAGE_MS, PAGES, settle
from usad_workbench.core.storage.workspace import Workspace

pytestmark = pytest.mark.browser
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
FINDINGS = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  const found = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return found.map(({ id, nodes }) => `${id}: ${nodes.map((one) => one.html.slice(0, 200))}`);
}"""
TOO_WIDE = """() => {
  const main = document.querySelector('[data-testid=stMain]');
  return [document.documentElement.scrollWidth - innerWidth, main.scrollWidth - main.clientWidth];
}"""
IS_DARK = """(isDark) => {
  const page = document.querySelector('.instrument') ?? document.querySelector('[data-testid=stApp]');
  const [red] = getComputedStyle(page).backgroundColor.match(/[0-9.]+/g).map(Number);
  return red < 128 === isDark;
}"""


@pytest.fixture(scope="module")
def page(diagnosed: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with app_in_browser(diagnosed.folder, log) as opened_page:
        opened_page.address = opened_page.url.rstrip("/")
        yield opened_page


def open_page(page: Any, name: str) -> None:
    page.goto(f"{page.address}/{'' if name == 'Overview' else name.lower()}", timeout=PAGE_MS)
    page.get_by_role("heading", name=name, exact=True).first.wait_for(timeout=PAGE_MS)
    if name in ("Map", "Search"):
        page.locator(".instrument[data-ready]").wait_for(state="attached", timeout=PAGE_MS)
    page.get_by_text("Comparing layers").wait_for(state="hidden", timeout=PAGE_MS)
    settle(page)


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(
    page: Any, name: str
) -> None:
    open_page(page, name)
    page.evaluate(AXE)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(IS_DARK, arg=theme == "dark", timeout=PAGE_MS)
        settle(page)
        assert page.evaluate(FINDINGS) == [], theme
    for size in ((820, 1180), (390, 844)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        settle(page)
        assert page.evaluate(TOO_WIDE) == [0, 0], size
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    assert page.errors == []


def test_axe_would_find_a_picture_without_words(page: Any) -> None:
    open_page(page, "Data")
    page.evaluate("""() => {
      const picture = document.createElement("img");
      picture.src = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
      document.querySelector("[data-testid=stMain]").append(picture);
    }""")
    page.evaluate(AXE)
    assert any(words.startswith("image-alt") for words in page.evaluate(FINDINGS))


def test_on_a_phone_charts_stand_below_each_other(page: Any) -> None:
    """None is moved sideways: each has the width of the screen."""
    phone = page.context.browser.new_page(
        user_agent="Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/150.0 Mobile Safari/537",
        viewport={"width": 390, "height": 844},
    )
    phone.address = page.address
    open_page(phone, "Bias")
    phone.locator(".js-plotly-plot .cartesianlayer .subplot").first.wait_for(timeout=PAGE_MS)
    found = phone.evaluate("""() => [...document.querySelectorAll('.js-plotly-plot')].map((chart) => {
      const axes = Object.keys(chart._fullLayout).filter((name) => /^xaxis\\d*$/.test(name));
      const domains = axes.map((name) => chart._fullLayout[name].domain.join());
      return [chart.getBoundingClientRect().width, new Set(domains).size];
    })""")
    assert found
    for width, n_columns in found:
        assert width <= 390 and n_columns == 1
    phone.close()
