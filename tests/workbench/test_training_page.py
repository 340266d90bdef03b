"""The page Training: logs are read while they grow, and a browser sees it."""

import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.planted import save_run
from tests.workbench.copied_workspace import copy_into
from tests.workbench.opened_app import app_in_browser, open_app, plain_texts
from tests.workbench.screenshots import browser_page, open_by_link, settle
from usad_workbench.core.errors import StoreError
from usad_workbench.core.locks import FileLock
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters import runs
from usad_workbench.workbench.presenters import training_curves as training
from usad_workbench.workbench.presenters.colours import DOMAIN_COLOURS

PAGE_MS = 60_000


def line(step: int) -> dict[str, float]:
    """A line as a run writes it: 4 s of audio and half a second of work for each step."""
    loss = 1 + 1 / step
    return {
        "step": step,
        "loss": loss,
        "cosine/a": 0.4,
        "l1/a": loss - 0.4,
        "loss/a": loss,
        "loss/a/music": loss,
        "loss/a/speech": 2 * loss,
        "lr": 1e-3,
        "gradient_norm": 0.5,
        "audio_s": 4.0 * step,
        "wall_s": 0.5 * step,
    }


def probe(step: int) -> dict[str, float]:
    at = "probe/knn/digit"
    return {
        "step": step,
        at: 0.2 + step / 1000,
        f"{at}/n": 40,
        f"{at}/n_clusters": 9,
        f"{at}/ci_low": 0.1,
        f"{at}/ci_high": 0.5,
        f"{at}/chance": 0.1,
        "evaluation_s": 1.0,
    }


def append(folder: Path, *rows: dict[str, float], end: str = "\n") -> None:
    with (folder / "log.jsonl").open("a") as file:
        file.write("\n".join(json.dumps(row) for row in rows) + end)


def make_run(folder: Path, seed: int = 0, stage: int = 1) -> Path:
    folder.mkdir(parents=True)
    recipe = {
        "name": "s",
        "teachers": [{"name": "a", "domain": "music"}],
        "run": {"seed": seed},
        "optimiser": {"n_steps": 100, "peak_lr": 0.5},
        "stage": stage,
        "start": {"student": "runs/first" if stage == 2 else ""},
    }
    provenance = {
        "teachers": [
            {
                "teacher": "a",
                "domain": "music",
                "target": "ffn",
                "licence": "ISC",
                "weights_sha256": "f" * 64,
            }
        ],
        "data": {"n_clips": 7, "n_pieces": 9, "hours": {"music": 0.5, "speech": 0.25}},
        "failed": [["broken-clip", "not audio"]],
    }
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "recipe.toml").write_text('name = "s"\n[optimiser]\nn_steps = 100\npeak_lr = 0.1\n')
    (folder / "run.json").write_text(json.dumps(provenance))
    return folder


NAMES = ["hf:OWNER/NAME", "hf:OWNER/NAME/x", "run:runs/a@3", "hf:/data/a model/b", "plain"]


def test_teachers_whose_names_hold_strokes_have_their_curves() -> None:
    """As `hf:OWNER/NAME`, folders and runs do; one begins as another."""
    columns = {"step": 1.0, "loss": 2.0}
    for i, name in enumerate(NAMES):
        columns |= {f"l1/{name}": i, f"cosine/{name}": i, f"loss/{name}": i + 0.5}
        columns |= {f"loss/{name}/{domain}": i for domain in ("speech", "music")}
    steps = pd.DataFrame([columns])
    assert training.loss_columns(steps) == {
        training.ALL_TEACHERS: "loss",
        **{name: f"loss/{name}" for name in sorted(NAMES)},
    }
    assert training.domain_facets(steps) == {
        name: {domain: f"loss/{name}/{domain}" for domain in ("speech", "music")} for name in NAMES
    }
    assert set(training.term_facets(steps)["L1 distance"]) == set(NAMES)


