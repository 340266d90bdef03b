"""What two students are to each other, from what their checkpoints record."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from tests.planted import add_clips, record, save_run
from usad_workbench.core.diagnosis.lineage import Relation, relation
from usad_workbench.core.diagnosis.sentences import describe_relation
from usad_workbench.core.storage.spaces import EncoderRecord, register_encoder
from usad_workbench.core.storage.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "w")
    add_clips(made, {"domain": ["speech"], "cluster_id": ["a"]})
    return made


def _known(workspace: Workspace, name: str, weights: str) -> str:
    spec = record(name, "student", None, [np.zeros((1, 2))]).spec
    register_encoder(workspace, EncoderRecord(spec=spec, weights_sha256=weights))
    return name


def test_stages_are_found_by_the_weights_they_began_with(
    workspace: Workspace, tmp_path: Path
) -> None:
    one = _known(workspace, save_run(tmp_path / "one"), "w1")
    two = _known(workspace, save_run(tmp_path / "two", "w1", stage=2), "w2")
    more = _known(workspace, save_run(tmp_path / "more", "w2", "w1", stage=2), "w3")
    twin = _known(workspace, save_run(tmp_path / "twin", "w9", stage=2), "w4")
    assert relation(workspace, two, one) == "second stage"
    assert relation(workspace, one, two) == "first stage"
    assert relation(workspace, more, one) == "second stage"  # over two trainings
    assert relation(workspace, more, two) == "continuation"
    assert relation(workspace, two, more) == "beginning"
    assert relation(workspace, twin, one) == "another student"  # same teachers, other weights


def test_checkpoints_of_one_run_are_found_by_its_folder(
    workspace: Workspace, tmp_path: Path
) -> None:
    save_run(tmp_path / "run")
    last = _known(workspace, save_run(tmp_path / "run", step=200), "w200")
    first = _known(workspace, f"run:{tmp_path}/./run@100", "w100")
    assert relation(workspace, first, last) == "another checkpoint"
    copy = _known(workspace, f"{last}@200", "w200")
    assert relation(workspace, last, copy) == "same weights"


def test_encoders_without_a_checkpoint_have_no_record(workspace: Workspace) -> None:
    for name in ("imported", "run:/nowhere/a", "run:/nowhere/b"):
        _known(workspace, name, name)
    assert relation(workspace, "imported", "run:/nowhere/a") == "another student"
    assert relation(workspace, "run:/nowhere/a", "run:/nowhere/b") == "another student"


def test_each_sentence_names_both() -> None:
    for name in get_args(Relation):
        words = describe_relation(name, "first", "second")
        assert "first" in words
        assert "second" in words
