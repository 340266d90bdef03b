"""Selections: what is parsed, what is refused, and which rows they hold."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.core.storage.annotations import tag_segments
from usad_workbench.core.storage.projection_tables import MapQuality, replace_map
from usad_workbench.core.storage.segment_table import (
    NOT_ON_MAP,
    SPAN,
    Categories,
    Numbers,
    SegmentTable,
    mixed,
    quantised,
)
from usad_workbench.core.storage.selection import parse_selection, selected
from usad_workbench.core.storage.space_names import MapName
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.speed.planted import plant, workspace_of

N = 600


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Clips without audio, and a map that lacks every tenth of them."""
    from usad_workbench.core.storage.importing_embeddings import import_embeddings
    from usad_workbench.workbench.speed.planted import write_vectors

    folder = tmp_path_factory.mktemp("selection")
    planted = plant(N, dim=4)
    made = workspace_of(planted, folder)
    write_vectors(planted, folder / "v.parquet", "made-a")
    import_embeddings(made, folder / "v.parquet", role="teacher")
    ids = made.read("SELECT segment_id FROM segments ORDER BY 1")["segment_id"].to_numpy()
    ids = ids[np.arange(N) % 10 > 0]
    points = np.random.default_rng(1).normal(size=(len(ids), 2)).astype(np.float32)
    quality = MapQuality(
        encoder="made-a",
        layer=0,
        pooling="mean",
        method="umap",
        n=len(ids),
        trustworthiness=0.9,
        n_judged=len(ids),
        seconds=1.0,
    )
    assert replace_map(made, quality, made.space("made-a", 0), ids, points)
    return made


@pytest.fixture(scope="module")
def frame(workspace: Workspace) -> pd.DataFrame:
    """The segments in the order of rows, as SQL gives them."""
    frame = workspace.read("SELECT * FROM segments_of_clips")
    order = np.argsort(mixed(frame["segment_id"].to_numpy()))
    return frame.iloc[order].reset_index(drop=True)


def chosen(workspace: Workspace, clauses: list[object]) -> np.ndarray:
    return selected(parse_selection(json.dumps(clauses)), SegmentTable(workspace))


