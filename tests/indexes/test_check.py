"""What is wrong with the table of a space is said, each fault by itself."""

from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import store
from usad_workbench.indexes.check import check_workspace

N = 3000


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("INSERT INTO {t} SELECT * FROM {t} WHERE segment_id = 7", "more than one vector"),
        (
            "UPDATE {t} SET vector = [0.0, 'nan'::FLOAT, 0, 0] WHERE segment_id IN (5, 2900)",
            "2 vectors are not fin",
        ),
        ("DELETE FROM segments WHERE segment_id = 9", "says 3000 vectors, 2999 belong to segments"),
        ("DELETE FROM {t} WHERE segment_id = 2500", "says 3000 vectors, 2999 belong to segments"),
        ("UPDATE {t} SET segment_id = 1 - segment_id WHERE segment_id < 2", "not those that were"),
    ],
    ids=["twice", "not finite", "of no segment", "lost", "exchanged"],
)
def test_faults_of_a_table_are_told_apart(statement: str, said: str, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
    workspace = store(tmp_path / "w", vectors)
    assert check_workspace(workspace) == []
    table = f"vectors_{workspace.space_id('made', 0)}"
    with workspace.database.write() as connection:
        connection.execute(statement.format(t=table))
    problems = [one for one in check_workspace(workspace) if one.startswith("made layer 0")]
    assert sum(said in one for one in problems) == 1, problems
