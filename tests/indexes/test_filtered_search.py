"""Search with and without a filter equals exact search, whichever way it is asked."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import ENCODER, add, clustered, literal_nearest, store
from usad_workbench.core.errors import ConfigError, DegenerateError, ShapeError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import search, spaces, update_index
from usad_workbench.indexes.opened import open_space
from usad_workbench.indexes.stored import TableVectors
from usad_workbench.workbench.cli import main

N, DIM = 20_000, 8
Collection = tuple[Workspace, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Clusters that are domains too, as speech and music are: a graph has no way between them."""
    vectors, which = clustered(N, DIM, 30)
    workspace = store(
        tmp_path_factory.mktemp("filtered") / "w", vectors, [f"d{one % 5}" for one in which]
    )
    update_index(workspace, ENCODER, 0, kind="hnsw")
    return workspace, vectors, which


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        ("right(clip_id, 3) = '777'", lambda i, which: i % 1000 == 777),
        ("right(clip_id, 2) = '33'", lambda i, which: i % 100 == 33),
        ("right(clip_id, 1) = '4'", lambda i, which: i % 10 == 4),
        ("domain = 'd3'", lambda i, which: which % 5 == 3),
        ("domain IN ('d1', 'd2')", lambda i, which: np.isin(which % 5, (1, 2))),
        (
            "domain = 'd0' AND right(clip_id, 2) < '04'",
            lambda i, which: (which % 5 == 0) & (i % 100 < 4),
        ),
    ],
)
def test_a_filter_finds_the_exact_answer(collection: Collection, where: str, passes) -> None:  # type: ignore[no-untyped-def]
    workspace, vectors, which = collection
    rows = np.flatnonzero(passes(np.arange(N), which))
    assert 0.0005 < len(rows) / N < 0.45
    for query in (0, 11_111, 19_999):
        expected = literal_nearest(vectors, vectors[query], 10, rows)
        exact = workspace.search(vectors[query], ENCODER, 0, where=where)
        found = search(workspace, vectors[query], ENCODER, 0, where=where)
        assert found.segment_ids.tolist() == expected
        assert exact.segment_ids.tolist() == expected
        np.testing.assert_array_equal(found.scores, exact.scores)


