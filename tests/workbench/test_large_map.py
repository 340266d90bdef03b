"""A map of more points than are drawn: what it says is of all of them."""

import re

import numpy as np
import pandas as pd
import pytest

from usad_workbench.workbench.presenters import maps
from usad_workbench.workbench.presenters.maps import Outline
from usad_workbench.workbench.widgets.scatter import Picked


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    n = 60_000
    random = np.random.default_rng(0)
    label = np.where(np.arange(n) % 10 == 0, "tenth", "common").astype(object)
    label[[7, 30_001, 59_999]] = "rare"
    label[11] = None
    return pd.DataFrame(
        {
            "segment_id": np.arange(n) + 5,
            "x": random.uniform(0, 1, n),
            "y": random.uniform(0, 1, n),
            "clip_id": "c",
            "label": label,
            "domain": np.where(np.arange(n) < 20_000, "speech", "music"),
            "dataset": "d",
            "start_s": 0.0,
            "end_s": 1.0,
            "loudness": np.arange(n) / 7,
        }
    )


@pytest.mark.parametrize("column", ["label", "domain"])
def test_the_legend_counts_all_and_draws_a_sample(points: pd.DataFrame, column: str) -> None:
    figure = maps.map_figure(points, points.head(0), column)
    said = {
        match[1]: int(match[2].replace(",", ""))
        for trace in figure.data
        if (match := re.fullmatch(r"(.*) \(([\d,]+)\)", trace.name))
    }
    values = points[column].fillna(maps.MISSING_NAME).value_counts().to_dict()
    assert said == values
    drawn = sum(len(trace.x) for trace in figure.data)
    assert 49_000 < drawn <= maps.MAX_POINTS + 100
    again = maps.map_figure(points, points.head(0), column)
    assert [list(t.x[:50]) for t in again.data] == [list(t.x[:50]) for t in figure.data]


def test_rare_values_and_the_context_are_counted_whole(points: pd.DataFrame) -> None:
    figure = maps.map_figure(points.head(3000), points.iloc[3000:], "label")
    assert figure.data[0].name == "not selected (57,000)"
    assert len(figure.data[0].x) == maps.MAX_POINTS
    rare = next(
        t for t in maps.map_figure(points, points.head(0), "label").data if "rare" in t.name
    )
    assert [i for (i,) in rare.customdata] == [12, 30_006, 60_004]


def test_numbers_are_drawn_with_their_own_colours(points: pd.DataFrame) -> None:
    (ramp,) = maps.map_figure(points, points.head(0), "loudness").data
    ids = np.array([i for (i,) in ramp.customdata])
    assert len(ids) == maps.MAX_POINTS
    assert np.allclose(np.array(ramp.marker.color), (ids - 5) / 7)


def test_an_outline_selects_what_is_not_drawn_too(points: pd.DataFrame) -> None:
    box = Outline(x=[0.4, 0.2], y=[0.1, 0.6], is_box=True)
    inside = points.x.between(0.2, 0.4) & points.y.between(0.1, 0.6)
    chosen = Picked([int(points.segment_id[0])], [box]).of(points)
    assert chosen.segment_id.tolist() == points.segment_id[inside].tolist()
    triangle = Outline(x=[0.0, 1.0, 0.0], y=[0.0, 0.0, 1.0])
    below = points.x + points.y < 1
    assert Picked([], [triangle]).of(points).index.tolist() == points.index[below].tolist()
    both = Picked([], [box, triangle]).of(points)
    assert both.index.tolist() == points.index[inside | below].tolist()
    # The ring between two squares, drawn in one stroke: the hole is outside.
    ring = Outline(
        x=[0, 1, 1, 0, 0, 0.3, 0.3, 0.7, 0.7, 0.3], y=[0, 0, 1, 1, 0, 0.3, 0.7, 0.7, 0.3, 0.3]
    )
    hole = points.x.between(0.3, 0.7) & points.y.between(0.3, 0.7)
    assert Picked([], [ring]).of(points).index.tolist() == points.index[~hole].tolist()


def test_a_click_or_a_small_map_goes_by_the_drawn_points(points: pd.DataFrame) -> None:
    assert Picked([9, 12], []).of(points).segment_id.tolist() == [9, 12]
    few = points.head(100)
    box = Outline(x=[0, 1], y=[0, 1], is_box=True)
    # A colour that was switched off in the legend is not drawn, and not selected.
    assert Picked([5, 6], [box]).of(few).segment_id.tolist() == [5, 6]


def test_the_sample_is_named() -> None:
    assert maps.describe_sample(maps.MAX_POINTS) == ""
    assert "selections are of all" in maps.describe_sample(maps.MAX_POINTS + 1)
