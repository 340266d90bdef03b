"""The contract of an index, and search against exact NumPy search."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SpectrumEncoder, write_tone
from tests.stored_vectors import store
from usad_workbench.core.embedding import embed
from usad_workbench.core.errors import ConfigError, DegenerateError, ShapeError, StoreError
from usad_workbench.core.progress import part_of
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.building import build_index
from usad_workbench.indexes.check import check_workspace
from usad_workbench.indexes.evaluation import evaluate_index
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.files import index_file
from usad_workbench.indexes.spaces import describe_hits, search, update_index

KINDS = ("flat", "ivf", "ivfpq", "hnsw")


def _clustered(n: int, dim: int, seed: int = 0) -> np.ndarray:
    """Vectors around 50 centres, as embeddings are, with an offset as theirs."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(50, dim))
    return (centres[rng.integers(50, size=n)] + 0.5 * rng.normal(size=(n, dim)) + 0.5).astype(
        np.float32
    )


def _exact(vectors: np.ndarray, ids: np.ndarray, query: np.ndarray, k: int) -> list[int]:
    """The literal definition: cosine with every vector, best first."""
    cosines = [
        float(np.dot(v, query) / (np.linalg.norm(v) * np.linalg.norm(query)))
        for v in vectors.astype(np.float64)
    ]
    return [int(ids[i]) for i in sorted(range(len(ids)), key=lambda i: -cosines[i])[:k]]


@pytest.mark.parametrize("kind", KINDS)
def test_recall_and_own_vector_first(kind: str) -> None:
    # as few as ivfpq takes, and 20 values: 4 codes of 5 each, as a code of a long vector is of many
    vectors = _clustered(10_000, 20)
    ids = np.arange(10_000) * 7 + 3
    index = build_index(ids, vectors, kind=kind).index  # type: ignore[arg-type]
    assert index.kind == kind
    queries = vectors[::400]
    hits = index.search(queries, 10)
    truth = build_index(ids, vectors, kind="flat").index.search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(hits.ids, truth.ids, strict=True)])
    floor = {"flat": 1.0, "hnsw": 0.95, "ivf": 0.95, "ivfpq": 0.4}[kind]
    assert recall >= floor
    if kind != "ivfpq":  # quantised vectors are not quite their own neighbours
        np.testing.assert_array_equal(hits.ids[:, 0], ids[::400])
        np.testing.assert_allclose(hits.scores[:, 0], 1.0, atol=1e-5)


def test_exact_kind_equals_the_literal_definition() -> None:
    vectors, ids = _clustered(300, 16), np.arange(300) + 1000
    index = build_index(ids, vectors).index
    for query in vectors[:20]:
        assert index.search(query[None], 12).ids[0].tolist() == _exact(vectors, ids, query, 12)


def test_edges(tmp_path: Path) -> None:
    vectors = np.eye(4, dtype=np.float32)
    index = build_index(np.arange(4), vectors).index
    assert index.search(vectors[:1], 99).ids.shape == (1, 4)
    with pytest.raises(ShapeError, match="same encoder and layer"):
        index.search(np.ones((1, 5), np.float32), 1)
    for k in (0, -3):
        with pytest.raises(ConfigError, match="expected 1 or more"):
            index.search(vectors[:1], k)
    for refused in (np.zeros((1, 4), np.float32), np.full((1, 4), np.nan, np.float32)):
        with pytest.raises(DegenerateError):
            index.search(refused, 4)
    index.save(tmp_path / "i.faiss")
    again = VectorIndex.load(tmp_path / "i.faiss", "flat")
    np.testing.assert_array_equal(again.search(vectors, 4).ids, index.search(vectors, 4).ids)
    (tmp_path / "broken.faiss").write_bytes(b"broken")
    with pytest.raises(StoreError, match="Build it again"):
        VectorIndex.load(tmp_path / "broken.faiss", "flat")


def test_duplicates_come_in_the_order_of_their_ids() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32), 3, axis=0)
    hits = build_index(np.arange(9), vectors).index.search(vectors[4:5], 3)
    assert hits.ids[0].tolist() == [3, 4, 5]


@pytest.fixture
def embedded(workspace: Workspace) -> Workspace:
    embed(workspace, SpectrumEncoder())
    for layer in (0, 1):
        update_index(workspace, "spectrum", layer)
    return workspace


