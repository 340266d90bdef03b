"""Every page on workspaces that hold little or much: nothing is empty without a next step or fails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from tests.workbench.opened_app import TIMEOUT_S, page_opener, plain_texts
from usad_workbench.core.diagnosis.panels import PANELS
from usad_workbench.core.diagnosis.run import diagnose
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import project_space
from usad_workbench.workbench import app, jobs

N_MANY = 100_000
DRAWN_IN_THE_BROWSER = ("Map", "Search")


def clips(made: Workspace, n: int) -> None:
    domains = ["speech", "music"] * (n // 2) or ["speech"]
    add_clips(made, {"domain": domains, "cluster_id": [str(i // 2) for i in range(n)]})


def layers(n: int, width: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, width)) for _ in range(2)]


def one_clip(made: Workspace) -> None:
    clips(made, 1)
    add_encoder(made, "alone", "student", None, layers(1, 4, 0))


def one_encoder(made: Workspace) -> None:
    clips(made, 60)
    add_encoder(made, "alone", "teacher", "speech", layers(60, 4, 0))
    project_space(made, "alone", 1, method="pca")


def pair(made: Workspace) -> None:
    """Clips without audio, a student and its teacher: no diagnosis yet."""
    clips(made, 60)
    add_encoder(made, "student", "student", None, layers(60, 4, 0))
    add_encoder(made, "teacher", "teacher", "speech", layers(60, 6, 1))
    set_distillation(made, "student", [("teacher", "speech", 1)])


def not_testable(made: Workspace) -> None:
    """The same diagnosed: without a control or a placebo no answer can be given."""
    pair(made)
    names = [kind.name for kind in PANELS if kind.name in ("inheritance", "attribution")]
    diagnose(made, "student", panels=names, n_processes=1)


def many_clips(made: Workspace) -> None:
    """More than any page lists or compares; they too have answers, on a sample or over all."""
    clips(made, N_MANY)
    add_encoder(made, "student", "student", None, layers(N_MANY, 4, 0))
    add_encoder(made, "teacher", "teacher", "speech", layers(N_MANY, 6, 1))
    set_distillation(made, "student", [("teacher", "speech", 1)])
    project_space(made, "student", 1, method="pca")


@pytest.mark.parametrize("fill", [one_clip, one_encoder, pair, not_testable, many_clips])
def test_every_page_has_something_to_say(
    fill: Callable[[Workspace], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Workspace.create(tmp_path / "w")
    fill(made)
    open_page: Any = page_opener(monkeypatch, made.folder)
    for name in app.PAGES:
        page = open_page(name)
        for job in list(jobs._jobs.values()):
            job.future.exception(TIMEOUT_S)
        page = page.run()
        assert not page.exception and not page.error, name
        if name in DRAWN_IN_THE_BROWSER:
            continue
        has_content = len(page.dataframe) or len(page.metric) or len(page.get("plotly_chart"))
        has_step = any("usad" in code.value for code in page.code)
        assert has_content or has_step, name
        assert len(plain_texts(page)) > 40, name
        if fill is many_clips and name in ("Overview", "Data"):
            assert f"{N_MANY:,}" in plain_texts(page)
    if fill is not_testable:
        said = plain_texts(open_page("Overview"))
        assert "cannot be tested yet" in said and "not testable" in said
