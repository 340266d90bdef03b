"""Presenters as plain functions: planted rows in, words and figures out."""

import io
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.diagnosis import comparison
from usad_workbench.core.diagnosis.nearest import NearestTeacherRow
from usad_workbench.core.diagnosis.sentences import describe_nearest
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.evaluation.tasks import MEAN_OF_TASKS
from usad_workbench.core.similarity import EncoderRole, nearest_teachers
from usad_workbench.core.storage.row_types import columns_of
from usad_workbench.core.storage.workspace import QueryError, Workspace
from usad_workbench.workbench.presenters import (
    clips,
    colours,
    data,
    encoders,
    layers,
    maps,
    names,
    overview,
    probes,
    sound,
    text,
)
from usad_workbench.workbench.presenters import forest_plots as dots
from usad_workbench.workbench.presenters.diagnosis import nearest
from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis.views import VIEWS, views_of

NASTY = "<img src=x onerror=alert(1)> [a](http://b.c) $x$ :red[y] www.d.e f@g.hi"


def test_plain_text_leaves_nothing_for_markdown() -> None:
    shown = text.escape_markdown(NASTY)
    for character in "<>[]()$:*_`":
        assert shown.count(character) == shown.count(f"\\{character}")
    without_escapes = shown.replace("\\", "")
    assert without_escapes.replace(text.JOINER, "") == NASTY
    for address in ("http://", "www.d", "f@g"):
        assert address not in without_escapes


def test_hover_text_escapes_what_plotly_reads() -> None:
    assert "<" not in text.escape_plotly(NASTY)
    assert text.escape_plotly("a" * 200, 20).count("a") == 19


def test_domain_colours_do_not_depend_on_what_else_is_there() -> None:
    alone = colours.domain_colours(["speech"])
    together = colours.domain_colours(["music", "whales", "speech", "bats"])
    assert together["speech"] == alone["speech"]
    assert len(set(together.values())) == 4
    assert together == colours.domain_colours(["bats", "speech", "whales", "music"])


def points(n: int, **columns: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "segment_id": range(n),
            "x": rng.normal(size=n),
            "y": rng.normal(size=n),
            "start_s": 0.0,
            "end_s": 1.5,
            "clip_id": [f"c{i}" for i in range(n)],
            "label": NASTY,
            "domain": "speech",
            "dataset": "d",
            **columns,
        }
    )


def test_unjudged_maps_say_so() -> None:
    found = maps.Faithfulness(n=5, trustworthiness=None, n_judged=5)
    assert "Too few" in maps.describe_faithfulness(found)


def test_a_map_says_on_how_many_points_it_was_judged_and_of_what_it_was_made() -> None:
    quality = pd.DataFrame(
        {
            "layer": [0, 1],
            "pooling": "mean",
            "method": "umap",
            "n": 100_000,
            "trustworthiness": 0.9,
            "n_judged": 2000,
            "settings": [None, '{"neighbours_kept": 0.24, "neighbour_recall": 0.96}'],
        }
    )
    said = [
        maps.describe_faithfulness(maps.faithfulness(quality, i, "mean", "umap")) for i in (0, 1)
    ]
    assert all("2,000 of 100,000 points" in text for text in said)
    assert "recall" not in said[0]
    assert "24% of the nearest are kept" in said[1] and "recall 0.96" in said[1]


def test_overview_of_the_workspace(workspace: Workspace) -> None:
    found = overview.totals(workspace.read)
    assert (found.n_clips, found.n_segments, found.n_failures) == (109, 111, 1)
    assert "109 clips" in overview.describe_totals(found)
    rows = overview.encoder_rows(workspace.read)
    assert rows["role"].tolist()[:2] == ["student", "teacher"]
    assert rows["layers"].iloc[0] == 5
    assert overview.describe_teachers(workspace.read)[0].endswith("speech-teacher (speech).")
    assert overview.collections(workspace.read)["domain"].tolist()[0] == "speech"


