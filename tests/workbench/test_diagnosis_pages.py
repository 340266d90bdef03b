"""Bias, Layers and Probes on a workspace that holds diagnoses."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.workbench.copied_workspace import copy_into
from tests.workbench.opened_app import (
    PAGE_MS,
    TIMEOUT_S,
    app_in_browser,
    click_mark,
    page_opener,
    pick,
    plain_texts,
)
from tests.workbench.screenshots import (
    open_by_link,
    picture,
    settle,
)
from usad_workbench.core.diagnosis.panel import cell_name
from usad_workbench.core.diagnosis.record import store_diagnosis
from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.annotations import tag_segments
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench import jobs
from usad_workbench.workbench.presenters.diagnosis import stored
from usad_workbench.workbench.widgets import diagnose_again


@pytest.fixture
def opened(diagnosed: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    open_page = page_opener(monkeypatch, diagnosed.folder)

    def open_without_error(name: str) -> AppTest:
        page = open_page(name)
        assert not page.error
        return page

    return open_without_error


def test_bias_has_the_verdicts_with_evidence_and_rule(opened: Any) -> None:
    said = plain_texts(opened("Bias"))
    assert "Inherited: speech-teacher in speech" in said
    assert "- sound-teacher: " in said
    assert "    - speech: yes" in said
    assert "q-value at or below 0.05" in said
    assert "domain effects has 27 clips: too few" in said


def test_overview_begins_with_what_was_found(opened: Any) -> None:
    page = opened("Overview")
    headline = page.header[0].value.replace("\\", "")
    assert headline == "In speech, the student took its geometry from speech-teacher."
    said = plain_texts(page)
    assert said.index("-badge[inherited]") < said.index("**speech-teacher, in speech**")
    assert "Outside of the teachers' own domains: 8 nothing taken, 3 not testable." in said
    assert "no diagnosis has compared it" not in said


@pytest.mark.parametrize("name", ["Bias", "Layers", "Probes"])
def test_warnings_are_folded(opened: Any, name: str) -> None:
    (folded,) = [one for one in opened(name).expander if one.label == "1 warning"]
    assert not folded.proto.expanded
    assert "domain effects has 27 clips" in folded.markdown[0].value.replace("\\", "")


@pytest.fixture
def copy(diagnosed: Workspace, tmp_path: Path) -> Workspace:
    """A copy that may be written to."""
    return copy_into(tmp_path, diagnosed)


@pytest.fixture
def found(copy: Workspace, synthetic_diagnosis: ModuleType) -> Diagnosis:
    """The diagnosis of all clips, to be changed and stored again."""
    made: Diagnosis = synthetic_diagnosis.diagnosis(copy, "")
    return made


def test_a_panel_of_an_earlier_diagnosis_says_so(
    copy: Workspace, found: Diagnosis, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = replace(found, panels={"routing": found.panels["routing"]}, are_teachers_known=False)
    store_diagnosis(copy, only)
    said = plain_texts(page_opener(monkeypatch, copy.folder)("Bias"))
    assert "did not compute the panels that the rules need" in said
    assert "From an earlier diagnosis" in said
    assert "Who taught tiny-student is not known" in said
    assert "rows: no exchangeable control of the domain" in said


@pytest.mark.parametrize("name", ["inheritance", "attribution", "errors", "routing", "novelty"])
def test_bias_shows_each_panel(opened: Any, name: str) -> None:
    page = pick(opened("Bias"), "Panel", name)
    assert not page.error
    assert any("clips behind it" in caption.value for caption in page.caption)


def test_a_panel_without_rows_says_how_to_make_them(opened: Any) -> None:
    page = pick(opened("Bias"), "Panel", "partial")
    assert "has no row for this student" in plain_texts(page)
    assert any("--panels partial" in code.value for code in page.code)


def test_bias_still_has_the_similarities(opened: Any) -> None:
    page = pick(opened("Bias"), "Panel", "similarity")
    assert "Mean over domains" in plain_texts(page)


def test_a_selection_is_another_diagnosis(opened: Any) -> None:
    page = pick(opened("Bias"), "Clips", "domain = 'speech'")
    assert "Inherited: speech-teacher in speech" in plain_texts(page)


def test_layers_and_probes_show_their_panels(opened: Any) -> None:
    said = plain_texts(opened("Layers"))
    assert "Along the student's layers" in said
    page = pick(opened("Layers"), "Panel", "attribution")
    assert "Pale bars are not to be read" in plain_texts(page)
    page = opened("Probes")
    boxes = [box.options for box in page.selectbox if box.label == "Cost"]
    assert boxes == [["parameters in use", "seconds of computing per second of audio"]]


def test_clips_of_a_cell_are_the_stored_ones(diagnosed: Workspace) -> None:
    diagnosis = next(
        diagnosis for diagnosis in stored.diagnoses(diagnosed.sql) if not diagnosis.selection
    )
    cells = stored.cells_of(diagnosed.sql, diagnosis, "inheritance")
    assert len(cells) == 27
    cell = "teacher=speech-teacher|domain=speech|layer=4"
    clips = stored.clips_of(diagnosed.sql, diagnosis, "inheritance", cell)
    assert clips.clip_id.iloc[0] == "speech-000"
    assert clips.influence.is_monotonic_decreasing
    assert clips.influence.iloc[0] == pytest.approx(0.1)
    assert diagnosis.roles["speech-control"] == "control"


def test_a_diagnosis_is_computed_from_the_page_and_decides(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a page that says what is missing to verdicts of this student, with the report."""
    copy = copy_into(tmp_path, workspace)
    speech = copy.read("SELECT segment_id FROM segments_of_clips WHERE domain = 'speech'")
    tag_segments(copy, speech.segment_id.to_numpy(), "by ear")
    page = page_opener(monkeypatch, copy.folder)("Bias")
    assert stored.diagnoses(copy.read) == []
    page = pick(page, "Of a tag", "by ear")
    (panels,) = [one for one in page.multiselect if one.label == "Panels"]
    panels.set_value(["inheritance"]).run()
    (compute,) = [one for one in page.button if one.label == "Compute"]
    compute.click().run()
    for job in list(jobs._jobs.values()):
        job.future.result(TIMEOUT_S)
    page = page.run()
    assert not page.exception and not page.error
    (made,) = stored.diagnoses(copy.read)
    assert made.student == "tiny-student" and "by ear" in made.selection
    rows = stored.panel(copy.read, "inheritance", made)
    assert set(rows["domain"]) == {"speech"} and set(rows["n_clips"]) == {len(speech)}
    said = plain_texts(page)
    assert "Verdicts" in said and "did not compute the panels" not in said
    assert [one.label for one in page.get("download_button")].count("Download the report") == 1


