"""What training changed: planted in a student of two layers, beside its untrained self."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from usad_workbench.core.diagnosis.gain import gains
from usad_workbench.core.similarity import debiased_linear_cka
from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.importing_embeddings import import_embeddings
from usad_workbench.core.storage.workspace import Workspace

N, DIM = 60, 8


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A student whose layer 1 is its teacher's, and an untrained one that is nobody's."""
    folder = tmp_path_factory.mktemp("gain")
    rng = np.random.default_rng(0)
    teacher, noise, start = (rng.normal(size=(N, DIM)) for _ in range(3))
    vectors = {
        ("teacher", 0): teacher,
        ("teacher", 1): noise,
        ("student", 0): start,
        ("student", 1): teacher + 0.3 * rng.normal(size=(N, DIM)),
        ("untrained", 0): start,
        ("untrained", 1): rng.normal(size=(N, DIM)),
    }
    clips = [f"c{i:03d}" for i in range(N)]
    manifest = folder / "clips.csv"
    rows = (f"{clip},sound,{clip}" for clip in clips)
    manifest.write_text("\n".join(["clip_id,domain,cluster_id", *rows]) + "\n")
    workspace = Workspace.create(folder / "w")
    import_clips_without_audio(workspace, manifest)
    for name, role in (("teacher", "teacher"), ("student", "student"), ("untrained", "baseline")):
        path = folder / f"{name}.parquet"
        of = {layer: values for (encoder, layer), values in vectors.items() if encoder == name}
        table = {
            "clip_id": clips * len(of),
            "encoder": [name] * N * len(of),
            "layer": np.repeat(list(of), N),
            "vector": list(np.concatenate(list(of.values())).astype(np.float32)),
        }
        pq.write_table(pa.table(table), path)
        import_embeddings(workspace, path, role=role)
    return workspace


def test_only_the_planted_layer_gained(planted: Workspace) -> None:
    rows = gains(planted, "student", ["teacher"], baseline="untrained")
    nearest = {row.student_layer: row for row in rows if row.kind == "nearest"}
    assert nearest[1].teacher_layer == 0
    assert nearest[1].value > 0.6 and nearest[1].ci_low > 0.4
    assert nearest[0].value == 0  # the same vectors as the untrained student's
    assert {row.n_clusters for row in rows} == {N}


def test_a_pair_is_the_difference_of_two_values(planted: Workspace) -> None:
    rows = gains(planted, "student", ["teacher"], baseline="untrained")
    pairs = {(r.student_layer, r.teacher_layer): r for r in rows if r.kind == "pair"}
    of = {
        (name, layer): planted.embeddings(name, layer).vectors
        for name in ("student", "untrained", "teacher")
        for layer in (0, 1)
    }
    clusters = list(range(N))
    for (i, j), row in pairs.items():
        own, base = (
            debiased_linear_cka(of[name, i], of["teacher", j], clusters)
            for name in ("student", "untrained")
        )
        assert row.value == pytest.approx(own - base, abs=1e-6)


def test_without_an_untrained_student_nothing_is_subtracted(planted: Workspace) -> None:
    with_it = gains(planted, "student", ["teacher"], baseline="untrained")
    alone = gains(planted, "student", ["teacher"])
    assert [row.value for row in alone if row.kind == "pair"] == [
        row.student_value for row in with_it if row.kind == "pair"
    ]
    assert all(np.isnan(row.baseline_value) for row in alone)


def test_progress_and_an_end_that_is_asked_for(planted: Workspace, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    gains(planted, "student", ["teacher"], progress=lambda *one: seen.append(one))
    assert seen == [(1, 1, "teacher in sound")]
