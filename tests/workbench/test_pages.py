"""Every page through ``app.py``, each with one action."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.workbench.copied_workspace import copy_into
from tests.workbench.opened_app import APP, TIMEOUT_S, open_app, page_opener, pick, texts
from usad_workbench.core.storage.annotations import tag_counts
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench import app, jobs
from usad_workbench.workbench.launch import launch


@pytest.fixture
def opened(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    return page_opener(monkeypatch, workspace.folder)


@pytest.fixture
def opened_empty(empty_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    return page_opener(monkeypatch, empty_workspace.folder)


@pytest.mark.parametrize("name", app.PAGES)
def test_page_opens(opened: Any, name: str) -> None:
    page = opened(name)
    # The instrument's heading is drawn in the browser, as all of it is (test_instrument_page.py).
    assert [header.value for header in page.header] == ([] if name in ("Map", "Search") else [name])
    assert not page.error and not page.exception


@pytest.mark.parametrize("name", app.PAGES)
def test_page_of_an_empty_workspace_says_what_to_do(opened_empty: Any, name: str) -> None:
    page = opened_empty(name)
    assert not page.error
    if name not in ("Data",):
        assert any("usad" in code.value for code in page.code)


@pytest.mark.parametrize("name", ["Probes", "Data"])
def test_a_workspace_without_tasks_says_how_they_come(opened_empty: Any, name: str) -> None:
    page = opened_empty(name)
    assert "label_column" in texts(page).replace("\\", "")
    assert any("usad import --tasks tasks.csv" in code.value for code in page.code)


def test_overview_counts_and_says_who_taught(opened: Any) -> None:
    said = texts(opened("Overview"))
    assert "109 clips" in said
    assert "learned in stage 1" in said.replace("\\", "")
    assert "no diagnosis has compared it" in said


def test_overview_draws_what_training_changed(opened: Any) -> None:
    page = opened("Overview")
    for job in list(jobs._jobs.values()):
        if not job.is_done or job.future.exception() is None:
            job.future.result(TIMEOUT_S)
    page = page.run()
    assert not page.exception and not page.error
    assert "tiny-student is most like" in texts(page).replace("\\", "")
    assert "95% interval holds 0" in texts(page)
    # A cell is opened without a pointer too.
    assert "Most faithful clips" not in texts(page)
    page = pick(pick(page, "Domain", "sound"), "Teacher", "music-teacher")
    page = click(pick(page, "Student layer", 2), "Open its clips")
    assert not page.exception and not page.error
    cell = page.session_state["picture.cell"]
    assert (cell.domain, cell.teacher, cell.student_layer) == ("sound", "music-teacher", 2)
    assert "Most faithful clips" in texts(page)
    assert "sound: tiny-student layer 2" in texts(page).replace("\\", "")


def test_any_two_encoders_are_compared_here_a_student_with_itself_too(opened: Any) -> None:
    page = pick(opened("Layers"), "Compared with", "tiny-student")
    for job in list(jobs._jobs.values()):
        if not job.is_done or job.future.exception() is None:
            job.future.result(TIMEOUT_S)
    page = page.run()
    assert not page.exception and not page.error
    assert "no diagnosis has compared the two" in texts(page)
    cells = next(frame.value for frame in page.dataframe if "student_layer" in frame.value)
    own = cells[cells["student_layer"] == cells["teacher_layer"]]
    assert len(own) and own["value"].to_numpy() == pytest.approx(1)
    assert (cells["value"] < 1 - 1e-6).any()


def test_a_cell_shows_a_clip_beside_its_nearest_in_both_layers(opened: Any) -> None:
    page = opened("Layers")
    said = texts(page).replace("\\", "")
    assert said.count(" finds **") == 2
    box = next(one for one in page.selectbox if one.label == "Nearest in both layers to")
    page = box.set_value(box.options[1] if box.value != box.options[1] else box.options[0]).run()
    assert not page.exception and not page.error


def test_a_query_is_kept_and_its_rows_get_a_tag(
    copied: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_opener(monkeypatch, copied.folder)("Data")
    page.text_area[0].set_value("SELECT clip_id FROM clips WHERE domain = 'music'").run()
    next(one for one in page.text_input if one.label == "Save as").set_value("of music").run()
    page = next(one for one in page.button if one.label == "Save").click().run()
    assert not page.exception
    assert (
        "of music"
        in next(one for one in page.selectbox if one.label == "Example or saved query").options
    )
    page = pick(page, "Example or saved query", "of music")
    page = next(one for one in page.button if one.label == "Run").click().run()
    next(one for one in page.text_input if one.label == "Tag for these rows").set_value("m").run()
    page = next(one for one in page.button if one.label == "Tag").click().run()
    assert not page.exception
    n = copied.read("SELECT count(*) AS n FROM segments_of_clips WHERE domain = 'music'")["n"][0]
    assert tag_counts(copied) == {"m": n}


def test_layers_shows_the_clips_behind_another_cell(opened: Any) -> None:
    page = pick(opened("Layers"), "Domain", "music")
    page = pick(page, "Other encoder's layer", 2)
    said = texts(page).replace("\\", "")
    assert "music: tiny-student layer" in said
    assert "Most faithful clips" in said
    assert "n = 27 clips from 9 clusters" in said


def test_a_clip_behind_a_cell_leads_to_what_is_similar(opened: Any) -> None:
    page = opened("Layers")
    button = next(b for b in page.button if b.label == "Find similar")
    segment = int(button.key.split(".")[-1])
    page = button.click().run()
    assert not page.exception
    assert page.query_params["for"] == f"[{segment}]"
    assert "Similar to" in texts(page)


def test_bias_by_the_other_measure(opened: Any) -> None:
    page = pick(opened("Bias"), "Measure", "mutual_knn")
    said = texts(page)
    assert "Similar is not inherited" in said
    assert "mutual k" in said


def test_probes_by_the_other_protocol(opened: Any) -> None:
    page = pick(opened("Probes"), "Protocol", "linear")
    assert "logistic regression" in texts(page)
    assert page.dataframe[0].value["n_test"].max() == 27


def click(page: AppTest, label: str) -> AppTest:
    return next(b for b in page.button if b.label == label).click().run()


def asked(page: AppTest, query: str) -> AppTest:
    """The Data page once it has answered a query."""
    page = click(page.text_area[0].set_value(query).run(), "Run")
    while any(b.label == "Cancel" for b in page.button):
        page = page.run()
    assert not page.exception
    return page


def test_sql_box_answers_and_refuses(opened: Any) -> None:
    page = asked(opened("Data"), "SELECT 41 + 1 AS answer;")
    assert not page.error
    assert any(
        "answer" in frame.value and frame.value["answer"][0] == 42 for frame in page.dataframe
    )
    for wrong in (
        "DROP TABLE clips",
        "",
        "-- later",
        "CALL enable_logging()",
        "SELECT 1; SELECT 2",
    ):
        page = asked(page, wrong)
        assert len(page.error) == 1 and "statement" in page.error[0].value


def test_sql_box_shows_the_first_rows_of_many(opened: Any) -> None:
    page = asked(opened("Data"), "SELECT * FROM range(100000000)")
    assert "The first 100,000 rows of more, the first 10,000 of them shown" in texts(page)
    assert len(page.dataframe[-1].value) == 10_000


def test_a_long_query_is_cancelled(opened: Any) -> None:
    page = opened("Data")
    endless = (
        "SELECT count(*) FROM range(200000000) a, range(1000) b WHERE (a.range + b.range) % 7 = 3"
    )
    page = click(page.text_area[0].set_value(endless).run(), "Run")
    assert "Running for" in texts(page) and not page.error
    page = click(page, "Cancel")
    while any(b.label == "Cancel" for b in page.button):
        page = page.run()
    assert "was stopped" in page.error[0].value
    assert len(asked(page, "SELECT 1 AS a").dataframe)


def test_a_folder_that_is_no_workspace_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_app(monkeypatch, tmp_path)
    assert not page.exception
    assert "workspace" in page.error[0].value


def test_a_commit_elsewhere_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synthetic: ModuleType
) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    page = open_app(monkeypatch, workspace.folder)
    assert "There are no clips yet" in texts(page)
    with workspace.database.write() as connection:
        connection.execute(
            "INSERT INTO clips (clip_id, path, domain, dataset, cluster_id, duration_s) "
            "VALUES ('a', 'a.wav', 'speech', 'd', 'c', 2.0)"
        )
    assert "1 clip " in texts(page.run())


def test_no_module_is_loaded_twice(workspace: Workspace) -> None:
    """``core.audio`` beside ``usad_workbench.core.audio.reading`` would be two of everything."""
    code = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        f"sys.argv = ['app.py', {str(workspace.folder)!r}]\n"
        f"test = AppTest.from_file({str(APP)!r}, default_timeout=60).run()\n"
        f"for name in {app.PAGES!r}:\n"
        "    test.switch_page(f'views/{name.lower()}.py').run()\n"
        "    assert not test.exception\n"
        "roots = ('core', 'training', 'indexes', 'workbench', 'views', 'panels', 'presenters',\n"
        "         'state', 'launch')\n"
        "twice = [m for m in sys.modules if m.split('.')[0] in roots]\n"
        "assert not twice, twice\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_launch_hands_the_folder_after_the_dashes(tmp_path: Path) -> None:
    command = launch(tmp_path, "127.0.0.1", 8123)
    assert command[:3] == [sys.executable, "-m", "usad_workbench.workbench.server"]
    assert command[-2:] == ["--", str(tmp_path)]
    assert command[command.index("--browser.gatherUsageStats") + 1] == "false"
    assert command[command.index("--server.headless") + 1] == "true"
    assert command[command.index("--runner.magicEnabled") + 1] == "false"
    assert Path(command[command.index("--theme.base") + 1]).is_file()


def test_the_full_check_runs(opened: Any) -> None:
    page = opened("Data")
    run = next(b for b in page.button if b.label == "Run the full check")
    page = run.click().run()
    assert not page.exception
    assert page.success or any("problem" in frame.value for frame in page.dataframe)


LONG = {
    "speech-control": "hf:/some/long/path/to/the/models/of/a/group/first/published-encoder",
    "music-control": "hf:/some/long/path/to/the/models/of/a/group/second/published-encoder",
}
SHORT = {"first/published-encoder", "second/published-encoder"}
NAMED_IN = {
    "encoders": ("encoder",),
    "spaces": ("encoder",),
    "probes": ("encoder",),
    "teacher_similarity": ("teacher",),
    "nearest_teachers": ("control",),
}


@pytest.fixture
def copied(workspace: Workspace, tmp_path: Path) -> Workspace:
    return copy_into(tmp_path, workspace)


@pytest.fixture
def opened_long(copied: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The workspace with two encoders that are named by long paths with the same end."""
    with copied.database.write() as connection:
        for table, columns in NAMED_IN.items():
            for column in columns:
                for old, new in LONG.items():
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? WHERE {column} = ?", [new, old]
                    )
    return page_opener(monkeypatch, copied.folder)


