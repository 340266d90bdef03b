"""``usad demo`` on the sample data with real weights: the tables that it leaves."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from tests.docs.tables import read_answer
from usad_workbench.core.diagnosis.record import is_diagnosed, stored_panels
from usad_workbench.core.encoders.registry import setup_encoders
from usad_workbench.core.similarity import debiased_linear_cka, mutual_knn
from usad_workbench.core.storage.clip_vectors import clip_vectors
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace
from usad_workbench.indexes.spaces import search

pytestmark = pytest.mark.weights

FILLED = (
    "clips",
    "segments",
    "encoders",
    "spaces",
    "embeddings",
    "distillation",
    "tasks",
    "teacher_similarity",
    "clip_teacher_similarity",
    "projections",
)
"""The tables of the design contract."""


@pytest.fixture(scope="module")
def workspace(demo: dict[str, Any]) -> Workspace:
    return Workspace.open(demo["workspace"])


def test_document(demo: dict[str, Any]) -> None:
    assert demo["n_clips"] > 900
    assert demo["encoders"] == sorted(setup_encoders())
    of_encoders = sum(spec.n_layers + 1 for spec in setup_encoders().values())
    assert demo["spaces"] == of_encoders + len(demo["students"]) + len(demo["placebos"])
    assert len(demo["students"]) >= 3 and not set(demo["students"]) & set(demo["encoders"])
    assert demo["placebos"] == ["basic-pitch", "dnsmos", "silero-vad", "swift-f0"]
    assert demo["failed"] == []


def test_plain_duckdb_finds_every_table_filled(demo: dict[str, Any], tmp_path: Path) -> None:
    path = str(Path(demo["workspace"]) / "workspace.duckdb")
    code = (
        "import duckdb, json, sys\n"
        f"con = duckdb.connect({path!r}, read_only=True)\n"
        f"n = {{t: con.execute(f'SELECT count(*) FROM {{t}}').fetchone()[0] for t in {FILLED!r}}}\n"
        "sys.stdout.write(json.dumps(n))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    counts = json.loads(done.stdout)
    assert all(counts[table] > 0 for table in FILLED), counts


def test_rows_per_encoder_and_pooling(workspace: Workspace, demo: dict[str, Any]) -> None:
    """Exactly segments x (L + 1) vectors, all finite, of the width that the spec says."""
    n_segments = int(workspace.sql("SELECT count(*) AS n FROM segments").n[0])
    rows = workspace.sql(
        "SELECT e.encoder, e.pooling, count(*) AS n, count(DISTINCT (e.layer, e.segment_id)) AS d, "
        "bool_and(len(e.vector) = k.dims[e.layer + 1]) AS is_wide, "
        "bool_and(isfinite(list_sum(e.vector::DOUBLE[]))) AS is_finite "
        "FROM embeddings e JOIN encoders k USING (encoder) GROUP BY ALL"
    ).set_index(["encoder", "pooling"])
    specs = setup_encoders()
    given = {(name, "mean") for name in (*demo["students"], *demo["placebos"])}
    assert set(rows.index) == {(name, "mean") for name in specs} | given
    assert set(rows.n[list(given)]) == {n_segments}
    for (name, _), row in rows.drop(list(given)).iterrows():
        assert row.n == row.d == n_segments * (specs[name].n_layers + 1)
        assert row.is_wide
        assert row.is_finite


def test_no_two_spaces_of_an_encoder_are_equal(workspace: Workspace) -> None:
    for name, spec in setup_encoders().items():
        layers = [workspace.embeddings(name, layer).vectors for layer in range(spec.n_layers + 1)]
        for i, a in enumerate(layers):
            for b in layers[i + 1 :]:
                assert a.shape != b.shape or not np.allclose(a, b, rtol=1e-3, atol=1e-5)


def test_search_is_exact(workspace: Workspace) -> None:
    for encoder, layer in (("usad-demo", 8), ("aisfx", 4)):
        stored = workspace.embeddings(encoder, layer)
        unit = stored.vectors.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        for i in range(0, len(stored), 150):
            hits = search(workspace, stored.vectors[i], encoder, layer, k=10)
            assert hits.segment_ids[0] == stored.segment_ids[i]
            assert abs(hits.scores[0] - 1) < 1e-5
            cosines = unit @ unit[i]
            np.testing.assert_allclose(hits.scores, np.sort(cosines)[::-1][:10], atol=1e-5)
            found = np.searchsorted(stored.segment_ids, hits.segment_ids)
            np.testing.assert_allclose(cosines[found], hits.scores, atol=1e-5)


def test_indexes_and_maps_cover_every_space_but_those_that_came_as_vectors(
    workspace: Workspace, demo: dict[str, Any]
) -> None:
    behind = workspace.sql(
        "SELECT s.encoder FROM spaces s LEFT JOIN indexes i USING (space_id) "
        "LEFT JOIN projection_quality q ON q.encoder = s.encoder AND q.layer = s.layer "
        "WHERE i.n IS DISTINCT FROM s.n OR q.n IS DISTINCT FROM s.n"
    )
    assert sorted(behind.encoder) == sorted([*demo["students"], *demo["placebos"]])
    assert check_workspace(workspace) == []
    quality = workspace.sql("SELECT trustworthiness FROM projection_quality").trustworthiness
    assert quality.between(0.7, 1.0).all()


def test_similarity_rows_equal_the_measures_on_the_stored_vectors(workspace: Workspace) -> None:
    rows = workspace.sql(
        "SELECT * FROM teacher_similarity USING SAMPLE reservoir(12 ROWS) REPEATABLE (3)"
    )
    assert len(rows) == 12
    for row in rows.itertuples():
        clips = workspace.clips(f"domain = '{row.domain}'")
        x = clip_vectors(workspace, row.student, row.student_layer, clips.clip_id.tolist())
        y = clip_vectors(workspace, row.teacher, row.teacher_layer, clips.clip_id.tolist())
        if row.measure == "debiased_linear_cka":
            expected = debiased_linear_cka(x, y, clips.cluster_id.tolist())
        else:
            expected = mutual_knn(x, y, 10, clips.cluster_id.tolist())
        assert row.value == pytest.approx(expected, abs=1e-6)
        assert row.n_clips == len(clips)
        assert row.n_clusters == clips.cluster_id.nunique()


def test_every_domain_has_intervals_and_a_statement(workspace: Workspace) -> None:
    rows = workspace.sql("SELECT * FROM teacher_similarity")
    assert set(rows.domain) == {"speech", "sound", "music", "effects"}
    assert rows.groupby("domain").n_clusters.max().min() >= 8
    known = rows.dropna(subset=["ci_low", "ci_high"])
    assert len(known) > 0.95 * len(rows)
    assert (known.ci_low <= known.value + 1e-9).all()
    assert (known.value <= known.ci_high + 1e-9).all()
    assert rows.p_value.between(1 / 201 - 1e-9, 1).all()
    nearest = workspace.sql("SELECT * FROM nearest_teachers")
    assert len(nearest) == 8  # domains x measures
    taught = set(workspace.sql("SELECT teacher FROM distillation").teacher)
    assert taught == {"whisper-tiny.en", "aisfx", "musicnn", "whisper-base"}
    assert set(nearest.teacher) <= taught
    for row in nearest.itertuples():
        assert row.teacher in row.statement
        assert str(row.n_clips) in row.statement


def test_clip_similarity_averages_to_the_table(workspace: Workspace) -> None:
    """Per-clip neighbour overlaps and the panel's mutual k-NN are one number."""
    rows = workspace.sql(
        "SELECT t.student, t.teacher, t.domain, t.value AS whole, avg(c.value) AS mean "
        "FROM teacher_similarity t "
        "JOIN clip_teacher_similarity c USING (student, student_layer, teacher, teacher_layer, "
        "measure) JOIN clips k ON k.clip_id = c.clip_id AND k.domain = t.domain "
        "WHERE t.measure = 'mutual_knn' GROUP BY ALL"
    )
    compared = workspace.sql(
        "SELECT DISTINCT student, teacher, domain FROM teacher_similarity "
        "WHERE measure = 'mutual_knn' AND value IS NOT NULL AND domain <> 'all'"
    )
    key = ["student", "teacher", "domain"]
    assert set(map(tuple, rows[key].to_numpy())) == set(map(tuple, compared.to_numpy()))
    assert len(rows) == len(compared), "one pair of layers each"
    np.testing.assert_allclose(rows.whole, rows["mean"], atol=1e-9)


