"""Fine-tuning on a tiny ESC-50 of tones: it learns, by its seed alone, and leaves no trace."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.core.evaluation.benchmarks.layouts import make_esc50
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.evaluation.benchmarks.esc50 import read_esc50
from usad_workbench.core.models.student import StudentConfig, build_student, hash_weights
from usad_workbench.training.finetune import FineTuning, fine_tune

CONFIG = FineTuning(
    n_steps=24, warmup_steps=3, batch_size=6, check_every=12, student_rate=2e-3, head_rate=2e-2
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_learns_the_tones(tmp_path: Path) -> None:
    task = read_esc50(make_esc50(tmp_path))[0]
    student = build_student(StudentConfig(dim=64, n_layers=1, n_heads=2))
    before = hash_weights(student)
    scores = fine_tune(student, task, task.splits[0], CONFIG)
    truth = task.truth()[task.rows(task.splits[0].test)]
    assert scores.shape == (6, 3)
    assert np.mean(scores.argmax(axis=1) == truth) > 0.8
    assert hash_weights(student) == before
    again = fine_tune(student, task, task.splits[0], replace(CONFIG, n_steps=2))
    once_more = fine_tune(student, task, task.splits[0], replace(CONFIG, n_steps=2))
    np.testing.assert_array_equal(again, once_more)


def test_an_empty_part_is_refused(tmp_path: Path) -> None:
    task = read_esc50(make_esc50(tmp_path))[0]
    split = replace(task.splits[0], valid=("9",))
    with pytest.raises(DegenerateError, match="0 validation"):
        fine_tune(build_student(StudentConfig(dim=64, n_layers=1, n_heads=2)), task, split, CONFIG)
