"""An open verdict names what is missing, its buttons compute that, and the verdict is another one."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder, save_run
from tests.workbench.opened_app import PAGE_MS, app_in_browser, click_mark
from tests.workbench.screenshots import open_by_link, settle
from usad_workbench.core.diagnosis.run import diagnose
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters.data import map_address
from usad_workbench.workbench.presenters.diagnosis import stored
from usad_workbench.workbench.presenters.ternary import clip_shares, clips_at, places, teachers_of

N_CLIPS, N_CLUSTERS, DIM = 120, 20, 8
DOMAINS = ("speech", "music")
JOB_MS = 180_000


@pytest.fixture(scope="module")
def undecided(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Each teacher hears the words of its domain, the student none: routing, once it is evaluated."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("undecided")
    workspace = Workspace.create(folder / "w")
    earlier = save_run(folder / "one")
    student = save_run(folder / "two", earlier, stage=2)
    n = N_CLIPS * len(DOMAINS)
    domains = np.repeat(DOMAINS, N_CLIPS)
    words = np.arange(n) % 3
    add_clips(
        workspace,
        {
            "domain": domains.tolist(),
            "cluster_id": [f"{domains[i]}{i % N_CLUSTERS}" for i in range(n)],
            "word": [f"w{word}" for word in words],
        },
    )

    def heard(*of: str) -> np.ndarray:
        """Noise, in which domains are told apart, and the words of some of them."""
        vectors = rng.normal(size=(n, DIM))
        vectors[:, 0] += 6 * (domains == "music")
        vectors[:, 1:4] += 6 * np.eye(3)[words] * np.isin(domains, of)[:, None]
        return vectors

    add_encoder(workspace, student, "student", None, [heard()])
    add_encoder(workspace, earlier, "student", None, [heard("speech")])
    add_encoder(workspace, "speech-teacher", "teacher", "speech", [heard("speech")])
    add_encoder(workspace, "music-teacher", "teacher", "music", [heard("music")])
    add_encoder(workspace, "baseline", "baseline", None, [heard()])
    for of in (student, earlier):
        set_distillation(workspace, of, [(f"{domain}-teacher", domain, 1) for domain in DOMAINS])
    task = {"label_column": "word", "group_column": "cluster_id", "metric": "accuracy"}
    set_tasks(workspace, [{"task": f"word-{d}", "domain": d, **task} for d in DOMAINS])
    diagnose(workspace, student, panels=["routing", "attribution", "similarity"], n_processes=1)
    return workspace


@pytest.fixture(scope="module")
def page(undecided: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with app_in_browser(undecided.folder, log) as opened_page:
        open_by_link(opened_page, "Bias")
        yield opened_page


def card(page: Any, question: str) -> Any:
    """The card of a question, which has exactly one answer."""
    return page.get_by_test_id("stColumn").filter(has_text=question)


def verdicts_of(workspace: Workspace) -> dict[str, str]:
    (diagnosis,) = stored.diagnoses(workspace.read)
    return {one.question: one.verdict for one in stored.verdicts(workspace.read, diagnosis)}


@pytest.mark.browser
def test_what_is_missing_is_computed_by_a_button_and_decides(
    page: Any, undecided: Workspace
) -> None:
    assert verdicts_of(undecided)["universal-or-routing"] == "undecided"
    asked = card(page, "One universal encoder, or routing to specialists?")
    asked.get_by_text("Missing: the oracle domain router").wait_for(timeout=PAGE_MS)
    command = f"usad evaluate --workspace {undecided.folder}"
    assert asked.locator("code", has_text=command).count() == 2  # for the learned router too
    asked.get_by_role("button", name="Evaluate, then diagnose again").click()
    page.get_by_text("It is stored, and stands on this page.").wait_for(timeout=JOB_MS)
    asked.get_by_role("heading", name="Routing").wait_for(timeout=PAGE_MS)
    assert verdicts_of(undecided)["universal-or-routing"] == "routing"
    (oracle,) = undecided.read(
        "SELECT value FROM probes WHERE encoder = 'oracle-domain-router' AND task = 'word-speech' "
        "AND protocol = 'linear'"
    )["value"]
    (student,) = undecided.read(
        "SELECT value FROM probes WHERE encoder LIKE '%/two' AND task = 'word-speech' "
        "AND protocol = 'linear'"
    )["value"]
    assert oracle > 0.95 and student < 0.6
    told = asked.inner_text()
    found = re.search(r"Student minus oracle domain router: .*speech ([+-][\d.]+) \[", told)
    assert found and float(found[1]) == pytest.approx(student - oracle, abs=0.1)
    assert f"n = {N_CLIPS}" in told and "Missing" not in told
    assert page.errors == []


@pytest.mark.browser
def test_two_stages_are_compared_by_a_button(page: Any, undecided: Workspace) -> None:
    """The first hears the words of speech, the second does not: what training lost there shows."""
    asked = card(page, "Is the claim of a universal encoder falsified?")
    missing = asked.get_by_text("Missing: the second stage against the first")
    missing.wait_for(timeout=PAGE_MS)
    asked.get_by_role("button", name="Compare with it").click()
    missing.wait_for(state="detached", timeout=JOB_MS)
    lost = "Falsified: the second stage makes it worse in speech"
    asked.get_by_role("heading", name=lost).wait_for(timeout=PAGE_MS)
    assert verdicts_of(undecided)["falsified"].endswith("worse in speech")
    (diagnosis,) = stored.diagnoses(undecided.read)
    rows = stored.panel(undecided.read, "comparison", diagnosis)
    means = rows[(rows["quantity"] == "mean of tasks") & (rows["domain"] == "speech")]
    assert set(means["relation"]) == {"second stage"} and (means["ci_high"] < -0.3).all()
    assert page.errors == []


@pytest.mark.browser
def test_a_circle_between_the_teachers_leads_to_its_clips(page: Any, undecided: Workspace) -> None:
    (diagnosis,) = stored.diagnoses(undecided.read)
    corners = teachers_of(undecided.read, diagnosis.student)[:3]
    shares = clip_shares(undecided.read, diagnosis.student, corners)
    expected = clips_at(places(shares), 0)
    box = page.get_by_role("combobox", name="Panel")
    box.fill("attribution")
    page.keyboard.press("Enter")
    page.get_by_text("Click a circle for its clips.").scroll_into_view_if_needed()
    settle(page)
    centre = page.evaluate("""() => {
      const charts = [...document.querySelectorAll('.js-plotly-plot')];
      const chart = charts.find((one) => one._fullData.some(({ type }) => type === 'scatterternary'));
      const points = [...chart.querySelectorAll('.point')];
      const first = points.find(({ __data__ }) => __data__.data[0] === 0);
      first.scrollIntoView({block: 'center'});
      const box = first.getBoundingClientRect();
      return [box.left + box.width / 2, box.top + box.height / 2];
    }""")
    click_mark(page, *centre)
    link = page.get_by_role("link", name=re.compile(rf"^{len(expected)} clips? on the map$"))
    link.wait_for(timeout=PAGE_MS)
    assert link.get_attribute("href") == map_address(segments=expected)
    # The list of circles opens another one by keyboard: the one of fewest clips.
    last = len(places(shares)) - 1
    page.get_by_role("combobox", name="Circle").click()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    settle(page)
    address = map_address(segments=clips_at(places(shares), last))
    page.locator(f'a[href="{address}"]').wait_for(timeout=PAGE_MS)
    assert page.errors == []