def test_rows_are_in_an_order_that_ids_alone_decide(
    workspace: Workspace, frame: pd.DataFrame
) -> None:
    table = SegmentTable(workspace)
    np.testing.assert_array_equal(table.segment_ids, frame["segment_id"])
    np.testing.assert_array_equal(table.rows_of(table.segment_ids), np.arange(N))
    assert table.rows_of(np.array([10**9])).tolist() == [-1]
    # A prefix is a fair sample: each quarter of the ids has its share of the first half.
    share = np.bincount(table.segment_ids[: N // 2] * 4 // N) / (N / 2)
    assert np.abs(share - 0.25).max() < 0.08


def test_columns_are_what_sql_gives(workspace: Workspace, frame: pd.DataFrame) -> None:
    table = SegmentTable(workspace)
    for name in ("domain", "label", "cluster_id"):
        column = table.column(name)
        assert isinstance(column, Categories)
        assert [column.values[code] for code in column.codes] == frame[name].tolist()
        counts = frame[name].value_counts()
        assert [counts[value] for value in column.values] == sorted(counts, reverse=True)
    place = table.column("place")
    assert isinstance(place, Categories)  # three values are names, whatever they look like
    split = table.column("split")
    assert isinstance(split, Categories) and set(split.codes) == {-1}
    with pytest.raises(UnknownNameError, match="nonsense"):
        table.column("nonsense")


def test_numbers_in_texts_are_numbers(tmp_path: Path) -> None:
    workspace = workspace_of(plant(20_000, dim=2), tmp_path)
    place = SegmentTable(workspace).column("place")
    assert isinstance(place, Numbers)
    frame = workspace.read("SELECT segment_id, place::DOUBLE AS place FROM segments_of_clips")
    expected = frame.set_index("segment_id")["place"][SegmentTable(workspace).segment_ids]
    np.testing.assert_array_equal(place.values, expected)
    assert chosen(workspace, [{"column": "place", "between": [100, 200]}]).sum() == (
        frame["place"].between(100, 200).sum()
    )


def test_a_polygon_holds_the_points_that_even_and_odd_puts_inside(
    workspace: Workspace,
) -> None:
    table = SegmentTable(workspace)
    points = table.points(MapName("made-a", 0, "mean", "umap"))
    stored = workspace.read("SELECT segment_id, x, y FROM projections").set_index("segment_id")
    middle = (stored.min() + stored.max()) / 2
    side = (stored.max() - stored.min()).max()
    corners = [[0.2, 0.3], [0.8, 0.25], [0.5, 0.9], [0.45, 0.4]]
    clause = {"polygon": corners, "map": "made-a/0/mean/umap"}
    mask = chosen(workspace, [clause])
    n_inside = 0
    for row, segment_id in enumerate(table.segment_ids):
        if segment_id not in stored.index:
            assert (points.x[row], points.y[row]) == (NOT_ON_MAP, NOT_ON_MAP)
            assert not mask[row]
            continue
        u, v = ((stored.loc[segment_id] - middle) / side + 0.5).to_numpy()
        assert abs(points.x[row] - u * SPAN) < 0.51 and abs(points.y[row] - v * SPAN) < 0.51
        u, v = points.x[row] / SPAN, points.y[row] / SPAN
        is_inside = False
        for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
            if (y0 > v) != (y1 > v) and u < (x1 - x0) * (v - y0) / (y1 - y0) + x0:
                is_inside = not is_inside
        assert mask[row] == is_inside
        n_inside += is_inside
    assert n_inside > 50
    outside = chosen(workspace, [{**clause, "not": True}])
    np.testing.assert_array_equal(outside, ~mask)


def test_clauses_hold_together(workspace: Workspace, frame: pd.DataFrame) -> None:
    some = frame["segment_id"][:7].tolist()
    assert tag_segments(workspace, np.array(some[:3]), "check by ear").n == 3
    speech = frame["domain"] == "speech"
    cases: list[tuple[list[object], pd.Series]] = [
        ([], frame["domain"].notna()),
        ([{"column": "domain", "in": ["speech", "no such"]}], speech),
        ([{"column": "domain", "in": ["speech"], "not": True}], ~speech),
        ([{"column": "split", "in": [None]}], frame["split"].isna()),
        ([{"segments": [*some, 10**12]}], frame["segment_id"].isin(some)),
        ([{"tag": "check by ear"}], frame["segment_id"].isin(some[:3])),
        (
            [{"text": "SPEECH c00001"}],
            speech & frame["clip_id"].str.startswith("c00001"),
        ),
        (
            [{"column": "domain", "in": ["speech"]}, {"segments": some}],
            speech & frame["segment_id"].isin(some),
        ),
    ]
    for clauses, expected in cases:
        np.testing.assert_array_equal(chosen(workspace, clauses), expected, str(clauses))


def test_words_are_found_however_they_are_written(tmp_path: Path) -> None:
    workspace = workspace_of(plant(4, dim=2), tmp_path)
    composed, apart = "G\N{LATIN SMALL LETTER A WITH DIAERESIS}nge", "Ga\N{COMBINING DIAERESIS}nge"
    names = (f"Straße {apart}.wav", "ΟΔΟΣ 1", "İzmir", "100% _ O'Brien")
    with workspace.database.write() as connection:
        for number, name in enumerate(names):
            connection.execute(
                "UPDATE clips SET label = ? WHERE clip_id = (SELECT clip_id FROM clips "
                "ORDER BY clip_id LIMIT 1 OFFSET ?)",
                [name, number],
            )
    clips = workspace.clips().set_index("label")["clip_id"]
    ids = workspace.read("SELECT clip_id, segment_id FROM segments").set_index("clip_id")
    table = SegmentTable(workspace)
    for text, name in (
        (f"STRASSE {composed}", None),
        (f"straße {composed.upper()}", names[0]),
        ("STRAẞE", names[0]),
        (apart, names[0]),
        ("οδοσ", names[1]),
        ("ΟΔΟΣ", names[1]),
        ("İZMIR", names[2]),
        ("100%", names[3]),
        ("_", names[3]),
        ("o'brien", names[3]),
    ):
        mask = selected(parse_selection(json.dumps([{"text": text}])), table)
        found = table.segment_ids[mask].tolist()
        assert found == ([] if name is None else [ids["segment_id"][clips[name]]]), text


def test_near_is_the_exact_search(workspace: Workspace, frame: pd.DataFrame) -> None:
    segment = int(frame["segment_id"][5])
    stored = workspace.embeddings("made-a", 0)
    unit = stored.vectors / np.linalg.norm(stored.vectors, axis=1, keepdims=True)
    scores = unit @ unit[stored.segment_ids == segment][0]
    nearest = stored.segment_ids[np.argsort(-scores, kind="stable")[:9]]
    mask = chosen(workspace, [{"near": segment, "space": "made-a/0/mean", "k": 9}])
    np.testing.assert_array_equal(mask, frame["segment_id"].isin(nearest))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        "[" * 5000,
        '[{"colum": "domain", "in": ["speech"]}]',
        '[{"column": "domain", "in": "speech"}]',
        '[{"column": "domain", "in": ["speech"], "between": [0, 1]}]',
        '[{"column": "domain", "in": ["speech"], "not": 1}]',
        '[{"column": "domain", "between": [0]}]',
        '[{"column": "duration_s", "between": [0, NaN]}]',
        '[{"column": "duration_s", "between": [false, true]}]',
        '[{"column": "duration_s", "between": [0, 1%s]}]' % ("0" * 400),
        '[{"polygon": [[0, 0], [1, 1]], "map": "a/0/mean/umap"}]',
        '[{"polygon": [[0, 0], [1, 1], [1]], "map": "a/0/mean/umap"}]',
        '[{"segments": [1.5]}]',
        '[{"segments": [true]}]',
        '[{"near": 1, "space": "a/0/mean", "k": 0}]',
        json.dumps([{"tag": "a"}] * 40),
    ],
)
def test_what_is_no_selection_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_selection(text)