def names_beside(page: AppTest) -> set[str]:
    """What stands beside the rows of the page's figures."""
    traces = [
        trace
        for chart in page.get("plotly_chart")
        for trace in json.loads(chart.proto.spec)["data"]
    ]
    return {name for trace in traces if isinstance(trace.get("y"), list) for name in trace["y"]}


def test_lists_offer_short_names_and_say_the_full_one(opened_long: Any) -> None:
    label = "Compared with"
    page = opened_long("Layers")
    box = next(box for box in page.selectbox if box.label == label)
    assert {f"control · {short}" for short in SHORT} <= set(box.options)
    page = pick(page, label, LONG["speech-control"])
    assert LONG["speech-control"] in texts(page).replace("\\", "")
    assert not any("hf:" in str(option) for box in page.selectbox for option in box.options)


@pytest.mark.parametrize("name", ["Probes", "Data", "Overview"])
def test_tables_have_short_names(opened_long: Any, name: str) -> None:
    found = [frame.value for frame in opened_long(name).dataframe]
    named = [set(frame["encoder"]) for frame in found if "encoder" in frame]
    assert any(named_here >= SHORT for named_here in named)
    assert not any(str(one).startswith("hf:") for names in named for one in names)
    if name == "Overview":
        assert any(set(LONG.values()) <= set(f["full name"]) for f in found if "full name" in f)