def test_another_students_teacher_is_a_control(workspace: Workspace) -> None:
    roles = encoders.roles_for(workspace.read, "tiny-student")
    assert roles["speech-teacher"] == "teacher"
    assert encoders.roles_for(workspace.read, "nobody")["speech-teacher"] == "teacher"


def matrix_rows(value: float = 0.4, null: float | None = 0.2) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "student": "s",
                "student_layer": i,
                "teacher": "t",
                "teacher_layer": j,
                "domain": domain,
                "measure": "mutual_knn",
                "value": value + 0.1 * i,
                "ci_low": value - 0.1,
                "ci_high": value + 0.3,
                "null_q95": null,
                "p_value": 0.01,
                "q_value": 0.02,
                "n_clips": 30,
                "n_clusters": 9,
                "reason": "",
            }
            for domain in ("effects", "speech")
            for i in range(3)
            for j in range(2)
        ]
    )


def test_heat_maps_share_one_scale_and_carry_their_cells() -> None:
    figure = layers.heatmaps(matrix_rows(), student="s", teacher="<t>", measure="m", top=0.8)
    boxes = [t for t in figure.data if t.type == "heatmap"]
    assert {t.coloraxis for t in boxes} == {"coloraxis"}
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 0.8)
    titles = [a.text for a in figure.layout.annotations]
    assert titles[0].startswith("<b>speech</b>")
    assert all("30 clips, 9 clusters" in t for t in titles)
    cells = next(t for t in figure.data if t.type == "scatter")
    assert list(cells.customdata[1]) == ["speech", 0, 1]
    assert "&lt;t&gt;" in figure.layout.xaxis.title.text


def test_cells_that_do_not_stand_out_are_crossed_out() -> None:
    rows = matrix_rows().assign(q_value=[0.06, 0.22, 0.4, 1.0, 0.05, 0.01] * 2)
    assert layers.stand_out(rows) == [False, False, False, False, True, True] * 2
    figure = layers.heatmaps(rows, student="s", teacher="t", measure="m", top=0.8)
    cells = next(t for t in figure.data if t.type == "scatter")
    assert list(cells.marker.symbol) == ["x-thin"] * 4 + ["square"] * 2
    assert not any(layers.stand_out(matrix_rows().assign(p_value=None, q_value=np.nan)))


def test_a_cell_and_the_sentence_about_it_follow_one_rule() -> None:
    """Above its own null, but not when all pairs are counted: neither says that it stands out."""
    rows = matrix_rows(value=0.64, null=0.63).assign(p_value=0.22, q_value=0.3, domain="speech")
    roles = {"t": EncoderRole(role="teacher", domain="speech")}
    (said,) = nearest_teachers(rows, roles)
    sentence = describe_nearest(said)
    assert "does not stand out" in sentence and "q = 0.3" in sentence
    row = rows.iloc[-1].to_dict()
    for words in (layers.describe_cell(row, "mutual_knn"), layers.cell_hover(row)):
        assert "does not stand out" in words


def test_values_with_numbers_are_drawn_first() -> None:
    """Untestable rows come first in the panel, and are not what the page opens with."""
    frame = pd.DataFrame(
        {
            "form": ["none", "controls for the teacher"],
            "excess": [np.nan, 0.1],
            "measure": ["mutual_knn"] * 2,
        }
    )
    (choices,) = panel_rows.choices_of(frame, VIEWS["inheritance"]).values()
    assert choices == ["controls for the teacher", "none"]


def test_cell_words_have_interval_null_and_n() -> None:
    row = matrix_rows().iloc[0].to_dict()
    for said in (layers.describe_cell(row, "mutual_knn"), layers.cell_hover(row)):
        assert "[0.30, 0.70]" in said
        assert "30 clips" in said and "9 clusters" in said and "0.20" in said


