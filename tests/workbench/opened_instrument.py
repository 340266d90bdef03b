"""The instrument as tests open it, and what they ask of it."""

import re
from typing import Any
from urllib.parse import parse_qs, urlparse

WAIT_MS = 60_000
INSTRUMENT = "document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot.instrument"


def opened(browser: Any, address: str) -> Any:
    """The instrument in a fresh browser context, at rest."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.failed = []
    page.on("pageerror", lambda error: page.failed.append(str(error)))
    page.goto(address, timeout=WAIT_MS, wait_until="commit")
    page.locator(".instrument[data-ready]").wait_for(timeout=5 * WAIT_MS)
    return page


def state(page: Any) -> dict[str, Any]:
    """What the address says is shown."""
    query = parse_qs(urlparse(page.url).query)
    return {name: values[0] for name, values in query.items()}


def rests(page: Any) -> None:
    """Waits until nothing is asked of the server any more."""
    for _ in range(2):  # an answer may ask for more
        page.wait_for_function(f"() => {INSTRUMENT}.api.pending === 0", timeout=WAIT_MS)
        page.wait_for_timeout(100)


def said(page: Any) -> tuple[int, int]:
    """The two numbers of the bar."""
    text = page.locator(".said").inner_text()
    first, last = re.match(r"([\d,]+) of ([\d,]+)", text).groups()  # type: ignore[union-attr]
    return int(first.replace(",", "")), int(last.replace(",", ""))


def listed(page: Any) -> list[int]:
    """The segments that the table shows."""
    rows = page.locator(".rows .row")
    return [int(row.get_attribute("data-segment")) for row in rows.all()]


def hits_of(page: Any, space: int) -> list[int]:
    found = page.locator(".column").nth(space).locator(".hit")
    return [int(hit.get_attribute("data-segment")) for hit in found.all()]
