"""Charts below each other: each keeps its marks, its height and its own title."""

import numpy as np
import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from usad_workbench.workbench.presenters.stacking import are_beside, stacked

TITLES = ["a", "b", "c", "d", "e"]


@pytest.fixture
def grid() -> go.Figure:
    """Five charts in two rows of three, of which each has one mark at its own number."""
    figure = make_subplots(rows=2, cols=3, subplot_titles=TITLES, shared_yaxes=True)
    for i in range(len(TITLES)):
        figure.add_scatter(x=[i], y=[i], row=i // 3 + 1, col=i % 3 + 1)
    figure.add_annotation(text="a note", x=0.2, y=0.4, xref="paper", yref="paper")
    return figure.update_layout(height=700, margin={"t": 40, "b": 60})


def chart_of(figure: go.Figure, i: int) -> tuple[go.layout.XAxis, go.layout.YAxis]:
    x, y = (getattr(figure.data[i], name) or name[0] for name in ("xaxis", "yaxis"))
    return figure.layout[x.replace("x", "xaxis")], figure.layout[y.replace("y", "yaxis")]


def inner_px(figure: go.Figure) -> float:
    return float(figure.layout.height - figure.layout.margin.t - figure.layout.margin.b)


def test_charts_go_below_each_other_in_reading_order(grid: go.Figure) -> None:
    below = stacked(grid)
    bottoms = []
    for i in range(len(TITLES)):
        x, y = chart_of(below, i)
        assert x.domain == (0, 1) and x.showticklabels and y.showticklabels
        before = np.diff(chart_of(grid, i)[1].domain)[0] * inner_px(grid)
        assert np.diff(y.domain)[0] * inner_px(below) == pytest.approx(before)
        assert not bottoms or y.domain[1] < bottoms[-1]
        bottoms.append(y.domain[0])
    assert bottoms[-1] == pytest.approx(0, abs=1e-9)


def test_titles_go_with_their_charts_and_notes_stay(grid: go.Figure) -> None:
    below = stacked(grid)
    tops = {note.text: note.y for note in below.layout.annotations}
    for i, title in enumerate(TITLES):
        assert tops[title] == pytest.approx(chart_of(below, i)[1].domain[1])
    assert tops["a note"] == 0.4


def test_a_title_may_stand_in_the_place_of_its_axis() -> None:
    figure = make_subplots(cols=2).update_layout(height=300)
    for column in (1, 2):
        figure.add_scatter(x=[0], y=[0], row=1, col=column)
        name = "x" if column == 1 else f"x{column}"
        figure.add_annotation(
            text=name, x=0.5, xref=f"{name} domain", y=1, yref="paper", showarrow=False
        )
    first, second = stacked(figure).layout.annotations
    assert (first.xref, second.xref) == ("paper", "paper") and first.y == 1 > second.y > 0


def test_what_stands_alone_stays_as_it_is(grid: go.Figure) -> None:
    alone = make_subplots(rows=2).add_scatter(y=[1], row=1, col=1).add_scatter(y=[1], row=2, col=1)
    assert not are_beside(alone) and stacked(alone) == alone
    before = go.Figure(grid)
    stacked(grid)
    assert grid == before