def test_clip_faithfulness_is_one_against_itself_and_less_against_others(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values(teacher: str, domain: str = "music") -> pd.DataFrame:
        return layers.clip_faithfulness(
            workspace,
            student="tiny-student",
            student_layer=2,
            teacher=teacher,
            teacher_layer=2,
            domain=domain,
        )

    found = values("tiny-student")
    assert (found["value"] == 1).all()
    assert len(found) == 28  # the long clip counts once, however many segments it has
    other = values("speech-teacher")
    assert other["value"].is_monotonic_increasing and other["value"].mean() < 1
    most, least = layers.extremes(other)
    assert len(most) == len(least) == 10
    assert not set(most["clip_id"]) & set(least["clip_id"])
    with pytest.raises(DegenerateError, match="at least 2"):
        values("tiny-student", "nothing")
    assert other.attrs["n_all"] == 28
    monkeypatch.setattr(layers, "MAX_CLIPS", 20)  # of a larger domain some clips, the same ones
    some = values("speech-teacher")
    assert len(some) <= 20 and some.attrs["n_all"] == 28
    assert some.equals(values("speech-teacher"))


def best_rows() -> pd.DataFrame:
    rows = []
    for domain, shift in (("speech", 0.0), ("effects", 0.2)):
        for teacher, value in (("t", 0.6), ("c", 0.5)):
            rows.append(
                {
                    "domain": domain,
                    "teacher": teacher,
                    "value": value + shift,
                    "ci_low": value + shift - 0.1,
                    "ci_high": value + shift + 0.1,
                    "null_q95": 0.3,
                    "p_value": 0.01,
                    "student_layer": 1,
                    "teacher_layer": 2,
                    "n_pairs": 12,
                    "n_clips": 40,
                    "n_clusters": 10,
                }
            )
    return pd.DataFrame(rows)


def test_mean_over_domains_is_not_pooled() -> None:
    found = nearest.mean_over_domains(best_rows()).set_index("encoder")
    assert found.loc["t", "mean"] == pytest.approx(0.7)
    # Two independent half-widths of 0.1: the mean's is 0.1 * sqrt(2) / 2.
    assert found.loc["t", "ci_high"] - 0.7 == pytest.approx(0.0707, abs=1e-4)
    assert found.loc["t", "domains"] == 2
    without = best_rows()
    without.loc[0, ["ci_low", "ci_high"]] = np.nan
    assert np.isnan(nearest.mean_over_domains(without).set_index("encoder").loc["t", "ci_low"])


def test_dots_show_role_interval_null_and_what_is_unseen() -> None:
    figure = nearest.dots(
        best_rows(), {"t": "teacher", "c": "control"}, frozenset({"effects"}), "mutual_knn", {}
    )
    titles = [a.text for a in figure.layout.annotations]
    assert "unseen" in titles[1] and "unseen" not in titles[0]
    assert all("40 clips, 10 clusters" in t for t in titles)
    teacher = next(t for t in figure.data if t.name == "teacher")
    assert teacher.marker.color == colours.ROLE_COLOURS["teacher"]
    assert list(teacher.error_x.array) == pytest.approx([0.1])
    assert list(teacher.customdata[0]) == ["speech", "t", 1, 2]
    assert "12 layer pairs" in teacher.text[0] and "null" in teacher.text[0]
    assert figure.data[0].x[0] == 0.3


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "no control"),
        (
            {"control_value": 0.5, "difference_ci_low": 0.1, "difference_ci_high": 0.3},
            "nearer than",
        ),
        (
            {"control_value": 0.5, "difference_ci_low": -0.1, "difference_ci_high": 0.3},
            "not told apart",
        ),
        ({"control_value": 0.5, "difference_ci_low": -0.3, "difference_ci_high": -0.1}, "farther"),
        (
            {"control_value": 0.5},
            "not decided",
        ),
    ],
)
def test_verdict_follows_the_interval_of_the_difference(row: dict[str, float], said: str) -> None:
    missing = {
        field.name: np.nan if field.type is float else None for field in fields(NearestTeacherRow)
    }
    assert said in nearest.verdict(NearestTeacherRow(**(missing | row)))