def test_workspace_search_equals_exact_search(embedded: Workspace) -> None:
    for layer in (0, 1):
        stored = embedded.embeddings("spectrum", layer)
        for i in range(len(stored)):
            hits = search(embedded, stored.vectors[i], "spectrum", layer, k=5)
            assert hits.segment_ids[0] == stored.segment_ids[i]
            assert abs(hits.scores[0] - 1) < 1e-5
            expected = _exact(stored.vectors, stored.segment_ids, stored.vectors[i], 5)
            assert hits.segment_ids.tolist() == expected
            plain = embedded.search(stored.vectors[i], "spectrum", layer, k=5)
            assert plain.segment_ids.tolist() == expected


def test_hits_carry_the_columns_of_their_own_clips(embedded: Workspace) -> None:
    stored = embedded.embeddings("spectrum", 1)
    hits = search(embedded, stored.vectors[4], "spectrum", 1, k=8, where="domain = 'music'")
    rows = describe_hits(embedded, hits)
    assert rows["rank"].tolist() == list(range(1, 9))
    assert rows.score.is_monotonic_decreasing
    assert set(rows.domain) == {"music"}
    assert all(int(clip_id[4:]) % 3 == 2 for clip_id in rows.clip_id)


def test_index_is_brought_up_to_date_and_never_wrong_before(
    embedded: Workspace, tmp_path: Path
) -> None:
    assert not update_index(embedded, "spectrum", 1).is_new
    import_clips(
        embedded, [SourceClip(path=write_tone(tmp_path / "new.wav", 77), fields={"clip_id": "new"})]
    )
    embed(embedded, SpectrumEncoder())
    stored = embedded.embeddings("spectrum", 1)
    query = stored.vectors[stored.clip_ids.tolist().index("new")]
    for _ in range(2):  # before the update by exact search, after it by the index
        hits = search(embedded, query, "spectrum", 1, k=3)
        assert describe_hits(embedded, hits).clip_id[0] == "new"
        report = update_index(embedded, "spectrum", 1)
        assert report.n == 31
    evaluation = evaluate_index(embedded, "spectrum", 1)
    assert evaluation is not None
    assert evaluation.recall_at_10 == 1.0
    assert evaluation.n == 31


def test_check_finds_what_is_planted(embedded: Workspace, tones: list) -> None:  # type: ignore[type-arg]
    assert check_workspace(embedded) == []
    space_id = embedded.space_id("spectrum", 1)
    path = index_file(embedded, space_id)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-4] + b"oops")
    write_tone(tones[3].path, 999)
    tones[4].path.unlink()
    with embedded.database.write() as connection:
        connection.execute("DELETE FROM vectors_0 WHERE segment_id = 5")
    problems = "\n".join(check_workspace(embedded))
    assert "tone03 changed since its import" in problems
    assert "tone04 is missing" in problems
    assert "spectrum layer 0 (mean): the table says 30 vectors, 29" in problems
    assert "The index of spectrum layer 1 (mean) cannot be used" in problems


def test_work_within_a_space_is_reported_as_one_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training, blocks that are added, efforts that are tried, queries: the count never falls."""
    monkeypatch.setattr("usad_workbench.indexes.building.BLOCK_ROWS", 100)
    workspace = store(tmp_path / "w", _clustered(400, 8))
    said: list[tuple[int, int, str]] = []
    bar = part_of(lambda *one: said.append(one), 1, 3, "made layer 0")
    update_index(workspace, "made", 0, kind="ivf", progress=part_of(bar, 0, 2))
    evaluate_index(workspace, "made", 0, progress=part_of(bar, 1, 2))
    counts = [done for done, _, _ in said]
    assert {total for _, total, _ in said} == {300}
    assert counts == sorted(counts) and (counts[0], counts[-1]) == (100, 200)
    what = [words.removeprefix("made layer 0: ") for _, _, words in said]
    for stage, at_least in {"adding vectors": 4, "tuning": 2, "queries": 100}.items():
        assert what.count(stage) >= at_least
    assert any(words.startswith("training on") for words in what)
    said.clear()
    assert check_workspace(workspace, lambda *one: said.append(one)) == []
    assert [words for *_, words in said if words.startswith("made layer 0: ")] == [
        f"made layer 0: {step}" for step in ("vectors", "array file", "check")
    ]
    assert said[-1] == (1, 1, "check indexes")
