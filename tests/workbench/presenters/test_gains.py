"""Which untrained student is subtracted, and what the picture then may say."""

from pathlib import Path

import numpy as np

from tests.planted import add_clips, add_encoder
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters.gains import students, teachers, untrained


def test_only_a_baseline_of_the_students_layers_and_widths_is_its_untrained_self(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    made = Workspace.create(tmp_path / "w")
    add_clips(made, {"domain": ["speech"] * 9, "cluster_id": [str(i) for i in range(9)]})
    for name, role, widths in (
        ("s", "student", (4, 4, 4)),
        ("narrow", "student", (4, 4, 3)),
        ("t", "teacher", (5, 5)),
        ("a-deeper-one", "baseline", (4, 4, 8)),
        ("untrained", "baseline", (4, 4, 4)),
    ):
        add_encoder(made, name, role, None, [rng.normal(size=(9, width)) for width in widths])  # type: ignore[arg-type]
    for name in ("s", "narrow"):
        set_distillation(made, name, [("t", "speech", 1)])
    assert students(made.read) == ["narrow", "s"] and teachers(made.read, "s") == ["t"]
    assert untrained(made.read, "s") == "untrained"
    assert untrained(made.read, "narrow") == ""
