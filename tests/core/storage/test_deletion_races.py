"""Deleting beside other commands, and in workspaces whose manifests use the package's own words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import record
from usad_workbench.core.errors import ProvenanceError
from usad_workbench.core.storage.deletion import delete_clips, delete_diagnosis, delete_encoder
from usad_workbench.core.storage.importing import insert_clips
from usad_workbench.core.storage.spaces import (
    EncoderRecord,
    append_vectors,
    pending_segments,
    register_encoder,
    replacing,
    take_place,
)
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.projection import project_space

N_CLIPS = 24


def _clip(name: str, **fields: str) -> dict[str, object]:
    return {
        "clip_id": name,
        "path": f"/x/{name}.wav",
        "domain": "speech",
        "dataset": "d",
        "cluster_id": name,
        "duration_s": 2.0,
        "sample_rate_hz": 16_000,
        "audio_sha256": name,
        **fields,
    }


def _record(weights: str = "a") -> EncoderRecord:
    made = record(4)
    return replace(made, spec=replace(made.spec, name="e"), weights_sha256=weights * 64)


def _store(
    workspace: Workspace, segments: list[int], weights: str = "a", run: str | None = None
) -> None:
    ids = np.array(segments)
    vectors = np.stack([ids + 1, ids**2, np.ones(len(ids)), -ids], axis=1).astype(np.float32)
    append_vectors(workspace, _record(weights), "mean", ids, {0: vectors}, run)


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    """Clips with columns of people that are called as columns of the package are."""
    workspace = Workspace.create(tmp_path / "w")
    names = {"encoder": "e", "student": "e", "teacher": "e", "selection": "", "space_id": "hall"}
    insert_clips(workspace, [_clip(f"c{i}", **names) for i in range(N_CLIPS)])
    register_encoder(workspace, _record())
    _store(workspace, list(range(N_CLIPS)))
    return workspace


def test_columns_of_people_are_no_reason_to_delete_a_clip(made: Workspace) -> None:
    with replacing(made) as run:
        _store(made, list(range(N_CLIPS)), "b", run)
        take_place(made, _record("b"), run)
    delete_diagnosis(made, "e")
    delete_encoder(made, "e")
    assert made.clips().space_id.tolist() == ["hall"] * N_CLIPS
    assert len(made.read("SELECT * FROM segments")) == N_CLIPS
    assert made.embedded() == []


def test_a_new_clip_never_gets_the_number_of_a_deleted_one(made: Workspace) -> None:
    last = N_CLIPS - 1
    delete_clips(made, [f"c{last}"])
    _store(made, [last])  # by a command that had looked the segment up before
    insert_clips(made, [_clip("new")])
    assert made.read(
        "SELECT segment_id FROM segments WHERE clip_id = 'new'"
    ).segment_id.tolist() == [N_CLIPS]
    assert len(made.embeddings("e", 0)) == last
    assert pending_segments(made, "e", (0,), "mean")[0]["segment_id"].to_pylist() == [N_CLIPS]


def test_vectors_of_a_deleted_encoder_are_refused(made: Workspace) -> None:
    delete_encoder(made, "e")
    with pytest.raises(ProvenanceError, match="e was deleted from the workspace"):
        _store(made, [0])
    assert made.spaces().empty


def test_vectors_of_weights_that_were_replaced_are_refused(made: Workspace) -> None:
    with replacing(made) as run:
        _store(made, list(range(N_CLIPS - 1)), "b", run)
        take_place(made, _record("b"), run)
    with pytest.raises(ProvenanceError, match="replaced by those of other weights"):
        _store(made, [N_CLIPS - 1], "a")
    assert len(made.embeddings("e", 0)) == N_CLIPS - 1


def test_a_map_that_lost_one_clip_and_lacks_another_is_made_again(made: Workspace) -> None:
    assert project_space(made, "e", 0, method="pca").is_new
    delete_clips(made, ["c0"])
    insert_clips(made, [_clip("new")])
    _store(made, [N_CLIPS])
    assert project_space(made, "e", 0, method="pca").is_new
    mapped = made.read("SELECT segment_id FROM projections ORDER BY ALL").segment_id.tolist()
    assert mapped == list(range(1, N_CLIPS + 1))
