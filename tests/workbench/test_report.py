"""The report of a diagnosis, as a browser without a network shows it."""

import html
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.full_disk import full_after
from tests.workbench.opened_app import require_browser
from tests.workbench.screenshots import browser_page
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.report import write_report
from usad_workbench.workbench.report.sounds import Sounds
from usad_workbench.workbench.report.write import title_of

RULES = load_rules()[1]
ADDRESS = re.compile(r"""(?:src|href|action|srcset)\s*=\s*["'](?!data:|#)|url\(\s*["']?(?!data:)""")


@pytest.fixture(scope="module")
def found(workspace: Workspace, synthetic_diagnosis: ModuleType) -> Diagnosis:
    made: Diagnosis = synthetic_diagnosis.diagnosis(workspace)
    return made


@pytest.fixture(scope="module")
def report(
    found: Diagnosis,
    workspace: Workspace,
    synthetic_diagnosis: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("report") / "deep" / "report.html"
    verdicts = synthetic_diagnosis.verdicts(found)
    questions = {"novelty": "Is <b>anything</b> new?"}
    return write_report(path, found, verdicts, RULES, workspace, questions=questions)


@pytest.fixture(scope="module")
def page(report: Path) -> Iterator[Any]:
    """The report in a browser that has no network; what it asked for is on ``page.asked``."""
    require_browser()
    with browser_page() as shown:
        shown.asked, shown.errors = [], []
        shown.on("request", lambda request: shown.asked.append(request.url))
        shown.on("console", lambda message: shown.errors.append(message.text))
        shown.on("pageerror", lambda error: shown.errors.append(str(error)))
        shown.context.set_offline(True)
        shown.goto(report.as_uri())
        yield shown


def test_nothing_in_the_file_leads_outside(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert not ADDRESS.findall(text)
    assert "<script" not in text.lower()
    policy = html.unescape(re.search('Security-Policy" content="([^"]+)"', text)[1])  # type: ignore[index]
    assert policy == (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    )


@pytest.mark.browser
def test_it_opens_without_a_network(page: Any, report: Path) -> None:
    assert [url for url in page.asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.errors == []


@pytest.mark.browser
def test_names_are_text(page: Any, synthetic: ModuleType, synthetic_diagnosis: ModuleType) -> None:
    assert page.evaluate("window.executed") is None
    assert page.locator("script").count() == 0
    assert page.locator("main i, main em, img[onerror], #panel-novelty .question b").count() == 0
    shown = page.locator("body").inner_text()
    assert synthetic.SCRIPT_ID in shown
    assert synthetic.SCRIPT_LABEL in shown
    assert synthetic_diagnosis.SCRIPT_TASK in shown
    assert "Is <b>anything</b> new?" in shown


@pytest.mark.browser
def test_verdicts_come_first_with_rule_and_evidence(page: Any) -> None:
    first = page.locator("main > section").first
    assert first.get_attribute("id") == "verdicts"
    answers = first.locator(".answer").all_inner_texts()
    assert answers == ["Inherited: speech-teacher in speech", "Undecided"]
    inherited = first.locator("#verdict-inherited")
    assert inherited.locator("tbody th").all_inner_texts() == [
        "speech-teacher",
        "sound-teacher",
        "music-teacher",
    ]
    assert inherited.locator("td.yes").count() == 1
    assert inherited.locator("td.open").count() == 3
    assert "q-value at or below 0.05" in inherited.inner_text()


@pytest.mark.browser
def test_every_panel_has_a_section_with_its_question(page: Any, found: Diagnosis) -> None:
    for name in found.panels:
        assert page.locator(f"#panel-{name} h2").count() == 1, name
    assert "no row" in page.locator("#panel-partial").inner_text()
    links = page.locator("nav a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert all(page.locator(link).count() == 1 for link in links)


@pytest.mark.browser
def test_numbers_are_those_of_the_rows(page: Any, found: Diagnosis) -> None:
    """Row by row, column by column, to the last digit; what is missing is a dash."""
    for name in ("inheritance", "errors", "routing", "novelty"):
        panel = found.panels[name]
        shown = page.locator(f"#panel-{name} details tr[data-row]").evaluate_all(
            "rows => rows.map(row => [Number(row.dataset.row), [...row.querySelectorAll('data')]"
            ".map(d => Number(d.value))])"
        )
        assert [at for at, _ in shown] == list(range(len(panel.rows)))
        for at, values in shown:
            row = panel.documents()[at]
            numbers = [row[c] for c, kind in panel.columns.items() if kind != "VARCHAR"]
            assert values == [float(one) for one in numbers if not math.isnan(one)], (name, at)


@pytest.mark.browser
def test_a_figure_has_a_mark_for_each_number(page: Any, found: Diagnosis) -> None:
    rows = [r for r in found.panels["inheritance"].documents() if not math.isnan(r["excess"])]
    marks = page.locator("#panel-inheritance .figure .mark")
    assert marks.count() == len(rows) == 27
    assert page.locator("#panel-inheritance .figure .mark:not(.hollow)").count() == 3
    titles = marks.evaluate_all("all => all.map(m => m.querySelector('title').textContent)")
    best = next(
        one
        for one in titles
        if one.startswith("speech-teacher · speech · layer 4 · other's layer 1")
    )
    assert "0.240 [0.190, 0.290]" in best
    assert "n = 27 clips, 9 clusters" in best
    heights = page.locator("#panel-attribution rect.part").evaluate_all(
        "all => all.map(r => Number(r.getAttribute('height')))"
    )
    assert len(heights) == 4 * 2 * 4
    assert max(heights) / heights[1] == pytest.approx(0.5 / 0.2, rel=0.02)
    assert page.locator("#panel-attribution rect.weak").count() == 4 * 4


@pytest.mark.browser
def test_missing_numbers_have_their_reason(page: Any, synthetic_diagnosis: ModuleType) -> None:
    section = page.locator("#panel-inheritance")
    assert f"9 rows: {synthetic_diagnosis.NO_CONTROL}" in section.inner_text()
    assert "music has one control & its interval is wide" in section.inner_text()


@pytest.mark.browser
def test_extreme_cells_have_their_clips_with_sound(page: Any, workspace: Workspace) -> None:
    cell = page.locator("#panel-inheritance .cell").first
    assert cell.locator("h4").inner_text() == "speech-teacher · speech · layer 4 · other's layer 1"
    assert cell.locator(".clip").all_inner_texts() == [
        "speech-000",
        "speech-001",
        "speech-026",
        "speech-025",
    ]
    assert cell.locator(".influence").first.inner_text() == "+0.100"
    length = page.evaluate(
        """async () => {
          const audio = document.querySelector('#panel-inheritance audio');
          audio.preload = 'auto'; audio.load();
          if (!(audio.duration > 0))
            await new Promise((done) => audio.addEventListener('loadedmetadata', done));
          return audio.duration;
        }"""
    )
    segment = workspace.sql(
        "SELECT end_s - start_s AS s FROM segments WHERE clip_id = 'speech-000' ORDER BY start_s"
    )
    assert length == pytest.approx(float(segment["s"].iloc[0]), abs=0.02)
    assert page.locator("img").evaluate_all("all => all.every(i => i.naturalWidth > 100)")


@pytest.mark.browser
def test_rules_and_provenance_are_quoted(page: Any) -> None:
    assert page.locator("#rules pre").text_content() == RULES
    said = page.locator("#provenance").inner_text()
    for word in ("9.9.9", "1.2.3", "ab" * 32, "n_permutations\t29", "seed\t3"):
        assert word in said
    assert "Sounds of" in said


@pytest.mark.browser
def test_it_can_be_read_in_the_dark_and_on_a_phone(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    ground, ink = page.evaluate(
        "() => { const s = getComputedStyle(document.body); return [s.backgroundColor, s.color] }"
    )
    assert ground == "rgb(18, 23, 29)"
    assert ink == "rgb(230, 235, 241)"
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.set_viewport_size({"width": 1440, "height": 1000})


def test_sounds_stay_inside_their_room(
    found: Diagnosis, workspace: Workspace, synthetic_diagnosis: ModuleType, tmp_path: Path
) -> None:
    verdicts = synthetic_diagnosis.verdicts(found)
    small = write_report(
        tmp_path / "a.html", found, verdicts, RULES, workspace, sound_limit_bytes=0
    ).read_text()
    assert "<audio" not in small
    assert "no room for its sound here" in small
    sounds = Sounds(workspace, 40_000)
    cards = [sounds.card(f"music-{i:03d}", 0.1) for i in range(20)]
    assert 0 < sounds.n_heard < 20
    media = [card.media for card in cards if card.media]
    assert len(media) == sounds.n_heard
    assert sum(len(one.image) + len(one.audio) for one in media) <= 41_000


def test_a_clip_that_is_gone_is_named(workspace: Workspace) -> None:
    assert Sounds(workspace).card("nobody", 0.0).about == "no longer in the workspace"


def test_a_report_that_cannot_be_written_is_an_error_in_words(
    found: Diagnosis, workspace: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", found, [], RULES, workspace)


def test_a_disk_that_gets_full_leaves_the_report_before(
    found: Diagnosis, workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")
    with full_after(1000), pytest.raises(StoreError, match="too large"):
        write_report(path, found, [], RULES, workspace, sound_limit_bytes=0)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    write_report(path, found, [], RULES, workspace, sound_limit_bytes=0)
    assert path.read_text().endswith("</html>\n") and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("verdict", "title"),
    [
        ("inherited: t in speech", "took from its teachers"),
        ("undecided", "has in common with its teachers"),
        ("not testable", "has in common with its teachers"),
    ],
)
def test_the_title_claims_no_more_than_the_verdict(
    found: Diagnosis, verdict: str, title: str
) -> None:
    said = Verdict(question="inherited", verdict=verdict, rule="")
    assert title_of(found, [said]) == title


def test_nobody_is_said_to_have_taught_where_it_is_not_known(
    found: Diagnosis, workspace: Workspace, tmp_path: Path
) -> None:
    for is_known in (True, False):
        one = replace(found, are_teachers_known=is_known)
        file = write_report(tmp_path / "r.html", one, [], "", workspace, sound_limit_bytes=0)
        text = file.read_text(encoding="utf-8")
        assert ("Teachers taught this student" in text) is is_known
        assert ("has in common with its teachers" in text) is is_known
        assert ("is not known" in text) is not is_known
