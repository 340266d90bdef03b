"""Sessions beside each other, in a workspace that another program writes to meanwhile."""

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.workbench.copied_workspace import copy_into
from tests.workbench.opened_app import require_browser
from tests.workbench.opened_instrument import INSTRUMENT, WAIT_MS, opened, rests, said
from tests.workbench.screenshots import open_by_link, served, settle
from usad_workbench.core.storage.annotations import tag_segments
from usad_workbench.core.storage.workspace import Workspace

pytestmark = pytest.mark.browser
N_SESSIONS, N_ROUNDS = 4, 3


@pytest.fixture
def written(workspace: Workspace, tmp_path: Path) -> Workspace:
    return copy_into(tmp_path, workspace)


def write(workspace: Workspace, stop: threading.Event, labels: list[str]) -> None:
    """Gives labels and tags until it is told to stop; what pages hold is out of date each time."""
    ids = workspace.read("SELECT segment_id FROM segments ORDER BY 1").segment_id.to_numpy()
    while not stop.wait(0.3):
        labels.append(f"label {len(labels)}")
        with workspace.database.write() as connection:
            connection.execute("UPDATE clips SET label = ?", [labels[-1]])
        tag_segments(workspace, ids[: len(labels)], "written", "another program")


def test_sessions_beside_a_writer_show_what_is_there(
    browser: Any, written: Workspace, tmp_path: Path
) -> None:
    require_browser()
    segments = written.read("SELECT segment_id FROM segments ORDER BY 1").segment_id.tolist()
    stop, labels = threading.Event(), [""]
    writer = threading.Thread(target=write, args=(written, stop, labels))
    with served(written.folder, tmp_path / "log.txt") as address:
        names = ["search", "map"] * (N_SESSIONS // 2)
        pages = [opened(browser, f"{address}/{name}") for name in names]
        writer.start()
        try:
            for turn in range(N_ROUNDS):
                for i, page in enumerate(pages):  # none waits for the one before
                    asked = segments[7 * turn + i]
                    page.evaluate(
                        f"() => {INSTRUMENT}.store.set({{ for: [{asked}], spaces: "
                        "['tiny-student/4/mean', 'log-mel-statistics/0/mean'], select: "
                        "[{ column: 'domain', in: ['music'] }] })"
                    )
                for page in pages:
                    rests(page)
        finally:
            stop.set()
            writer.join()
        n_music = int(
            written.read("SELECT count(*) AS n FROM segments_of_clips WHERE domain = 'music'").n[0]
        )
        for page in pages:
            page.evaluate(f"() => {INSTRUMENT}.restart()")
            rests(page)
            page.get_by_text(f"written · {len(labels)}").wait_for(timeout=WAIT_MS)
            assert said(page) == (n_music, len(segments))
            row = page.locator(".rows .row").first
            assert row.locator(".label").inner_text() == labels[-1]
            assert page.locator(".hit").count() == 12
            assert page.failed == []
            page.context.close()
    assert len(labels) > 3
    assert "Traceback" not in (tmp_path / "log.txt").read_text()


RUNAWAY = (
    "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.range * b.range) % 7 = 3"
)


def test_a_runaway_query_leaves_the_other_sessions_alone(
    browser: Any, workspace: Workspace, tmp_path: Path
) -> None:
    """While it runs somebody else opens pages; whoever asked for it ends it."""
    require_browser()
    with served(workspace.folder, tmp_path / "log.txt") as address:
        asking, other = (browser.new_context().new_page() for _ in range(2))
        for page in (asking, other):
            page.goto(address, timeout=WAIT_MS)
            settle(page)
        open_by_link(asking, "Data")
        asking.get_by_role("tab", name="SQL").click()
        box = asking.get_by_label("Query", exact=True)
        box.fill(RUNAWAY)
        box.press("Control+Enter")
        settle(asking)
        asking.get_by_role("button", name="Run", exact=True).click()
        cancel = asking.get_by_role("button", name="Cancel")
        cancel.wait_for(timeout=WAIT_MS)
        for name in ("Layers", "Probes", "Overview"):
            open_by_link(other, name)
            assert cancel.is_visible()
        cancel.click()
        asking.get_by_text("The query was stopped.").wait_for(timeout=WAIT_MS)
        for page in (asking, other):
            page.context.close()
    assert "Traceback" not in (tmp_path / "log.txt").read_text()