def test_a_run_is_as_alive_as_the_process_that_holds_it(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r")
    (run,) = runs.find_runs([tmp_path])
    lock = FileLock.take(folder / "lock")
    assert lock is not None

    def state(now: float | None = None) -> str:
        return runs.status_of(run, *runs.LogTail(folder / "log.jsonl").read(), now).words

    in_a_week = time.time() + 7 * 86_400
    assert state(in_a_week) == "starting"
    append(folder, line(1), line(2))
    assert state() == state(in_a_week) == "running"
    lock.release()
    assert state() == "stopped at step 2"
    (folder / "log.jsonl").unlink()
    assert state() == "stopped before its first step"
    append(folder, *[line(i) for i in (99, 100)])
    assert state() == "finished"


def test_a_lock_of_another_machine_leaves_it_to_the_age(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r")
    (run,) = runs.find_runs([tmp_path])
    append(folder, line(1), line(2))
    (folder / "lock").write_text(json.dumps({"host": "another", "process": 1}))
    log = runs.LogTail(folder / "log.jsonl").read()
    assert runs.status_of(run, *log).state == "running"
    assert runs.status_of(run, *log, time.time() + 3600).state == "stopped"


def test_a_run_that_was_stopped_says_how_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "runs" / "my run")
    monkeypatch.chdir(tmp_path)
    (run,) = runs.find_runs([tmp_path / "runs"])
    asked = shlex.split(runs.resume_command(run))
    assert asked[:2] == ["usad", "train"] and asked[-1] == "--resume"
    assert Path(asked[2]) == Path("runs/my run/recipe.json") and asked[4] == "runs/my run"


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"optimiser": 5, "teachers": 3, "run": [], "stage": "x", "start": null}']
)
def test_a_damaged_recipe_or_record_leaves_the_page(tmp_path: Path, text: str) -> None:
    folder = make_run(tmp_path / "r")
    for name in ("recipe.json", "run.json"):
        (folder / name).write_text(text)
    append(folder, line(1), line(2))
    (run,) = runs.find_runs([tmp_path])
    status = runs.status_of(run, *runs.LogTail(folder / "log.jsonl").read())
    assert (run.n_steps, run.teachers, run.seed, run.stage, run.started_from) == (0, {}, 0, 1, "")
    assert status.state != "finished" and len(runs.run_table([run], [status])) == 1
    assert len(runs.teacher_table(run)) == len(runs.failed_table(run)) == 0
    assert "not recorded" in runs.describe_data(run)


def test_a_log_is_read_once_and_only_where_it_grew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = runs.LogTail(tmp_path / "log.jsonl")
    assert tail.read()[0].empty
    append(tmp_path, probe(0), *[line(i) for i in (1, 2, 3)])
    assert tail.read()[0]["step"].tolist() == [1, 2, 3]
    parsed: list[str] = []
    loads = json.loads
    monkeypatch.setattr(runs.json, "loads", lambda text: parsed.append(text) or loads(text))  # type: ignore[attr-defined,func-returns-value]
    whole = json.dumps(line(4))
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(whole[:30])
    assert tail.read()[0]["step"].tolist() == [1, 2, 3] and parsed == []
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(whole[30:] + "\n")
    steps, probes = tail.read()
    assert steps["step"].tolist() == [1, 2, 3, 4] and len(parsed) == 1
    pd.testing.assert_frame_equal(steps, pd.DataFrame([line(i) for i in (1, 2, 3, 4)]))
    assert probes["step"].tolist() == [0]


def test_a_log_that_a_resume_cut_off_is_read_anew(tmp_path: Path) -> None:
    tail = runs.LogTail(tmp_path / "log.jsonl")
    append(tmp_path, *[line(i) for i in range(1, 9)])
    tail.read()
    rows = [line(i) | {"loss": 9.0} for i in range(1, 13)]  # longer than what was read before
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert tail.read()[0]["loss"].tolist() == [9.0] * 12
    (tmp_path / "log.jsonl").write_text(json.dumps(line(1)) + "\n")
    assert tail.read()[0]["step"].tolist() == [1]