def test_a_diagnosis_computed_again_takes_the_seeds_of_the_one_before(
    copy: Workspace, found: Diagnosis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a single seed would take its place, and what was found of the recipe be gone."""
    seeds = ("tiny-student", "second-seed")
    store_diagnosis(copy, replace(found, students=seeds))
    asked: list[tuple[str, ...]] = []

    def ask(workspace: Workspace, students: tuple[str, ...], **how: object) -> None:
        asked.append(students)
        raise StoreError("Not computed in this test.")

    monkeypatch.setattr(diagnose_again, "diagnose", ask)
    monkeypatch.setattr(jobs, "_jobs", OrderedDict())  # nobody else meets what fails here
    page = page_opener(monkeypatch, copy.folder)("Bias")
    for takes_seeds in (True, False):
        (toggle,) = [one for one in page.toggle if one.label.startswith("With the other seeds")]
        assert toggle.label.endswith("2 seeds of one recipe (tiny-student, second-seed)")
        page = toggle.set_value(takes_seeds).run()
        (compute,) = [one for one in page.button if one.label == "Compute"]
        page = compute.click().run()
        for job in list(jobs._jobs.values()):
            job.future.exception(TIMEOUT_S)
        page = page.run()
    assert asked == [seeds, seeds[:1]]
    (diagnosis, *_) = stored.diagnoses(copy.read)
    assert diagnose_again.once_more(diagnosis).students == seeds


@pytest.fixture(scope="module")
def page(diagnosed: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with app_in_browser(diagnosed.folder, log) as opened_page:
        yield opened_page


@pytest.mark.browser
@pytest.mark.parametrize("name", ["Bias", "Layers"])
def test_a_mark_opens_the_clips_behind_it(page: Any, tmp_path: Path, name: str) -> None:
    open_by_link(page, name)
    place = page.evaluate(
        """() => {
          const charts = [...document.querySelectorAll('.js-plotly-plot')];
          const chart = charts.find((c) => c._fullData.some((t) => t.error_y && t.mode
            && t.mode.includes('lines')));
          chart.scrollIntoView({block: 'center'});
          const trace = chart._fullData.find((t) => t.name === 'speech-teacher');
          const box = chart.getBoundingClientRect();
          const [x, y] = [chart._fullLayout.xaxis, chart._fullLayout.yaxis];
          return {x: box.left + x._offset + x.d2p(trace.x[2]),
                  y: box.top + y._offset + y.d2p(trace.y[2]), row: trace.customdata[2][0]};
        }"""
    )
    click_mark(page, place["x"], place["y"])
    page.get_by_role("heading", name="Behind speech-teacher · speech · layer 4").wait_for(
        timeout=PAGE_MS
    )
    settle(page)
    behind = page.get_by_test_id("stMain")
    assert "0.240 [0.190, 0.290]" in behind.inner_text()
    assert page.get_by_text("speech-000", exact=False).filter(visible=True).count()
    assert page.locator("audio").count() >= 12
    picture(page, tmp_path / f"{name}.png")
    assert page.evaluate("window.executed") is None
    assert page.errors == []


@pytest.mark.browser
def test_overview_plays_what_drives_the_finding(page: Any, diagnosed: Workspace) -> None:
    """One sound at a time, each its own; the link leads to the same clips on the map."""
    (found, *_) = stored.diagnoses(diagnosed.read)
    cell = cell_name(teacher="speech-teacher", domain="speech", layer=4)
    clips = stored.clips_of(diagnosed.read, found, "inheritance", cell)
    open_by_link(page, "Overview")
    sounds = page.locator(".trio button")
    sounds.first.wait_for(timeout=PAGE_MS)
    assert page.locator(".trios a").first.inner_text() == clips.clip_id.iloc[0]
    for place in (0, 1):
        with page.expect_request("**/instrument/sound?segment=*") as asked:
            sounds.nth(place).click()
        is_own = f"segment={clips.segment_id.iloc[0]}" in asked.value.url
        assert is_own == (place == 0)
        assert sounds.nth(place).get_attribute("aria-pressed") == "true"
    assert page.locator(".trio [aria-pressed=true]").count() == 1
    page.get_by_role("link", name=re.compile(r"^All \d+ clips? on the map")).click()
    page.locator(".instrument[data-ready]").wait_for(timeout=PAGE_MS)
    n = clips.segment_id.nunique()
    page.get_by_text(re.compile(rf"^{n} of ")).first.wait_for(timeout=PAGE_MS)
    assert page.errors == []
