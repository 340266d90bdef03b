"""Planted worlds, fifty of each: how often the suite finds what is there, and what is not.

In process: one workspace holds the names, roles and clips that all worlds share, and every
world's vectors and labels take the place of its own. A student counts as falsely found if any
cell is "yes" (or any task's errors) that ``tests/worlds.py`` says is not; and as found if
every cell is that it says must be.
"""

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.worlds import SCENARIOS, STUDENT, TEACHERS, World, make_world, workspace_of
from usad_workbench.core.bias.factors import categorical
from usad_workbench.core.bias.nuisance import probe_nuisance
from usad_workbench.core.diagnosis.data import DiagnosisConfig, DiagnosisData, load_diagnosis_data
from usad_workbench.core.diagnosis.panel import Panel
from usad_workbench.core.diagnosis.panels import errors, inheritance
from usad_workbench.core.evaluation.testability import possible_tasks
from usad_workbench.core.progress import no_progress
from usad_workbench.core.storage.workspace import Workspace

log = logging.getLogger(__name__)
N_SEEDS = int(os.environ.get("USAD_SCENARIO_SEEDS", "50"))
MAX_FALSE, MIN_TRUE = 0.1, 0.9
"""At most 5 of 50 falsely found, at least 45 of 50 found."""


def data_of(workspace: Workspace, world: World) -> DiagnosisData:
    """What the panels are computed from, with this world's vectors and labels."""
    made = load_diagnosis_data(workspace, STUDENT, config=DiagnosisConfig(layers=(-1,)))
    order = pd.Index(world.clips.clip_id).get_indexer(made.clips.clip_id)
    vectors = {
        (name, number): np.asarray(layer[order], dtype=np.float32)
        for name, one in world.encoders.items()
        for number, layer in enumerate(one.layers)
    }
    columns = {name: world.clips[name].to_numpy()[order] for name in ("label", "gender")}
    clips = made.clips.assign(**columns)
    rows = workspace.read("SELECT * FROM tasks ORDER BY task").to_dict("records")
    tasks, _ = possible_tasks(rows, clips)  # with the labels of this world
    data = replace(made, clips=clips, _tasks=tasks)
    data.sample._vectors.update(vectors)
    return data


def inherited_cells(panel: Panel) -> set[tuple[str, str]]:
    return {(r["teacher"], r["domain"]) for r in panel.documents() if r["inherited"] == "yes"}


def copied_errors(panel: Panel) -> set[tuple[str, str]]:
    return {(r["teacher"], r["domain"]) for r in panel.documents() if r["copied"] == "yes"}


def gender_read(world: World) -> set[str]:
    """Encoders whose last layer gives gender away in every domain."""
    found = set()
    for name in (STUDENT, *TEACHERS):
        values = []
        for domain in sorted(set(world.clips.domain)):
            mine = (world.clips.domain == domain).to_numpy()
            clusters = world.clips.cluster_id[mine].tolist()
            probed = probe_nuisance(
                world.encoders[name].layers[-1][mine],
                categorical(world.clips.gender[mine].tolist()),
                clusters,
                n_permutations=2,
            )
            values.append(probed.value)
        found |= {name} if min(values) > 0.8 else set()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_fifty_students_of_each_kind(scenario: str, tmp_path: Path) -> None:
    first = make_world(0, scenario, n_layers=1)
    asked = workspace_of(first, tmp_path / "with-tasks")
    first.tasks.clear()  # without tasks no accuracies are measured for the match table
    bare = workspace_of(first, tmp_path / "bare")
    n_false = n_true = 0
    for seed in range(N_SEEDS):
        world = make_world(seed, scenario, n_layers=1)
        expected = world.expected
        yes = inherited_cells(inheritance.compute(data_of(bare, world), no_progress))
        is_found = expected.inherited <= yes
        wrong = yes & expected.not_inherited
        if scenario == "errors":
            copied = copied_errors(errors.compute(data_of(asked, world), no_progress))
            is_found = is_found and expected.errors <= copied
            wrong |= copied & expected.no_errors
        if scenario == "gender":
            read = gender_read(world)
            is_found = is_found and expected.gender_in <= read
            wrong |= {(name, "gender") for name in read - expected.gender_in}
        n_true, n_false = n_true + is_found, n_false + bool(wrong)
        if wrong or not is_found:
            log.info("%s, seed %s: found %s, falsely %s", scenario, seed, is_found, sorted(wrong))
    log.info("%s: %s of %s found, %s falsely found", scenario, n_true, N_SEEDS, n_false)
    assert n_true >= MIN_TRUE * N_SEEDS
    assert n_false <= MAX_FALSE * N_SEEDS