@pytest.mark.parametrize(
    ("domains", "of"), [(["d3"], (3,)), (["d0", "d4"], (0, 4)), (["d1"], (1,))]
)
def test_the_command_finds_the_exact_answer(
    collection: Collection,
    capsys: pytest.CaptureFixture[str],
    domains: list[str],
    of: tuple[int, ...],
) -> None:
    workspace, vectors, which = collection
    query = 11_111
    rows = np.flatnonzero(np.isin(which % 5, of))
    expected = [f"c{i:06}" for i in literal_nearest(vectors, vectors[query], 5, rows)]
    where = f"domain IN ({', '.join(map(repr, domains))})"
    asked = (
        "search",
        "--workspace",
        str(workspace.folder),
        "--clip",
        f"c{query:06}",
        "--encoder",
        ENCODER,
        "--layer",
        "0",
        "-k",
        "5",
        "--where",
        where,
        "--json",
    )
    assert main([*asked]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    assert [hit["clip_id"] for hit in hits] == expected


@pytest.mark.parametrize("has_arrays", [True, False])
def test_among_some_segments_the_exact_answer_is_found(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, has_arrays: bool
) -> None:
    """Whether there is an array of the vectors, or they are read from the database."""
    workspace, vectors, _ = collection
    if not has_arrays:
        table = TableVectors(workspace, workspace.space_id(ENCODER, 0), DIM)
        opened = open_space(workspace, ENCODER, 0, "mean")
        monkeypatch.setattr(spaces, "open_space", lambda *_: replace(opened, stored=table))
        monkeypatch.setattr(spaces, "BLOCK_ROWS", 1000)
    chosen = np.random.default_rng(3).permutation(N)[:3000]
    for query in (0, 19_999):
        expected = literal_nearest(vectors, vectors[query], 10, np.sort(chosen))
        with_others = np.append(chosen, [N + 5])  # no such segment
        found = search(workspace, vectors[query], ENCODER, 0, where=with_others)
        assert found.segment_ids.tolist() == expected
    none = search(workspace, vectors[0], ENCODER, 0, where=np.array([], dtype=np.int64))
    assert none.segment_ids.tolist() == []


def test_a_filter_that_nothing_passes_finds_nothing(collection: Collection) -> None:
    workspace, vectors, _ = collection
    assert len(search(workspace, vectors[0], ENCODER, 0, where="false").segment_ids) == 0


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_copies_come_in_the_order_of_their_ids_by_every_way(tmp_path: Path, kind: str) -> None:
    """Runs of 90 copies are more than any number of candidates an index is asked for."""
    base = np.random.default_rng(0).integers(-3, 4, size=(8, 6)).astype(np.float32)
    base[0] = 1
    vectors = np.repeat(base, 90, axis=0)[np.random.default_rng(1).permutation(720)]
    workspace = store(tmp_path / "w", vectors)
    update_index(workspace, ENCODER, 0, kind=kind)  # type: ignore[arg-type]
    for query in (0, 100, 719):
        for k in (1, 10, 100):
            expected = literal_nearest(vectors, vectors[query], k)
            exact = workspace.search(vectors[query], ENCODER, 0, k)
            found = search(workspace, vectors[query], ENCODER, 0, k=k)
            assert exact.segment_ids.tolist() == expected
            if kind != "hnsw" or k < 90:  # in a graph of copies not all copies are found
                assert found.segment_ids.tolist() == expected
                np.testing.assert_array_equal(found.scores, exact.scores)


def test_both_ways_of_searching_refuse_the_same(tmp_path: Path) -> None:
    workspace = store(tmp_path / "w", np.eye(5))
    bad = [
        (np.full(5, np.nan), 3, DegenerateError),
        (np.array([1, np.inf, 0, 0, 0]), 3, DegenerateError),
        (np.zeros(5), 3, DegenerateError),
        (np.ones(4), 3, ShapeError),
        (np.ones((2, 5)), 3, ShapeError),
        (np.ones(5), 0, ConfigError),
        (np.ones(5), -2, ConfigError),
    ]
    for has_index in (False, True):
        for vector, k, error in bad:
            for where in (None, "clip_id > 'c000002'", "false"):
                said = []
                for way in (workspace.search, lambda *a, **kw: search(workspace, *a, **kw)):
                    with pytest.raises(error) as raised:
                        way(vector, ENCODER, 0, k=k, where=where)  # type: ignore[operator]
                    said.append(str(raised.value))
                assert said[0] == said[1], has_index
        update_index(workspace, ENCODER, 0)


def test_both_ways_take_the_pooling(tmp_path: Path) -> None:
    workspace = store(tmp_path / "w", np.eye(4))
    add(workspace, np.eye(4)[::-1].copy(), pooling="native")
    for where in (None, "true"):
        for pooling, expected in (("mean", 1), ("native", 2)):
            asked = (np.array([0.1, 1, 0, 0]), ENCODER, 0)
            assert workspace.search(*asked, 1, where, pooling=pooling).segment_ids == [expected]
            assert search(workspace, *asked, k=1, where=where, pooling=pooling).segment_ids == [
                expected
            ]


@pytest.mark.slow
def test_filters_of_100_000_wide_vectors(tmp_path: Path) -> None:
    vectors, which = clustered(100_000, 384, 200)
    workspace = store(tmp_path / "w", vectors, [f"d{one % 5}" for one in which])
    update_index(workspace, ENCODER, 0)
    for percent in (0.1, 1, 5, 10, 20, 40):
        where = f"clip_id < 'c{round(percent * 1000):06}'"
        rows = np.arange(round(percent * 1000))
        for query in (3, 50_000, 99_999):
            expected = literal_nearest(vectors, vectors[query], 10, rows)
            found = search(workspace, vectors[query], ENCODER, 0, where=where)
            assert found.segment_ids.tolist() == expected, percent
