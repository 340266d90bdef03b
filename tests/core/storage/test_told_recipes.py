"""Students of one recipe are found by what was told of them, the seeds with all teachers first."""

from pathlib import Path

import numpy as np

from tests.planted import add_clips, add_encoder
from usad_workbench.core.evaluation.systems import left_out, system_names, teacher_pool
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.told_recipes import told_recipes
from usad_workbench.core.storage.workspace import Workspace

TOLD = {
    "w-0": (["a"], 0, "long"),
    "full-1": (["a", "b"], 1, "long"),
    "full-0": (["b", "a"], 0, "long"),
    "w-1": (["a"], 1, "long"),
    "other": (["a", "b"], 0, "short"),
    "untold": (["a", "b"], 0, None),
}


def world(folder: Path) -> Workspace:
    rng = np.random.default_rng(0)
    made = Workspace.create(folder)
    add_clips(made, {"domain": ["speech"] * 9, "cluster_id": [str(i) for i in range(9)]})
    for teacher in ("a", "b"):
        add_encoder(made, teacher, "teacher", "speech", [rng.normal(size=(9, 4))])
    for name, (teachers, seed, training) in TOLD.items():
        add_encoder(made, name, "student", None, [rng.normal(size=(9, 4))])
        set_distillation(made, name, [(one, "speech", 1) for one in teachers])
        with made.database.write() as connection:
            connection.execute(
                "UPDATE encoders SET architecture = 'small', training = ?, training_seed = ? "
                "WHERE encoder = ?",
                [training, seed, name],
            )
    return made


def test_seeds_and_peers_of_each_recipe(tmp_path: Path) -> None:
    (recipe,) = told_recipes(world(tmp_path / "w"))  # one student alone is no recipe
    assert recipe.seeds == ("full-0", "full-1")
    assert recipe.students == ("full-0", "full-1", "w-0", "w-1")


def test_nobody_on_record_is_no_teacher(tmp_path: Path) -> None:
    made = world(tmp_path / "w")
    for name in ("full-0", "full-1", "w-0"):
        set_distillation(made, name, [])
    (recipe,) = told_recipes(made)
    assert recipe.seeds == ("w-1",)  # the others may have had anybody
    assert recipe.students == ("w-1", "full-0", "w-0", "full-1")


def test_the_first_is_evaluated_for_all_unless_others_are_named(tmp_path: Path) -> None:
    made = world(tmp_path / "w")
    assert left_out(made) == ["full-1", "w-0", "w-1"]
    pool = teacher_pool(made)
    assert set(left_out(made)).isdisjoint(system_names(pool, None, None))
    assert {"full-0", "other", "untold"} <= set(system_names(pool, None, None))
    assert system_names(pool, ["w-1"], None) == ["w-1"]
