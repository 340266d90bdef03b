"""Every contender finds what exact search finds, where it should; rows pair the right values."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from usad_workbench.core.cosine import normalise
from usad_workbench.workbench.speed import filtering, searching
from usad_workbench.workbench.speed.peers import Faiss, Hnswlib, Hoplite, Peer, Usearch
from usad_workbench.workbench.speed.planted import plant

PEERS: list[Peer] = [
    Faiss("Flat"),
    Faiss("IVF4,Flat", n_probe=4),
    Faiss("HNSW16", ef_search=64),
    Hnswlib(),
    Usearch(),
    Hoplite(is_exact=True),
    Hoplite(is_exact=False),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_finds_the_nearest_rows(peer: Peer, tmp_path: Path) -> None:
    if not peer.is_installed:
        pytest.skip(f"{peer.module} is not installed")
    unit = normalise(plant(400, dim=16).vectors())
    peer.build(unit, tmp_path / "index")
    peer.open(tmp_path / "index")
    assert searching.bytes_of(peer, tmp_path / "index") > 400 * 16
    for row in (3, 200):
        truth = np.argsort(-(unit @ unit[row]))[:5]
        assert set(peer.nearest(unit[row], 5).tolist()) == set(truth.tolist())


def test_a_pair_is_measured_against_held_out_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Memory is measured in a process of its own, which takes seconds to start.
    monkeypatch.setattr(searching, "ProcessPoolExecutor", lambda n, _: ThreadPoolExecutor(n))
    workspace, collection = searching.collect(300, tmp_path, n_queries=4)
    assert collection.unit.shape == (300, 384) and collection.queries.shape == (4, 384)
    assert not (collection.queries @ collection.unit.T > 0.9999).any()
    ours = searching.Ours(workspace, "flat")
    built = searching.build(ours, collection, tmp_path)
    assert built.file_mb == pytest.approx(300 * 384 * 4 / 1e6, rel=0.05)
    assert built.build_s > 0
    peer = ours.same_in_faiss()
    assert peer.name == "FAISS Flat"
    assert searching.build(peer, collection, tmp_path).file_mb == pytest.approx(
        built.file_mb, rel=0.05
    )
    for recall, milliseconds in searching.ask([ours, peer], collection):
        assert recall == 1.0 and milliseconds > 0


def test_filters_are_exact_whatever_they_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filtering, "QUERIES", 1)
    rows = list(filtering.bench_filtered_search(2000))
    recalls = [row for row in rows if row.name.endswith("recall@10")]
    assert len(recalls) == 3 and all(row.value == 1.0 for row in recalls)
    assert len({row.name for row in rows}) == len(rows)


def test_overhead_is_told_against_faiss_with_and_without_refinement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filtering, "ROUNDS", 1)
    rows = filtering.bench_search_overhead(500)
    assert [row.name.split(", against ")[1] for row in rows] == [
        f"{peer} FAISS, {clock}" for peer in ("raw", "refined") for clock in ("processor", "wall")
    ]
    assert all("refined exactly" in row.peer for row in rows[2:])
    assert all(row.value > 0 and row.peer_value for row in rows)