def test_nearer_is_read_at_the_level_of_the_rules() -> None:
    missing = {
        field.name: np.nan if field.type is float else None for field in fields(NearestTeacherRow)
    }
    row = {"control_value": 0.5, "difference": 0.1, "n_clusters": 30}
    limits = {"difference_ci_low": 0.02, "difference_ci_high": 0.18}
    found = NearestTeacherRow(**(missing | row | limits))
    assert nearest.verdict(found) == "nearer than its control"
    assert nearest.verdict(found, 0.0001) == "not told apart from its control"


def test_best_per_encoder_takes_one_pair(workspace: Workspace) -> None:
    found = nearest.best_per_encoder(workspace.read, "tiny-student", "debiased_linear_cka")
    assert not found.duplicated(["domain", "teacher"]).any()
    assert (found["n_pairs"] <= 20).all()
    top = workspace.read(
        "SELECT max(value) AS v FROM teacher_similarity WHERE measure = 'debiased_linear_cka' "
        "AND domain = 'music' AND teacher = 'music-teacher'"
    )["v"][0]
    mine = found[(found["domain"] == "music") & (found["teacher"] == "music-teacher")]
    assert mine["value"].iloc[0] == top


def test_probes_have_n_interval_and_chance(workspace: Workspace) -> None:
    rows = probes.probe_rows(workspace.read, "linear")
    roles = encoders.roles_of(workspace.read)
    table = probes.probe_table(rows, roles)
    assert {"value", "ci_low", "ci_high", "chance", "n_test", "role"} <= set(table)
    figure = probes.probe_figure(rows, roles, {})
    assert "27 test clips" in figure.layout.annotations[0].text
    assert "transductive" in probes.dot_hover({**rows.iloc[0].to_dict(), "transductive": True})
    mean = rows.assign(task=MEAN_OF_TASKS, layer=None, n_classes=None)
    assert probes.task_order(pd.concat([rows, mean]))[-1] == MEAN_OF_TASKS
    probes.probe_figure(pd.concat([rows, mean]), roles, {})


def test_sound_is_exactly_the_segment(workspace: Workspace) -> None:
    row = workspace.read(
        "SELECT s.*, c.path FROM segments s JOIN clips c USING (clip_id) "
        "WHERE clip_id = 'music-long' ORDER BY start_s"
    ).iloc[1]
    clip = sound.read_segment(workspace, row.path, row.start_s, row.end_s)
    whole = read_audio(workspace.folder / row.path)
    rate = whole.sample_rate_hz
    expected = whole.samples[round(row.start_s * rate) : round(row.end_s * rate)]
    assert np.array_equal(clip.samples, expected)
    heard, heard_rate = sf.read(io.BytesIO(sound.wav_bytes(clip)), dtype="float32")
    assert heard_rate == rate
    assert np.abs(heard - expected).max() <= 1 / 32768
    figure = sound.spectrogram_figure(clip)
    assert figure.data[0].x[0] >= 10.0 and figure.data[0].x[-1] <= 20.0


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 192_000])
def test_spectrogram_shows_a_tone_at_its_pitch(rate_hz: int) -> None:
    time_s = np.arange(rate_hz) / rate_hz
    clip = Clip(
        samples=np.sin(2 * np.pi * 1000 * time_s).astype(np.float32), sample_rate_hz=rate_hz
    )
    picture = sound.spectrogram(clip)
    loudest = sound.band_centres_hz(rate_hz)[picture.mean(axis=1).argmax()]
    assert loudest == pytest.approx(1000, rel=0.12)
    assert picture.max() == 0 and picture.min() >= -sound.RANGE_DB


