"""The page Probes in a browser: from a cell of the confusions to its clips and their sound."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from tests.workbench.copied_workspace import copy_into
from tests.workbench.opened_app import app_in_browser, click_mark
from tests.workbench.screenshots import open_by_link, settle
from usad_workbench.core.evaluation.evaluate import evaluate
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters.confusion import predictions

pytestmark = pytest.mark.browser
SYSTEMS, TASK = ("tiny-student", "speech-teacher"), "speech-kind"


@pytest.fixture(scope="module")
def judged(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    copy = copy_into(tmp_path_factory.mktemp("judged"), workspace)
    evaluate(copy, encoders=SYSTEMS, tasks=[TASK], protocols=["knn"], seeds=1, cost=False)
    return copy


@pytest.fixture(scope="module")
def page(judged: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with app_in_browser(judged.folder, log) as opened_page:
        open_by_link(opened_page, "Probes")
        yield opened_page


def place_of(page: Any, actual: str, predicted: str) -> tuple[float, float]:
    """Where the mark of a cell stands, once its matrix is on the screen."""
    found = page.evaluate(
        """([actual, predicted]) => {
          const charts = [...document.querySelectorAll('.js-plotly-plot')];
          const chart = charts.find((c) => c._fullData.some((t) => t.type === 'heatmap'));
          chart.scrollIntoView({block: 'center'});
          const marks = chart._fullData.find((t) => t.customdata);
          const at = [...marks.customdata].findIndex((d) => d[0] === actual && d[1] === predicted);
          const box = chart.getBoundingClientRect();
          const [x, y] = [chart._fullLayout.xaxis, chart._fullLayout.yaxis];
          return [box.left + x._offset + x.d2p(marks.x[at]),
                  box.top + y._offset + y.d2p(marks.y[at])];
        }""",
        [actual, predicted],
    )
    return found[0], found[1]


def test_a_cell_opens_its_clips_and_their_sound(page: Any, judged: Workspace) -> None:
    rows = predictions(judged.read, SYSTEMS[0], TASK, "knn")
    counts = rows.groupby(["actual", "predicted"]).size()
    wrong = counts[counts.index.get_level_values(0) != counts.index.get_level_values(1)]
    (actual, predicted), n = wrong.idxmax(), int(wrong.max())
    click_mark(page, *place_of(page, actual, predicted))
    noun = "clip" if n == 1 else "clips"
    words = f"{actual} taken for {predicted}: {n} {noun}"
    box = page.get_by_role("combobox", name="Cell")
    page.wait_for_function(
        "([box, words]) => box.value === words", arg=[box.element_handle(), words]
    )
    settle(page)
    of_cell = rows[(rows["actual"] == actual) & (rows["predicted"] == predicted)]
    shown = page.get_by_test_id("stMain").inner_text()
    for clip in of_cell["clip_id"].head(6):
        assert clip in shown
    sound = page.locator("audio").first
    sound.scroll_into_view_if_needed()
    duration = sound.evaluate(
        """async (audio) => {
          audio.muted = true;
          await audio.play();
          return audio.duration;
        }"""
    )
    first = str(of_cell["clip_id"].iloc[0])
    (seconds,) = judged.read("SELECT duration_s FROM clips WHERE clip_id = ?", [first])[
        "duration_s"
    ]
    assert duration == pytest.approx(float(seconds), abs=0.05)
    assert page.errors == []


def test_a_cell_is_opened_by_keyboard(page: Any, judged: Workspace) -> None:
    """The list has the most frequent mistake first, and opens what a click opens."""
    rows = predictions(judged.read, SYSTEMS[0], TASK, "knn")
    right = rows[rows["correct"]]
    label = str(right["actual"].value_counts().index[0])
    box = page.get_by_role("combobox", name="Cell")
    box.fill(f"{label} taken for {label}")
    page.keyboard.press("Enter")
    settle(page)
    shown = page.get_by_test_id("stMain").inner_text()
    of_cell = right[right["actual"] == label]["clip_id"]
    assert all(clip in shown for clip in of_cell.head(6)) and len(of_cell) > 0
    assert page.errors == []


def test_who_is_right_where_the_other_is_wrong(page: Any, judged: Workspace) -> None:
    first, second = (
        predictions(judged.read, name, TASK, "knn").set_index("clip_id") for name in SYSTEMS
    )
    both = pd.DataFrame({"first": first["correct"], "second": second["correct"]})
    n = int((both["first"] & ~both["second"]).sum())
    noun = "clip" if n == 1 else "clips"
    box = page.get_by_role("combobox", name="Clip by clip")
    assert box.input_value() == f"only the first is right: {n} {noun}"
