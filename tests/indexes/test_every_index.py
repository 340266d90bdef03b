"""What every kind of index promises, by every metric."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import clustered
from usad_workbench.core.errors import ConfigError, DegenerateError, ShapeError
from usad_workbench.core.metrics import METRICS, Metric, nearest, query_of, scores
from usad_workbench.indexes.building import Built, Settings, add_in_blocks, build_index
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.stored import ArrayVectors

KINDS = ("flat", "ivf", "ivfpq", "hnsw")
N, DIM, K = 10_000, 8, 10
IDS = np.arange(N) * 3 + 1
ZEROS = [17, 5000]


def collection() -> np.ndarray:
    vectors = clustered(N, DIM, 50)[0]
    vectors[ZEROS] = 0
    vectors[200:230] = vectors[7]
    return vectors


VECTORS = collection()
QUERIES = np.concatenate([VECTORS[7:8], VECTORS[300::400], VECTORS[:5] * 1.5 + 0.1])


def exact(query: np.ndarray, k: int, metric: Metric, rows: np.ndarray | None = None) -> np.ndarray:
    """The literal definition, which ``tests/core/test_metrics.py`` holds to its own."""
    rows = np.arange(N) if rows is None else rows
    asked = query_of(query, DIM, metric)
    return nearest([(IDS[rows], VECTORS[rows])], asked, k, metric)[0]


@pytest.fixture(scope="module", params=[(kind, metric) for kind in KINDS for metric in METRICS])
def built(request: pytest.FixtureRequest) -> Built:
    kind, metric = request.param
    return build_index(IDS, VECTORS, kind=kind, metric=metric)


def test_threads_that_ask_one_index_at_once_get_each_their_own_hits(built: Built) -> None:
    index = built.index
    asked = [query_of(query, DIM, index.metric) for query in QUERIES] * 20
    alone = [index.nearest(query, K) for query in asked[: len(QUERIES)]] * 20
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda query: index.nearest(query, K), asked))
    for (ids, found), (own_ids, own) in zip(together, alone, strict=True):
        np.testing.assert_array_equal(ids, own_ids)
        np.testing.assert_array_equal(found, own)


def test_it_is_what_was_asked_for_and_says_what_it_chose(built: Built) -> None:
    index, settings = built.index, built.settings
    assert (len(index), index.dim) == (N, DIM)
    np.testing.assert_array_equal(index.ids(), IDS)
    assert index.kind in settings.reason or index.kind == "flat"
    assert Settings.from_json(settings.to_json()) == settings
    assert settings.effort == index.effort
    if index.kind != "ivfpq":  # 8 codes of 1 value each find what they are asked for too, mostly
        assert settings.tuned_recall >= settings.target_recall == 0.98


def test_hits_are_the_nearest_with_exact_scores(built: Built) -> None:
    index = built.index
    hits = index.search(QUERIES, K)
    shares = []
    for query, ids, found in zip(QUERIES, hits.ids, hits.scores, strict=True):
        rows = (ids - 1) // 3
        expected = scores(VECTORS[rows], query_of(query, DIM, index.metric), index.metric)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(np.lexsort((ids, -found)), np.arange(K))
        truth = exact(query, K, index.metric)
        shares.append(len(np.intersect1d(ids, truth)) / K)
        if index.kind == "flat":
            assert ids.tolist() == truth.tolist()
    assert np.mean(shares) >= 0.95


def test_one_query_finds_what_it_finds_among_many(built: Built) -> None:
    together = built.index.search(QUERIES, K)
    for i, query in enumerate(QUERIES[:5]):
        np.testing.assert_array_equal(built.index.search(query[None], K).ids[0], together.ids[i])


def test_vectors_of_zeros_have_a_place(built: Built) -> None:
    metric = built.index.metric
    zero = np.zeros((1, DIM), np.float32)
    if metric == "cosine":
        with pytest.raises(DegenerateError, match="zeros"):
            built.index.search(zero, K)
        every = built.index.search(QUERIES[:1], N)
        at = np.isin(every.ids[0], IDS[ZEROS])
        assert at.sum() == 2 and (every.scores[0][at] == 0).all()
    else:
        hits = built.index.search(zero, K)
        if metric == "l2":
            assert hits.ids[0, :2].tolist() == IDS[ZEROS].tolist()
        assert np.isfinite(hits.scores).all()


def test_as_many_as_there_are(built: Built) -> None:
    hits = built.index.search(QUERIES[:1], N + 5)
    assert hits.ids.shape == (1, N)
    assert hits.ids[0].tolist() == exact(QUERIES[0], N, built.index.metric).tolist()
    assert set(hits.ids[0].tolist()) == set(IDS.tolist())


@pytest.mark.parametrize("k", [100, 400])
def test_more_than_it_was_tuned_for_are_found_as_well(built: Built, k: int) -> None:
    """Effort grows with k: with that of 10, 400 are hardly found."""
    index = built.index
    asked = QUERIES[1:12]
    shares = [
        np.isin(exact(query, k, index.metric), ids).mean()
        for query, ids in zip(asked, index.search(asked, k).ids, strict=True)
    ]
    assert np.mean(shares) >= (0.95 if index.kind == "ivfpq" else 0.98)


def test_a_graph_of_which_a_part_cannot_be_reached_is_compared_as_a_whole() -> None:
    """Five groups far apart, and half of the nodes taken out: no way leads from one to another."""
    vectors = clustered(2000, DIM, 5)[0]
    index = build_index(np.arange(2000), vectors, kind="hnsw", metric="l2").index
    gone = np.arange(0, 2000, 2)
    index.remove(gone)
    kept = np.setdiff1d(np.arange(2000), gone)
    for k in (300, 1000):
        expected = nearest([(kept, vectors[kept])], query_of(vectors[3], DIM, "l2"), k, "l2")[0]
        assert index.search(vectors[3:4], k).ids[0].tolist() == expected.tolist()


def test_what_cannot_be_asked_is_refused(built: Built) -> None:
    with pytest.raises(ShapeError):
        built.index.search(np.ones((1, DIM + 1), np.float32), 1)
    with pytest.raises(ShapeError):
        built.index.search(np.ones(DIM, np.float32), 1)
    with pytest.raises(ConfigError):
        built.index.search(QUERIES, 0)
    with pytest.raises(DegenerateError):
        built.index.search(np.full((1, DIM), np.nan, np.float32), 1)


def test_a_file_holds_it_and_vectors_come_and_go(built: Built, tmp_path: Path) -> None:
    """After taking out and adding, hits are those of an index built of what is there."""
    index, path = built.index, tmp_path / "index.faiss"
    index.save(path)
    mapped = VectorIndex.load(path, index.kind, index.metric, index.effort)
    mapped.stored = index.stored
    np.testing.assert_array_equal(mapped.search(QUERIES, K).ids, index.search(QUERIES, K).ids)

    rng = np.random.default_rng(5)
    gone = np.sort(rng.choice(N, 900, replace=False))
    kept = np.setdiff1d(np.arange(N), gone)
    changed = VectorIndex.load(path, index.kind, index.metric, index.effort, is_mapped=False)
    changed.remove(IDS[gone])
    changed.stored = ArrayVectors(IDS[kept], VECTORS[kept])
    np.testing.assert_array_equal(changed.ids(), IDS[kept])
    shares = []
    for query in QUERIES:
        found = changed.search(query[None], K).ids[0]
        assert not np.isin(found, IDS[gone]).any() and (found >= 0).all()
        shares.append(np.isin(found, exact(query, K, index.metric, kept)).mean())
    assert np.mean(shares) >= 0.95 and (index.kind != "flat" or np.mean(shares) == 1)
    add_in_blocks(changed, IDS[gone], VECTORS[gone])
    changed.stored = index.stored
    np.testing.assert_array_equal(changed.ids(), IDS)
    again, before = changed.search(QUERIES, K), index.search(QUERIES, K)
    assert (
        np.mean([np.isin(a, b).mean() for a, b in zip(again.ids, before.ids, strict=True)]) > 0.97
    )
    changed.save(tmp_path / "changed.faiss")
    loaded = VectorIndex.load(tmp_path / "changed.faiss", index.kind, index.metric, index.effort)
    loaded.stored = index.stored
    np.testing.assert_array_equal(loaded.search(QUERIES, K).ids, again.ids)
