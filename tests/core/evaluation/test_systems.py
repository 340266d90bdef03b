"""What is made of the teachers, and in which order they stand."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.planted import add_clips
from tests.stored_vectors import record
from usad_workbench.core.evaluation.systems import teacher_pool
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.spaces import EncoderRecord, append_vectors, register_encoder
from usad_workbench.core.storage.workspace import Workspace

ORDER = [f"t{7 * i % 20:02}" for i in range(20)]


def _stored(workspace: Workspace, name: str) -> None:
    made = record(4)
    named = EncoderRecord(spec=replace(made.spec, name=name), weights_sha256=made.weights_sha256)
    register_encoder(workspace, named)
    append_vectors(workspace, named, "mean", np.arange(2), {0: np.eye(2, 4, dtype=np.float32)})


def test_teachers_stand_in_the_order_of_the_record(tmp_path: Path) -> None:
    """The layers of a concatenation and the fingerprint of its predictions depend on it."""
    workspace = Workspace.create(tmp_path / "w")
    add_clips(workspace, {"domain": ["speech"] * 2, "cluster_id": ["a", "b"]})
    for name in [*sorted(ORDER), "second", "first"]:
        _stored(workspace, name)
    set_distillation(workspace, "first", [(name, None, 1) for name in ORDER])
    set_distillation(workspace, "second", [("late", None, 2), *((n, None, 1) for n in ORDER[::-1])])
    assert teacher_pool(workspace).teachers == ORDER
