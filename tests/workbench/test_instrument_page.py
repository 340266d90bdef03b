"""The instrument in a real browser: from a picture of segments to the sound of one."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest

from tests.workbench.copied_workspace import copy_into
from tests.workbench.opened_app import require_browser
from tests.workbench.opened_instrument import (
    INSTRUMENT,
    WAIT_MS,
    hits_of,
    listed,
    opened,
    rests,
    said,
    state,
)
from tests.workbench.screenshots import served
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import project_space

pytestmark = pytest.mark.browser
LAYERS = (1, 2, 4)


@pytest.fixture(scope="module")
def mapped(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the small workspace with maps of several layers, which may be written to."""
    copy = copy_into(tmp_path_factory.mktemp("mapped"), workspace)
    for layer in LAYERS:
        project_space(copy, "tiny-student", layer, method="pca")
    return copy


@pytest.fixture(scope="module")
def address(mapped: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require_browser()
    with served(mapped.folder, tmp_path_factory.mktemp("server") / "log.txt") as found:
        yield f"{found}/map"


@pytest.fixture(scope="module")
def page(browser: Any, address: str) -> Any:
    return opened(browser, address)


@pytest.fixture
def fresh(page: Any) -> Any:
    """The page with nothing selected, one map, and nothing heard."""
    page.evaluate(
        """() => {
          const { store } = instrument();
          store.set({ select: [], mode: "one", view: null, sort: null, down: false, for: [], unlike: [] });
        }""".replace("instrument()", INSTRUMENT)
    )
    rests(page)
    return page


def places(page: Any, pane: int = 0) -> dict[int, tuple[float, float]]:
    """Where each row lies in the window."""
    found = page.evaluate(
        f"""() => {{
          const pane = {INSTRUMENT}.panes.panes[{pane}];
          const box = pane.host.getBoundingClientRect();
          return Array.from({{ length: pane.to.n }}, (_, row) => {{
            const place = pane.at(row);
            if (!place) return null;
            const [x, y] = pane.screen(...place);
            return [box.left + x, box.top + y];
          }});
        }}"""
    )
    return {row: tuple(place) for row, place in enumerate(found) if place}


def lasso(page: Any, x: float, y: float, radius: float) -> list[tuple[float, float]]:
    """Draws a circle around a place; its corners in the window."""
    corners = [
        (x + radius * math.cos(i * math.pi / 15), y + radius * math.sin(i * math.pi / 15))
        for i in range(30)
    ]
    page.get_by_role("button", name="Lasso").click()
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner)
    page.mouse.up()
    page.wait_for_function("() => location.search.includes('polygon')", timeout=WAIT_MS)
    rests(page)
    return corners


def around(page: Any) -> set[int]:
    """A lasso around the middle of the points; the rows that must be in it."""
    found = places(page)
    x, y = np.median(list(found.values()), axis=0)
    distances = {row: math.dist(place, (x, y)) for row, place in found.items()}
    # Halfway between two points, so that none lies on the line.
    order = sorted(distances.values())
    k = max(range(20, 60), key=lambda i: order[i + 1] - order[i])
    radius = (order[k] + order[k + 1]) / 2
    lasso(page, float(x), float(y), radius)
    return {row for row, distance in distances.items() if distance < radius}


def test_lasso_table_and_sound_follow_each_other(fresh: Any, mapped: Workspace) -> None:
    inside = around(fresh)
    n_selected, n = said(fresh)
    assert n == 111
    assert abs(n_selected - len(inside)) <= 2  # points at the edge of a polygon of 30 corners
    shown = fresh.evaluate(f"() => [...{INSTRUMENT}.rows].map(([row, segment]) => [segment, row])")
    row_of = dict(shown)
    assert len(listed(fresh)) > 3
    assert {row_of[segment] for segment in listed(fresh)} <= inside
    fresh.locator(".rows .row").nth(1).click()
    segment = listed(fresh)[1]
    length_s = fresh.wait_for_function(
        f"() => {INSTRUMENT}.player.audio.duration || null", timeout=WAIT_MS
    ).json_value()
    row = mapped.sql(
        "SELECT end_s - start_s AS length_s, clip_id FROM segments WHERE segment_id = ?",
        [segment],
    ).iloc[0]
    assert length_s == pytest.approx(row.length_s, abs=0.01)
    assert fresh.locator(".player h2").inner_text() == row.clip_id
    assert state(fresh)["focus"] == str(segment)
    assert fresh.failed == []


def test_a_click_on_a_point_hears_that_point(fresh: Any) -> None:
    found = places(fresh)
    rows, xy = list(found), np.array(list(found.values()))
    gaps = np.linalg.norm(xy[:, None] - xy[None], axis=-1) + np.eye(len(xy)) * 1e9
    alone = int(gaps.min(axis=1).argmax())
    fresh.mouse.click(*xy[alone])
    fresh.wait_for_function(f"() => {INSTRUMENT}.focused?.row === {rows[alone]}", timeout=WAIT_MS)
    assert fresh.locator(".screen img").get_attribute("src")


