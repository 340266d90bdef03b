"""Recall of an index: what it finds besides the query itself."""

from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import ENCODER, clustered, literal_nearest, store
from usad_workbench.indexes import evaluate_index, update_index
from usad_workbench.indexes.building import build_index
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.files import Opened
from usad_workbench.indexes.hits import Hits


def _stored_recall(workspace) -> float:  # type: ignore[no-untyped-def]
    return float(workspace.read("SELECT recall_at_10 FROM indexes").recall_at_10[0])


def test_an_index_that_finds_the_query_alone_has_no_recall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = clustered(60, 8, 3)[0]
    workspace = store(tmp_path / "w", vectors)
    update_index(workspace, ENCODER, 0, kind="hnsw")
    whole = VectorIndex.search

    def only_itself(self: VectorIndex, queries: np.ndarray, k: int) -> Hits:
        hits = whole(self, queries, k)
        if self.kind == "hnsw":
            hits.ids[:, 1:] = -1
        return hits

    monkeypatch.setattr(VectorIndex, "search", only_itself)
    found = evaluate_index(workspace, ENCODER, 0)
    assert found is not None and found.recall_at_10 == 0
    assert _stored_recall(workspace) == 0


@pytest.mark.parametrize("copies", [1, 3, 15])
def test_recall_equals_its_literal_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    """An index without every third segment, which therefore cannot be found."""
    vectors = np.repeat(clustered(120 // copies, 6, 4)[0], copies, axis=0)
    n = len(vectors)
    workspace = store(tmp_path / "w", vectors)
    update_index(workspace, ENCODER, 0, kind="hnsw")
    kept = np.flatnonzero(np.arange(n) % 3)
    monkeypatch.setattr(
        "usad_workbench.indexes.evaluation.open_index",
        lambda *_: Opened(index=build_index(kept, vectors[kept], kind="hnsw").index),
    )
    shares = []
    for i in range(n):
        others = np.delete(np.arange(n), i)
        unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
        floor = np.sort(unit[others] @ unit[i])[-10]
        found = literal_nearest(vectors, vectors[i], 10, np.setdiff1d(kept, [i]))
        shares.append(np.mean([unit[j] @ unit[i] >= floor - 1e-6 for j in found]))
    evaluation = evaluate_index(workspace, ENCODER, 0)
    assert evaluation is not None
    assert evaluation.recall_at_10 == pytest.approx(np.mean(shares), abs=2e-3)
    assert copies == 15 or evaluation.recall_at_10 < 0.9


@pytest.mark.parametrize(
    "vectors", [np.eye(1, 3), np.eye(2, 3), np.zeros((4, 3)), np.ones((40, 3))]
)
def test_few_copied_or_empty_vectors_have_full_recall(tmp_path: Path, vectors: np.ndarray) -> None:
    workspace = store(tmp_path / "w", vectors)
    update_index(workspace, ENCODER, 0)
    evaluation = evaluate_index(workspace, ENCODER, 0)
    assert evaluation is not None and evaluation.recall_at_10 == 1.0
