"""Where each clip lies between three encoders, from planted counts of common neighbours."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.planted import add_clips
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters.ternary import (
    between_figure,
    clip_shares,
    describe_shares,
    places,
    teachers_of,
)

CORNERS = ("x", "y", "z")
VALUES = [(0.8, 0.0, 0.0), (0.2, 0.1, 0.1), (0.0, 0.0, 0.0), (0.1, 0.1, 0.0), (0.4, 0.2, 0.2)]


@pytest.fixture
def planted(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "w")
    n = len(VALUES)
    add_clips(made, {"domain": ["speech"] * n, "cluster_id": [str(i) for i in range(n)]})
    clips = made.read("SELECT clip_id FROM clips ORDER BY 1").clip_id
    rows = [
        ("s", layer, corner, 0, clip, "mutual_knn", value)
        for layer in (1, 2)
        for clip, values in zip(clips, VALUES, strict=True)
        for corner, value in zip(CORNERS, values, strict=True)
    ]
    # The deepest layer lacks one of the three, and so it is not shown.
    rows += [("s", 3, "x", 0, clip, "mutual_knn", 1.0) for clip in clips]
    with made.database.write() as connection:
        connection.executemany("INSERT INTO clip_teacher_similarity VALUES (?,?,?,?,?,?,?)", rows)
        connection.execute("INSERT INTO distillation VALUES ('s', 'z', 'speech', 1)")
    return made


def test_shares_are_those_of_the_deepest_layer_with_all_three(planted: Workspace) -> None:
    assert teachers_of(planted.read, "s") == ["z", "x", "y"]
    shares = clip_shares(planted.read, "s", ["z", "x", "y"])
    assert shares.attrs["layer"] == 2
    found = shares[["b", "c", "a"]].to_numpy()  # x, y, z
    for row, values in zip(found, VALUES, strict=True):
        total = sum(values)
        expected = np.array(values) / total if total else [np.nan] * 3
        np.testing.assert_allclose(row, expected)
    assert describe_shares(shares, ["z", "x", "y"], {}) == (
        "Of 5 clips 0 have most neighbours in common with z, 3 with x, 0 with y, "
        "1 with two or more alike, 1 with none of them."
    )


def test_clips_of_one_place_are_one_circle_that_leads_to_them(planted: Workspace) -> None:
    shares = clip_shares(planted.read, "s", CORNERS)
    found = places(shares)
    same = found[found["n"] == 2].iloc[0]
    ids = shares.set_index("clip_id")["segment_id"]
    assert same["segment_ids"] == [ids.iloc[1], ids.iloc[4]]
    assert (same["a"], same["b"], same["c"]) == (0.5, 0.25, 0.25)
    (trace,) = between_figure(found, CORNERS, {"x": "short"}).data
    drawn = {
        row: (a, b, c)
        for (row,), a, b, c in zip(trace.customdata, trace.a, trace.b, trace.c, strict=True)
    }
    assert drawn == {row: tuple(found.loc[row, list("abc")]) for row in found.index}
    assert trace.marker.size[0] == max(trace.marker.size)


def test_two_encoders_are_the_ends_of_a_line(planted: Workspace) -> None:
    shares = clip_shares(planted.read, "s", CORNERS[:2])
    assert shares["a"].tolist() == pytest.approx([1, 2 / 3, np.nan, 0.5, 2 / 3], nan_ok=True)
    found = places(shares)
    assert found["n"].tolist() == [2, 1, 1] and found["a"].iloc[0] == 0.667
    figure = between_figure(found, CORNERS[:2], {"x": "short"})
    (trace,) = figure.data
    assert [row for (row,) in trace.customdata] == [0, 1, 2]
    assert list(trace.x) == found["a"].tolist()
    assert figure.layout.xaxis.ticktext == ("all y", "both", "all short")
    assert describe_shares(shares, CORNERS[:2], {}) == (
        "Of 5 clips 3 have most neighbours in common with x, 0 with y, 1 with both alike, "
        "1 with none of them."
    )


def test_nothing_stored_is_no_place(tmp_path: Path) -> None:
    empty = Workspace.create(tmp_path / "w")
    assert teachers_of(empty.read, "s") == []
    shares = clip_shares(empty.read, "s", CORNERS)
    assert isinstance(shares, pd.DataFrame) and shares.empty and places(shares).empty