def test_bars_filter_and_do_not_shrink_themselves(fresh: Any, mapped: Workspace) -> None:
    sizes = mapped.sql("SELECT domain, count(*) AS n FROM segments_of_clips GROUP BY domain")
    n_of = dict(zip(sizes.domain, sizes.n, strict=True))
    bar = fresh.get_by_role("checkbox", name=re.compile("^domain speech: "))
    bar.click()
    rests(fresh)
    assert said(fresh) == (n_of["speech"], sum(n_of.values()))
    music = fresh.get_by_role("checkbox", name=re.compile("^domain music: "))
    assert music.get_attribute("aria-label") == f"domain music: {n_of['music']} of {n_of['music']}"
    music.click()
    rests(fresh)
    assert said(fresh)[0] == n_of["speech"] + n_of["music"]
    fresh.get_by_role("button", name="Undo").click()
    rests(fresh)
    assert said(fresh)[0] == n_of["speech"]


def test_a_lasso_is_followed_through_the_layers(fresh: Any) -> None:
    around(fresh)
    before, at = said(fresh), places(fresh)
    slider = fresh.get_by_role("slider", name=re.compile("^Depth"))
    slider.focus()
    slider.press("ArrowLeft")
    fresh.wait_for_function(
        f"() => {{ const pane = {INSTRUMENT}.panes.panes[0]; "
        "return pane.map.includes('/2/') && pane.from === pane.to; }",
        timeout=WAIT_MS,
    )
    rests(fresh)
    assert said(fresh) == before
    assert places(fresh) != at
    assert state(fresh)["map"] == "tiny-student/2/mean/pca"


def test_side_by_side_has_one_selection(fresh: Any) -> None:
    around(fresh)
    fresh.get_by_role("button", name="Side by side").click()
    fresh.wait_for_function(f"() => {INSTRUMENT}.panes.panes[1]?.from", timeout=WAIT_MS)
    rests(fresh)
    assert fresh.locator(".pane").count() == 2
    same = fresh.evaluate(
        f"() => {{ const [a, b] = {INSTRUMENT}.panes.panes; "
        "return a.bits === b.bits && a.bits !== null && a.map !== b.map; }"
    )
    assert same
    assert fresh.failed == []


def test_a_link_opens_the_same_view_in_another_browser(fresh: Any, browser: Any) -> None:
    around(fresh)
    fresh.get_by_role("combobox", name="Colour").select_option("label")
    fresh.locator(".rows .row").nth(2).click()
    rests(fresh)
    there = opened(browser, fresh.url)
    rests(there)
    assert said(there) == said(fresh)
    assert listed(there) == listed(fresh)
    assert state(there) == state(fresh)
    assert there.locator(".player h2").inner_text() == fresh.locator(".player h2").inner_text()
    there.context.close()


def test_the_keyboard_alone_reaches_a_sound(fresh: Any) -> None:
    pane = fresh.locator(".pane").first
    pane.focus()
    for key in ("ArrowLeft", "+", "+", "Enter"):
        fresh.keyboard.press(key)
    fresh.wait_for_function(f"() => {INSTRUMENT}.focused", timeout=WAIT_MS)
    fresh.keyboard.press("Shift+Enter")
    fresh.wait_for_function("() => location.search.includes('polygon')", timeout=WAIT_MS)
    rests(fresh)
    assert 0 < said(fresh)[0] < said(fresh)[1]
    order = fresh.evaluate(f"() => {INSTRUMENT}.table.pages.get(0).map((row) => row.segment_id)")
    place = order.index(int(state(fresh)["focus"]))
    for key, step in (("k", -1), ("j", 1), ("j", 1)):
        place = min(max(place + step, 0), len(order) - 1)  # the ends are not left
        fresh.keyboard.press(key)
        fresh.wait_for_function(
            f"() => {INSTRUMENT}.focused.segment_id === {order[place]}", timeout=WAIT_MS
        )
    fresh.locator(".table .scroll").focus()  # away from the map, whose arrows move the view
    for key, step in (("ArrowUp", -1), ("ArrowDown", 1)):
        place = min(max(place + step, 0), len(order) - 1)
        fresh.keyboard.press(key)
        fresh.wait_for_function(
            f"() => {INSTRUMENT}.focused.segment_id === {order[place]}", timeout=WAIT_MS
        )
    fresh.keyboard.press("Escape")
    rests(fresh)
    assert said(fresh)[0] == said(fresh)[1]
    assert json.loads(state(fresh).get("select", "[]")) == []


