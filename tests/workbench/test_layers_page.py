"""The page Layers: a map less the untrained student, with the numbers of both definitions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from tests.workbench.opened_app import TIMEOUT_S, page_opener, plain_texts
from usad_workbench.core.similarity import debiased_linear_cka
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench import jobs

N, WIDTH = 120, 8


@pytest.fixture
def made(tmp_path: Path) -> tuple[Workspace, dict[str, list[np.ndarray]], np.ndarray]:
    """A student that copies more of its teacher than an untrained one that hears the same."""
    rng = np.random.default_rng(0)
    workspace = Workspace.create(tmp_path / "w")
    clusters = np.arange(N) % 20
    add_clips(workspace, {"domain": ["speech"] * N, "cluster_id": [str(c) for c in clusters]})

    def noise() -> np.ndarray:
        return rng.normal(size=(N, WIDTH))

    teacher = [noise() for _ in range(2)]
    vectors = {
        "student": [0.8 * teacher[1] + 0.4 * noise(), teacher[0] + noise()],
        "untrained": [0.4 * teacher[1] + noise(), noise()],
        "teacher": teacher,
    }
    add_encoder(workspace, "student", "student", None, vectors["student"])
    add_encoder(workspace, "teacher", "teacher", "speech", teacher)
    add_encoder(workspace, "untrained", "baseline", None, vectors["untrained"])
    set_distillation(workspace, "student", [("teacher", "speech", 1)])
    return workspace, vectors, clusters


def opened(open_page: Any, page: Any = None) -> Any:
    """The page after whatever works behind it has ended."""
    page = open_page("Layers") if page is None else page.run()
    for job in list(jobs._jobs.values()):
        job.future.exception(TIMEOUT_S)
    page = page.run()
    assert not page.exception and not page.error
    return page


def test_a_map_less_the_untrained_student(
    made: tuple[Workspace, dict[str, list[np.ndarray]], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace, vectors, clusters = made
    page = opened(page_opener(monkeypatch, workspace.folder))

    def values(page: Any) -> dict[tuple[int, int], float]:
        (table,) = [one.value for one in page.dataframe if "student_layer" in one.value]
        cells = zip(table["student_layer"], table["teacher_layer"], strict=True)
        return dict(zip(cells, table["value"], strict=True))

    def literal(name: str, i: int, j: int) -> float:
        pair = (vectors[name][i], vectors["teacher"][j])
        return debiased_linear_cka(*(x.astype(np.float32) for x in pair), clusters)

    cells = [(i, j) for i in range(2) for j in range(2)]
    assert values(page) == pytest.approx({c: literal("student", *c) for c in cells}, abs=1e-5)
    (toggle,) = [one for one in page.toggle if one.label == "Less the untrained student"]
    page = opened(None, toggle.set_value(True))
    less = {c: literal("student", *c) - literal("untrained", *c) for c in cells}
    assert values(page) == pytest.approx(less, abs=1e-5)
    assert max(less.values()) > 0.2  # the copy shows
    assert "nearer than the untrained student" in plain_texts(page)