def test_the_state_of_a_run_follows_from_its_log_and_its_age(tmp_path: Path) -> None:
    (run,) = runs.find_runs([make_run(tmp_path / "x").parent])
    nothing = pd.DataFrame()
    now = (run.folder / "run.json").stat().st_mtime
    assert runs.status_of(run, nothing, nothing, now).state == "starting"
    steps = pd.DataFrame([line(i) for i in range(10, 41, 10)])
    going = runs.status_of(run, steps, nothing, now + 10)
    assert (going.state, going.step, going.n_steps) == ("running", 40, 100)
    assert going.left_s == pytest.approx(30.0)  # 60 steps of half a second
    assert going.audio_per_s == pytest.approx(8.0)
    stopped = runs.status_of(run, steps, nothing, now + 100)
    assert stopped.words == "stopped at step 40" and stopped.left_s is None
    slow = steps.assign(wall_s=steps["wall_s"] * 100)  # 500 s between lines
    assert runs.status_of(run, slow, nothing, now + 1000).state == "running"
    done = pd.DataFrame([line(100)])
    assert runs.status_of(run, done, nothing, now + 1e6).state == "finished"


def test_evaluations_do_not_count_as_work() -> None:
    steps = pd.DataFrame([line(10), line(20), line(30)])
    steps["wall_s"] += [0.0, 0.0, 1.0]  # the evaluation at step 20
    probes = pd.DataFrame([probe(20)])
    assert runs.speed(steps, probes).tolist()[1:] == pytest.approx([8.0, 8.0])


def test_runs_are_found_where_they_are_and_named_apart(tmp_path: Path) -> None:
    for place in ("a/one", "b/one", "b/deep/two"):
        make_run(tmp_path / place)
    found = runs.find_runs([tmp_path / "a", tmp_path / "b", tmp_path / "a/one", tmp_path / "no"])
    assert sorted(run.name for run in found) == ["a/one", "b/one", "deep/two"]
    assert runs.overridden(found[0]) == ["optimiser.peak_lr = 0.5"]


def test_curves_are_found_by_teacher_and_domain() -> None:
    steps = pd.DataFrame([line(i) for i in range(1, 11)])
    assert training.loss_columns(steps) == {"all teachers": "loss", "a": "loss/a"}
    facets = training.domain_facets(steps)
    assert list(facets["a"].items()) == [("speech", "loss/a/speech"), ("music", "loss/a/music")]
    figure = training.facet_figure(steps, facets, DOMAIN_COLOURS, shares_y=True)
    assert figure.data[1].line.color == DOMAIN_COLOURS["music"]
    assert list(figure.data[1].y) == steps["loss/a/music"].tolist()
    assert set(training.term_facets(steps)) == {"L1 distance", "−log σ(cosine)"}
    assert training.teacher_palette({"a": "music", "b": "music", "c": "sound"})["c"] == "#D55E00"
    probes = pd.DataFrame([probe(0), probe(100)])
    assert training.comparable([steps], [probes])[:2] == ["loss", "probe/knn/digit"]
    drawn = training.probe_figure(probes)
    assert "n = 40 clips" in drawn.layout.annotations[0].text
    value = next(trace for trace in drawn.data if trace.name == "k-NN")
    assert list(value.y) == pytest.approx([0.2, 0.3])


def test_a_long_log_is_drawn_as_means() -> None:
    steps = pd.DataFrame([line(i) for i in range(1, 1002)])
    rows, size = training.thin(steps, 500)
    assert size == 3 and len(rows) == 334
    assert rows["loss"].iloc[0] == pytest.approx(steps["loss"].iloc[:3].mean())
    assert rows["step"].iloc[[0, -1]].tolist() == [3, 1001]
    assert "mean of 3 lines" in training.describe_lines(1001, size)


def test_a_curve_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StoreError, match="expected step, loss"):
        training.read_curve(tmp_path / "log.csv")