def test_similar_in_two_spaces_a_tag_that_is_undone_and_an_export(
    fresh: Any, mapped: Workspace
) -> None:
    around(fresh)
    fresh.locator(".rows .row").first.click()
    fresh.wait_for_function(f"() => {INSTRUMENT}.focused", timeout=WAIT_MS)
    fresh.get_by_role("button", name="Similar", exact=True).click()
    fresh.locator(".column .hit").first.wait_for(timeout=WAIT_MS)
    left, right = hits_of(fresh, 0), hits_of(fresh, 1)
    assert len(left) == len(right) == 6
    assert int(state(fresh)["focus"]) not in left + right
    framed = [int(hit.get_attribute("data-segment")) for hit in fresh.locator(".hit.only").all()]
    assert sorted(framed) == sorted(set(left) ^ set(right))
    assert f"{len(set(left) & set(right))} of 6 shared" in fresh.locator(".agreed").inner_text()
    n_selected = said(fresh)[0]
    fresh.keyboard.press("t")
    fresh.keyboard.type("check by ear")
    fresh.keyboard.press("Enter")
    chip = fresh.locator(".facet .chip")
    chip.first.wait_for(timeout=WAIT_MS)
    assert chip.inner_text() == f"check by ear · {n_selected}"
    chip.click()
    rests(fresh)
    assert said(fresh)[0] == n_selected
    for _ in range(2):  # the filter by the tag, then the tag
        fresh.get_by_role("button", name="Undo").click()
        rests(fresh)
    chip.first.wait_for(state="detached", timeout=WAIT_MS)
    assert said(fresh)[0] == n_selected
    fresh.get_by_role("button", name="Export").click()
    with fresh.expect_download(timeout=WAIT_MS) as download:
        fresh.get_by_role("button", name=re.compile("^CSV")).click()
    assert len(pd.read_csv(download.value.path())) == n_selected


def test_a_link_to_what_is_gone_says_so_and_selects_nothing(
    browser: Any, address: str, mapped: Workspace
) -> None:
    gone = {"polygon": [[0, 0], [1, 0], [1, 1]], "map": "gone/3/mean/umap"}
    search = urlencode({"select": json.dumps([gone]), "for": "[99999999]", "view": "5", "k": '"a"'})
    there = opened(browser, f"{address}?{search}")
    rests(there)
    n = said(there)[1]
    assert said(there) == (0, n)
    assert "gone/3/mean/umap" in there.locator(".empty-row").inner_text()
    assert "segment 99999999" in there.locator(".examples .chip").inner_text()
    asked: list[str] = []
    there.on("request", lambda request: asked.append(request.url))
    there.wait_for_timeout(500)
    assert asked == []  # and is not asked for again and again
    there.get_by_role("button", name="Export").click()
    there.get_by_role("button", name=re.compile("^CSV")).click()
    there.wait_for_function(f"() => {INSTRUMENT}.message.textContent.includes('gone/3')")
    for _ in range(2):  # the window of the export, then the selection
        there.keyboard.press("Escape")
    rests(there)
    assert said(there) == (n, n)
    assert there.failed == []
    there.context.close()


def focused(page: Any) -> str:
    """What has the keyboard, in words."""
    found: str = page.evaluate(
        """() => {
          let at = document.activeElement;
          while (at?.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
          return at.getAttribute("aria-label") ?? at.textContent;
        }"""
    )
    return found


def test_the_keyboard_stays_on_what_it_has_pressed(fresh: Any) -> None:
    for place, key in (
        (".player [aria-label=Loop]", "Enter"),
        (".rows [data-key^=hear] >> nth=1", "Enter"),
        (".row.head button >> nth=0", "Enter"),
        (".facets button.bar >> nth=0", "Enter"),
        (".top select >> nth=1", "ArrowUp"),
    ):
        fresh.locator(place).focus()
        before = focused(fresh)
        fresh.keyboard.press(key)
        rests(fresh)
        assert focused(fresh).split(":")[0].strip(" ↑↓") == before.split(":")[0].strip(" ↑↓"), place
    for name in ("Tag", "Export"):
        fresh.get_by_role("button", name=name, exact=True).focus()
        fresh.keyboard.press("Enter")
        assert fresh.locator(".popover :focus").count() == 1
        fresh.keyboard.press("Tab")
        fresh.keyboard.press("Escape")
        assert focused(fresh) == name and fresh.locator(".popover").count() == 0
    fresh.locator(".player [aria-label=Loop]").click()  # as it was
    assert fresh.failed == []