def test_the_family_is_answered_as_the_committed_document_says(workspace: Workspace) -> None:
    """Every reading of every teacher and domain, from the vectors that ship."""
    document = read_answer()
    stored = stored_panels(workspace, document["students"][0])["inheritance"]
    assert is_diagnosed(workspace, document["students"], ["inheritance"])
    key = ["teacher", "domain", "layer", "measure"]
    found = stored.set_index(key).sort_index()
    said = pd.DataFrame(document["inheritance"]).set_index(key).sort_index()
    assert list(found.index) == list(said.index) and len(said) == 48
    for name in ("excess", "ci_low", "ci_high", "over_peers"):
        np.testing.assert_allclose(found[name].astype(float), said[name].astype(float), atol=2e-3)
    assert found.inherited.tolist() == said.inherited.tolist()
    assert found.peers.map(list).tolist() == said.peers.tolist()


def test_second_run_changes_nothing(demo: dict[str, Any]) -> None:
    workspace = Path(demo["workspace"])
    before = _state(workspace)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "usad_workbench.workbench.cli",
            "demo",
            "--no-serve",
            "--short",
            "--json",
            "--workspace",
            str(workspace),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["failed"] == []
    assert _state(workspace) == before


def _state(folder: Path) -> dict[str, Any]:
    """Everything that a second run could have changed."""
    with duckdb.connect(str(folder / "workspace.duckdb"), read_only=True) as connection:
        tables = [
            row[0]
            for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        ]
        counts = {
            t: connection.execute(f"SELECT count(*), sum(hash(x)::HUGEINT) FROM {t} x").fetchone()
            for t in tables
        }
    files = {p.name: p.stat().st_mtime_ns for p in (folder / "indexes").iterdir()}
    return {"tables": counts, "files": files}