@pytest.mark.parametrize("n", [10, 401, 1600, 16_000 * 12])
def test_spectrograms_of_any_length(n: int) -> None:
    rng = np.random.default_rng(0)
    clip = Clip(samples=rng.normal(size=n).astype(np.float32), sample_rate_hz=16_000)
    picture = sound.spectrogram(clip)
    assert picture.shape[0] == sound.N_BANDS and 1 <= picture.shape[1] <= sound.MAX_COLUMNS + 1
    assert np.isfinite(picture).all()
    assert sound.thumbnail(clip).startswith(b"\x89PNG")


def test_data_page_filters_text_as_text(workspace: Workspace) -> None:
    assert len(data.find_segments(workspace.read, None, "")) == 111
    assert len(data.find_segments(workspace.read, None, "<script>")) == 1
    assert len(data.find_segments(workspace.read, None, "%")) == 0
    where = clips.condition(["speech"], ["o'hara"])
    assert len(data.find_segments(workspace.read, where, "")) == 0
    assert len(data.find_segments(workspace.read, clips.condition(["speech"]), "-001")) == 1


def test_checks_count_what_is_wrong(workspace: Workspace) -> None:
    found = {c.what: c for c in data.checks(workspace.read, workspace)}
    assert found["Clips whose audio file is gone"].is_fine
    failures = found["Files and segments that failed"]
    assert (failures.n, failures.of) == (1, 112)  # 111 segments and a file that is none
    assert set(data.check_table(list(found.values()))["state"]) == {"fine", "look"}


def test_examples_are_queries(workspace: Workspace) -> None:
    with pytest.raises(QueryError):
        workspace.sql("DELETE FROM clips;")
    for query in data.EXAMPLES.values():
        assert len(workspace.sql(query))


def test_each_row_of_a_comparison_is_in_one_of_its_views() -> None:
    columns = {column.name: column.sql_type for column in columns_of(comparison.ComparisonRow)}
    views = views_of(comparison.NAME, columns)
    shown = [view.where for view in views]
    assert sorted(str(one) for one in shown) == sorted(
        str(("kind", kind)) for kind in {*comparison.KINDS.values(), "similarity"}
    )
    assert all({*view.facets, view.value, view.series} <= set(columns) for view in views)


def test_both_means_of_tasks_come_last() -> None:
    tasks = ["mean of tasks", "zebra", "mean of tasks with intervals", "ant"]
    assert probes.task_order(pd.DataFrame({"task": tasks})) == [
        "ant",
        "zebra",
        "mean of tasks",
        "mean of tasks with intervals",
    ]


def test_titles_of_dots_fit_over_their_panel() -> None:
    found = dots.title_lines("mean of tasks with intervals").split("<br>")
    assert all(len(line) <= dots.TITLE + len("<b></b>") for line in found)


def test_the_name_under_a_map_is_in_lines() -> None:
    rows = pd.DataFrame(
        {
            "domain": "speech",
            "student_layer": [0, 1],
            "teacher_layer": [0, 0],
            "value": [0.1, 0.2],
            "ci_low": 0.0,
            "ci_high": 0.3,
            "null_q95": 0.1,
            "p_value": 0.1,
            "q_value": 0.1,
            "n_clips": 9,
            "n_clusters": 9,
        }
    )
    name = "a-group/encoder-from-scratch"
    figure = layers.heatmaps(rows, student="s", teacher=name, measure="mutual_knn", top=1.0)
    said = figure.layout.xaxis.title.text.split("<br>")
    assert "".join(said).replace(" ", "") == f"layerof{name}"
    assert max(map(len, said)) <= layers.AXIS


def test_names_of_one_path_stay_whole() -> None:
    assert names.short_names(["hf:/a/m", "run:/a/m"]) == {
        "hf:/a/m": "hf:/a/m",
        "run:/a/m": "run:/a/m",
    }