def test_a_window_undoes_its_own_tag_alone(fresh: Any, browser: Any, address: str) -> None:
    other = opened(browser, address)
    for page, tag in ((fresh, "mine"), (other, "theirs")):
        page.evaluate(
            f"""async () => {{
              {INSTRUMENT}.store.set({{ select: [{{ segments: [5] }}] }});
              await {INSTRUMENT}.bar.tag("{tag}");
            }}"""
        )
    fresh.get_by_role("button", name="Undo").click()
    rests(fresh)
    assert fresh.evaluate(f"() => {INSTRUMENT}.tags.map(({{ tag }}) => tag)") == ["theirs"]
    other.evaluate(f"() => {INSTRUMENT}.bar.undo()")
    rests(other)
    assert other.evaluate(f"() => {INSTRUMENT}.tags") == []
    other.context.close()


def test_labels_are_changed_from_the_page_and_taken_back(fresh: Any, mapped: Workspace) -> None:
    first = fresh.locator(".rows .row").first
    first.click()
    segment = int(first.get_attribute("data-segment"))

    def label() -> str:
        row = mapped.read(f"SELECT label FROM segments_of_clips WHERE segment_id = {segment}")
        return str(row.label[0])

    before = label()
    fresh.get_by_role("button", name="✎ label").click()
    field = fresh.get_by_label("Label", exact=True)
    assert field.input_value() == before
    field.fill("a bell")
    field.press("Enter")
    fresh.get_by_text("1 clip labelled “a bell”.").wait_for(timeout=WAIT_MS)
    assert label() == "a bell"
    rests(fresh)
    assert "a bell" in fresh.locator(".player").inner_text()
    with fresh.expect_response("**/instrument/unlabel*"):
        fresh.get_by_role("button", name="Undo").click()
    rests(fresh)
    assert label() == before and not fresh.failed


def test_rows_beyond_what_browsers_scroll_are_reached(fresh: Any) -> None:
    shown = fresh.evaluate(
        f"""() => {{
          const {{ table }} = {INSTRUMENT};
          table.page = () => null;
          table.n = 1_000_000;
          const found = [0, 120, 400_000, 999_999, 999_990, 7].map((i) => {{
            table.reveal(i);
            table.draw();
            return table.body.querySelector(`[aria-rowindex="${{i + 1}}"]`) !== null;
          }});
          delete table.page;
          table.load();
          return found;
        }}"""
    )
    assert shown == [True] * 6


def test_a_map_is_made_from_the_page_which_goes_on(fresh: Any) -> None:
    shown = state(fresh).get("map")
    fresh.get_by_role("button", name="New map").click()
    fresh.get_by_label("method").select_option("pca")
    assert fresh.get_by_label("min dist").is_hidden()
    fresh.get_by_role("button", name="Make it").click()
    fresh.get_by_role("button", name="Cancel the map").wait_for(timeout=WAIT_MS)
    fresh.locator(".table .row:not(.head)").first.click()  # the page answers meanwhile
    assert fresh.locator(".player h2").inner_text() != "Nothing to hear yet"
    fresh.get_by_text("The map is there.").wait_for(timeout=5 * WAIT_MS)
    fresh.get_by_role("button", name="New map").wait_for(timeout=WAIT_MS)
    rests(fresh)
    assert state(fresh).get("map") == shown and not fresh.failed


def test_what_changes_while_it_is_loaded_is_loaded_again(fresh: Any) -> None:
    """Somebody writes between the page's first question and its points, three times."""
    left = [3]

    def changed(route: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            return route.continue_()
        told = {"error": "The collection has changed. Load it again.", "version": "newer"}
        return route.fulfill(status=409, json=told)

    fresh.route("**/instrument/points*", changed)
    fresh.evaluate(f"() => {{ {INSTRUMENT}.api.kept.clear(); {INSTRUMENT}.restart(); }}")
    rests(fresh)
    fresh.unroute("**/instrument/points*")
    assert left[0] < 0
    assert fresh.locator(".maps .empty").is_hidden()
    assert "has changed" not in fresh.locator(".message").text_content()
    _, n = said(fresh)
    assert len(places(fresh)) == n
    assert not fresh.failed


def test_a_map_that_did_not_come_is_asked_for_again(fresh: Any) -> None:
    """A lost connection is said, and is no reason to show another map's points for ever."""
    deep, other = (f"tiny-student/{layer}/mean/pca" for layer in (4, 1))
    show = f"(map) => {INSTRUMENT}.store.set({{ map }})"
    fresh.evaluate(show, deep)
    rests(fresh)
    fresh.route("**/instrument/points*", lambda route: route.abort())
    fresh.evaluate(f"() => {INSTRUMENT}.api.kept.clear()")
    fresh.evaluate(show, other)
    fresh.locator(".message").wait_for(timeout=WAIT_MS)
    fresh.unroute("**/instrument/points*")
    fresh.evaluate(show, deep)
    rests(fresh)
    fresh.evaluate(show, other)
    fresh.locator(f".pane[data-map='{other}']").wait_for(timeout=WAIT_MS)
    assert not fresh.failed
