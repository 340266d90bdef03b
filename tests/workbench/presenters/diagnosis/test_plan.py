"""Which figure shows a panel is decided once, and both renderers draw what was decided."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from usad_workbench.workbench.presenters.diagnosis import plotly_figures
from usad_workbench.workbench.presenters.diagnosis.plan import (
    MAX_CURVES,
    MAX_FACETS,
    FigurePlan,
    describe_marks,
    describe_rows,
    describe_rule,
    plan_figure,
)
from usad_workbench.workbench.presenters.diagnosis.rows import stands_out
from usad_workbench.workbench.presenters.diagnosis.stored import sql_types
from usad_workbench.workbench.presenters.diagnosis.views import VIEWS, PanelView
from usad_workbench.workbench.report import charts

VIEW = VIEWS["inheritance"]
ROLES = {"s": "student", "hf:/a/t": "teacher", "c": "control"}


def rows(
    teachers: tuple[str, ...] = ("hf:/a/t", "c"),
    layers: tuple[int, ...] = (1, 2),
    domains: tuple[str, ...] = ("speech", "music"),
) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "teacher": teacher,
                "domain": domain,
                "layer": layer,
                "excess": 0.1 * layer,
                "ci_low": 0.0,
                "ci_high": 0.3,
                "q_value": 0.01 * layer,
                "n_clips": 90,
            }
            for domain in domains
            for teacher in teachers
            for layer in layers
        ]
    )


def test_several_layers_of_encoders_with_a_colour_are_curves() -> None:
    plan = plan_figure(rows(), VIEW, ROLES, {"hf:/a/t": "t"})
    assert (plan.kind, plan.facets, plan.names) == ("curves", ("speech", "music"), ("t", "c"))
    assert plan.colours == {"t": 0, "c": 1}
    assert plan.notes == ()
    assert "0.05" in describe_marks(plan, 0.05)


@pytest.mark.parametrize(
    ("frame", "roles", "note"),
    [
        pytest.param(rows(layers=(2,)), ROLES, (), id="one layer"),
        pytest.param(
            rows(("router",)),
            ROLES,
            ("Drawn is the last layer of each; the table has all.",),
            id="no encoder",
        ),
        pytest.param(
            rows(tuple(f"t{i}" for i in range(MAX_CURVES + 1))),
            {f"t{i}": "teacher" for i in range(MAX_CURVES + 1)},
            ("Drawn is the last layer of each; the table has all.",),
            id="too many",
        ),
    ],
)
def test_else_they_are_dots(
    frame: pd.DataFrame, roles: dict[str, str], note: tuple[str, ...]
) -> None:
    plan = plan_figure(frame, VIEW, roles)
    assert plan.kind == "dots"
    assert set(plan.drawn["layer"]) == {2}
    assert plan.notes == note


def test_facets_that_are_not_drawn_are_said() -> None:
    many = tuple(f"d{i:02d}" for i in range(MAX_FACETS + 3))
    plan = plan_figure(rows(domains=many), VIEW, ROLES)
    assert len(plan.facets) == plan.drawn["facet"].nunique() == MAX_FACETS
    assert plan.notes == (f"The first {MAX_FACETS} of {MAX_FACETS + 3} parts are drawn.",)
    frame = rows()
    frame.loc[frame["domain"] == "music", "excess"] = None
    assert plan_figure(frame, VIEW, ROLES).notes == ("No number for music; why is said below.",)


def test_rows_without_a_number_have_no_figure() -> None:
    assert plan_figure(rows().assign(excess=None), VIEW, ROLES).kind == "none"
    assert describe_rows(rows().assign(excess=None), VIEW).startswith("8 rows, 0 with a number")


def test_what_stands_out_of_baselines_too_is_counted_apart() -> None:
    """3,168 rows of which 3,168 stand out say nothing of teachers where baselines are among them."""
    frame = rows(teachers=("hf:/a/t", "c", "b")).assign(value=0.5, q_value=0.01)
    said = describe_rows(frame, VIEWS["similarity"], {**ROLES, "b": "baseline"})
    assert said == (
        "12 rows; 12 stand out (q ≤ 0.05 against the same clips exchanged within clusters, after "
        "Benjamini-Hochberg over the panel): 4 of 4 of teachers, 4 of 4 of controls and 4 of 4 of "
        "baselines."
    )
    alone = describe_rows(frame[frame["teacher"] == "b"], VIEWS["similarity"], {"b": "baseline"})
    assert "of baselines" not in alone


def test_intervals_of_a_panel_without_tests_are_read_at_the_level() -> None:
    frame = rows().drop(columns="q_value").assign(excess=0.1, ci_low=0.02, ci_high=0.18)
    strict = replace(VIEW, alpha=0.0001)
    assert all(stands_out(row, VIEW) for row in frame.to_dict("records"))
    assert not any(stands_out(row, strict) for row in frame.to_dict("records"))
    assert "their 95% interval" in describe_rows(frame, VIEW)
    assert "their 99.99% interval" in describe_rows(frame, strict)


def shares() -> FigurePlan:
    frame = pd.DataFrame(
        {
            "domain": ["speech", "speech"],
            "layer": [1, 2],
            "shares": [{"c": 0.2, "hf:/a/t": 0.5}, {"c": 0.1, "hf:/a/t": 0.7}],
            "novel": [0.3, 0.2],
            "fit_r2": [0.9, 0.2],
        }
    )
    return plan_figure(frame, VIEWS["attribution"], ROLES, {"hf:/a/t": "t"})


@pytest.mark.parametrize(
    "plan",
    [plan_figure(rows(), VIEW, ROLES), plan_figure(rows(layers=(2,)), VIEW, ROLES), shares()],
    ids=lambda plan: plan.kind,
)
def test_app_and_report_draw_the_same(plan: FigurePlan) -> None:
    """As many marks, of the same names in the same order, in the same facets."""
    figure = plotly_figures.draw(plan)
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert [re.sub("<.*?>", "", title) for title in titles] == list(plan.facets)
    drawing = charts.draw(plan)
    n_marks = len(re.findall('class="(?:mark|part) ', drawing.picture))
    assert n_marks == len(plan.drawn)
    drawn = [trace for trace in figure.data if trace.customdata is not None]
    assert sum(len(trace.customdata) for trace in drawn) == n_marks
    if plan.kind != "dots":
        shown = [trace.name for trace in figure.data if trace.showlegend]
        assert shown == [entry.name for entry in drawing.legend] == list(plan.names)


def test_a_view_of_an_unknown_panel_is_drawn_by_its_columns() -> None:
    view = PanelView(title="New", value="gain", axis="gain", series="encoder")
    frame = pd.DataFrame({"encoder": ["s", "c"], "gain": [0.1, 0.2]})
    plan = plan_figure(frame, view, ROLES)
    assert (plan.kind, plan.names, plan.facets) == ("dots", ("s", "c"), ("all",))


def test_causes_that_are_inherited_stand_out() -> None:
    """Their column names the trait and not a yes."""
    frame = pd.DataFrame(
        [
            {"teacher": "t", "excess": x, "ci_low": x - 0.1, "ci_high": x + 0.1, "inherited": trait}
            for x, trait in ((0.9, "fragility"), (-0.8, "invariance"), (0.1, "no"))
        ]
    )
    view = PanelView(title="", value="excess", axis="")
    assert [stands_out(row, view) for row in frame.to_dict("records")] == [True, True, False]
    assert describe_rule(frame, view) == "the column inherited says fragility or invariance"


def test_columns_of_maps_and_lists_are_nothing_to_choose_rows_by() -> None:
    frame = pd.DataFrame({"shares": [{"a": 0.1}], "parts": [[1, 2]], "name": ["x"], "v": [0.5]})
    assert sql_types(frame) == {"shares": "MAP", "parts": "MAP", "name": "VARCHAR", "v": "DOUBLE"}