def test_figures_label_with_short_names(opened_long: Any) -> None:
    found = names_beside(opened_long("Probes"))
    assert found >= SHORT
    assert not any("hf:" in str(name) for name in found)


@pytest.mark.parametrize("name", ["Map", "Search", "Layers", "Bias"])
def test_without_embeddings_their_command_comes_first(opened_empty: Any, name: str) -> None:
    commands = [code.value for code in opened_empty(name).code]
    assert len(commands) == 1 and commands[0].startswith("usad embed --encoders")


def test_overview_names_licences_that_forbid_commercial_use(
    copied: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with copied.database.write() as connection:
        for encoder, licence in (
            ("sound-teacher", "CC BY-NC 4.0"),
            ("music-teacher", "see its model card"),
        ):
            connection.execute(
                "UPDATE encoders SET licence = ? WHERE encoder = ?", [licence, encoder]
            )
    page = page_opener(monkeypatch, copied.folder)("Overview")
    said = texts(page).replace("\\", "")
    assert "Not for commercial use: sound-teacher." in said
    assert "Licence not known, read its model card before use: music-teacher." in said
    table = next(frame.value for frame in page.dataframe if "licence" in frame.value)
    licences = dict(zip(table["encoder"], table["licence"], strict=True))
    assert licences["sound-teacher"] == "non-commercial: CC BY-NC 4.0"
    assert licences["music-teacher"] == "not known: see its model card"


def test_failures_are_listed_in_full(copied: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path, reason = f"/folder/{'long-name-' * 20}.wav", f"cut off *here*{' and so on' * 30}"
    with copied.database.write() as connection:
        connection.execute("INSERT INTO failures VALUES (?, 'embed x', ?)", [path, reason])
    page = page_opener(monkeypatch, copied.folder)("Data")
    cells = [
        str(cell).replace("\\", "") for cell in page.table[0].value.reset_index().to_numpy().ravel()
    ]
    assert {path, "embed x", reason} <= set(cells)


def add_encoder(workspace: Workspace, role: str) -> None:
    """One encoder of one layer, as a table would name it; its vectors are not looked at."""
    with workspace.database.write() as connection:
        connection.execute(
            "INSERT INTO encoders VALUES ('alone', ?, NULL, 0, [4], [0.0], 16000, 'hash', 'MIT', 1, NULL, '', NULL, NULL, NULL, NULL)",
            [role],
        )
        connection.execute(
            "INSERT INTO spaces VALUES (1, 'alone', 0, 'mean', '10s/10s', 10, 10, 16000, 4, 'hash', '1', 1, NULL, 'float32')"
        )


@pytest.mark.parametrize("name", ["Overview", "Layers", "Bias"])
@pytest.mark.parametrize(
    "role, words", [("baseline", "is a student"), ("student", "Only the student has embeddings")]
)
def test_one_encoder_alone_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, role: str, words: str
) -> None:
    workspace = Workspace.create(tmp_path / "ws")
    with workspace.database.write() as connection:
        connection.execute(
            "INSERT INTO clips (clip_id, path, domain, dataset, cluster_id, duration_s) "
            "VALUES ('a', 'a.wav', 'speech', 'd', 'c', 2.0)"
        )
    add_encoder(workspace, role)
    page = page_opener(monkeypatch, workspace.folder)(name)
    assert words in texts(page)
    assert any("usad embed --encoders STUDENT,TEACHER" in code.value for code in page.code)
