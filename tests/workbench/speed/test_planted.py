"""Planted vectors are what they say: clusters, copies, shares, and the same in every form."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from usad_workbench.core.cosine import normalise
from usad_workbench.workbench.speed.planted import (
    plant,
    workspace_of,
    write_manifest,
    write_vectors,
)


def test_the_nearest_of_a_copy_is_its_original_and_most_others_are_of_the_cluster() -> None:
    planted = plant(3000, dim=256)
    unit = normalise(planted.vectors())
    scores = unit @ unit.T
    np.fill_diagonal(scores, -2.0)
    nearest = scores.argmax(axis=1)
    assert planted.copies.tolist() == [999, 1999, 2999]
    assert nearest[planted.copies].tolist() == [998, 1998, 2998]
    assert (planted.cluster[nearest] == planted.cluster).mean() > 0.95


def test_a_cluster_is_of_one_domain_and_shares_are_as_asked() -> None:
    planted = plant(50_000, dim=2)
    domains = planted.domain
    for cluster in range(0, planted.n_clusters, 17):
        assert len(set(domains[planted.cluster == cluster])) == 1
    assert abs((domains == "speech").mean() - 0.55) < 0.03
    assert 0 < (domains == "effects").mean() < 0.03


def test_seeds_change_vectors_and_not_clips() -> None:
    one, two = plant(600, dim=8, seed=1), plant(600, dim=8, seed=2)
    assert np.array_equal(one.cluster, two.cluster)
    assert not np.allclose(one.vectors(), two.vectors())
    assert np.array_equal(one.vectors(), plant(600, dim=8, seed=1).vectors())


def test_files_and_workspace_hold_the_planted_clips(tmp_path: Path) -> None:
    planted = plant(500, dim=8)
    write_vectors(planted, tmp_path / "v.parquet", "made", layer=2)
    table = pq.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["clip_id", "encoder", "layer", "vector"]
    assert table["clip_id"].to_pylist() == planted.clip_ids
    stored = np.array(table["vector"].to_pylist(), np.float32)
    assert np.array_equal(stored, planted.vectors())
    write_manifest(planted, tmp_path / "c.parquet")
    place = np.array(pq.read_table(tmp_path / "c.parquet")["place"].to_pylist(), int)
    assert np.array_equal(place, planted.cluster * 1000 // planted.n_clusters)
    clips = workspace_of(planted, tmp_path / "made").read(
        "SELECT s.segment_id, c.* FROM clips c JOIN segments s USING (clip_id) ORDER BY segment_id"
    )
    assert clips.segment_id.tolist() == list(range(500))
    assert clips.clip_id.tolist() == planted.clip_ids
    assert clips.domain.tolist() == planted.domain.tolist()