def test_the_page_shows_runs_side_by_side_and_where_they_come_from(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, name in enumerate(("first", "second")):
        run = make_run(tmp_path / name, seed=i, stage=i + 1)
        append(run, probe(0), *[line(step) for step in (10, 20, 30)])
        os.utime(run / "recipe.json", (i + 1, i + 1))
    opened = open_app(monkeypatch, workspace.folder, "--runs", str(tmp_path))
    page = opened.switch_page("views/training.py").run()
    assert not page.exception and not page.error, page.exception
    rows = page.dataframe[0].value
    assert rows["run"].tolist() == ["second", "first"]
    assert rows["state"].tolist() == ["running", "running"] and rows["seed"].tolist() == [1, 0]
    said = plain_texts(page)
    assert "Compared" in said and "Points drawn: second: 3, first: 3" in said
    assert "stage 2, started from runs/first" in said
    assert "45.0 min of audio (30.0 min of music, 15.0 min of speech), 7 clips in 9 pieces" in said
    assert any("broken-clip" in str(frame.value) for frame in page.dataframe)
    number = next(box for box in page.selectbox if box.label == "Number")
    page = number.set_value("probe/knn/digit").run()
    assert "Points drawn: second: 1, first: 1" in plain_texts(page)


@pytest.fixture
def growing(workspace: Workspace, address: str) -> Iterator[Path]:
    """A run beside the workspace that the app in the other process shows."""
    folder = workspace.folder.parent / "runs"
    yield make_run(folder / "growing")
    shutil.rmtree(folder)


@pytest.mark.browser
def test_the_browser_follows_a_run_without_reload(growing: Path, address: str) -> None:
    append(growing, probe(0), line(10))
    with browser_page() as page:
        page.goto(address, timeout=PAGE_MS)
        settle(page)
        page.evaluate("window.loaded_once = true")
        open_by_link(page, "Training")
        bar: Any = page.get_by_test_id("stProgress").first
        assert "step 10 of 100, running" in bar.inner_text()
        append(growing, line(20), line(30), end="\n" + json.dumps(line(40))[:25])
        page.get_by_text("step 30 of 100, running").first.wait_for(timeout=PAGE_MS)
        # 70 steps of half a second. The table is drawn on a canvas: its cells are in the document
        # for screen readers, and never "visible".
        page.get_by_text("35.0 s").first.wait_for(state="attached", timeout=PAGE_MS)
        with (growing / "log.jsonl").open("a") as file:
            file.write(json.dumps(line(40))[25:] + "\n" + json.dumps(line(100)) + "\n")
        page.get_by_text("step 100 of 100, finished").first.wait_for(timeout=PAGE_MS)
        page.get_by_text("Read again every").wait_for(state="detached", timeout=PAGE_MS)
        assert page.evaluate("window.loaded_once") is True
        assert page.get_by_test_id("stException").count() == 0


@pytest.mark.browser
def test_a_checkpoint_is_opened_in_the_map(workspace: Workspace, tmp_path: Path) -> None:
    """One click embeds the clips with it and maps them; the link shows all of them."""
    copy = copy_into(tmp_path, workspace)
    run = make_run(copy.folder.parent / "runs" / "small")
    append(run, line(100))
    name = f"{save_run(run)}@100"
    with app_in_browser(copy.folder, tmp_path / "log.txt") as page:
        open_by_link(page, "Training")
        page.get_by_role("button", name="Open in the map").click()
        opened = page.get_by_role("link", name="The map of this checkpoint")
        opened.wait_for(timeout=3 * PAGE_MS)
        page.goto(opened.evaluate("link => link.href"), timeout=PAGE_MS)
        page.locator(".instrument[data-ready]").wait_for(timeout=PAGE_MS)
        n = int(copy.read("SELECT count(*) AS n FROM segments")["n"][0])
        page.get_by_text(f"{n} of {n}").first.wait_for(timeout=PAGE_MS)
        assert page.errors == []
    assert copy.embeddings(name, -1).vectors.shape == (n, 32)
    (made,) = copy.read("SELECT layer FROM projections WHERE encoder = ?", [name])["layer"].unique()
    assert made == 1