def test_names_of_maps_and_columns_are_checked(workspace: Workspace) -> None:
    for clause in (
        {"polygon": [[0, 0], [1, 1], [1, 0]], "map": "no map"},
        {"polygon": [[0, 0], [1, 1], [1, 0]], "map": "made-a/7/mean/umap"},
        {"column": "'; DROP TABLE clips; --", "in": ["a"]},
        {"near": 0, "space": "made-a/mean", "k": 3},
    ):
        with pytest.raises(UnknownNameError):
            chosen(workspace, [clause])
    with pytest.raises(ConfigError, match='use "in"'):
        chosen(workspace, [{"column": "domain", "between": [0, 1]}])


def test_points_that_are_not_finite_are_not_on_the_map() -> None:
    x, y = quantised(np.array([0.0, 1.0, np.nan, 2.0]), np.array([0.0, np.inf, 0.0, 1.0]))
    assert x.tolist() == [0, NOT_ON_MAP, NOT_ON_MAP, SPAN]
    assert y.tolist() == [16384, NOT_ON_MAP, NOT_ON_MAP, 49150]
    assert quantised(np.array([3.0]), np.array([4.0]))[0].tolist() == [SPAN // 2]


def test_maps_of_layers_are_turned_alike(tmp_path: Path) -> None:
    workspace = workspace_of(plant(200, dim=2), tmp_path)
    rng = np.random.default_rng(2)
    points = rng.normal(size=(200, 2)) * [3, 1]
    angle = 2.1
    turn = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]])  # mirrored
    ids = workspace.read("SELECT segment_id FROM segments ORDER BY 1")["segment_id"]
    with workspace.database.write() as connection:
        for layer, of_layer in ((1, points), (0, 5 * points @ turn + 40)):
            frame = pd.DataFrame({"segment_id": ids, "x": of_layer[:, 0], "y": of_layer[:, 1]})
            connection.register("frame", frame.iloc[1 - layer :])  # layer 0 lacks a segment
            connection.execute(
                "INSERT INTO projections SELECT 'e', ?, 'mean', 'umap', segment_id, x, y FROM frame",
                [layer],
            )
            connection.execute(
                "INSERT INTO projection_quality (encoder, layer, pooling, method) "
                "VALUES ('e', ?, 'mean', 'umap')",
                [layer],
            )
    table = SegmentTable(workspace)
    deep, first = (table.points(MapName("e", layer, "mean", "umap")) for layer in (1, 0))
    is_there = first.x != NOT_ON_MAP
    assert is_there.sum() == 199
    stored = (points - (points.min(0) + points.max(0)) / 2) / np.ptp(points, axis=0).max() + 0.5
    places = np.argsort(table.segment_ids)
    np.testing.assert_allclose(np.stack([deep.x, deep.y], 1)[places] / SPAN, stored, atol=1e-4)
    for one, other in ((deep.x, first.x), (deep.y, first.y)):
        assert np.corrcoef(one[is_there], other[is_there])[0, 1] > 0.999999
