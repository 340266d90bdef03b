"""Planted worlds through the commands alone: files in, verdicts out.

What each world must give stands in ``tests/worlds.py`` and was written before the suite first
saw one. The same in process over 50 seeds: ``tests/core/diagnosis/test_scenarios_slow.py``.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import DOMAINS, SCENARIOS, STUDENT, TEACHERS, World, make_world, write_world
from usad_workbench.workbench.cli import main

PANELS = "inheritance,errors,nuisance"


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The JSON document of one command that must succeed."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def _diagnosed(world: World, folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Everything that somebody with vectors of their own would type."""
    write_world(world, folder)
    w = str(folder / "w")
    new = ("--clips", str(folder / "clips.csv"), "--tasks", str(folder / "tasks.csv"))
    for role in ("teacher", "control"):
        for domain in DOMAINS[:3]:
            _run(
                capsys,
                "import-embeddings",
                str(folder / f"{role}-{domain}.parquet"),
                "--workspace",
                w,
                "--role",
                role,
                "--domain",
                domain,
                *new,
            )
            new = ()
    _run(
        capsys,
        "import-embeddings",
        str(folder / "student.parquet"),
        "--workspace",
        w,
        "--role",
        "student",
        "--teachers",
        ",".join(TEACHERS),
    )
    _run(
        capsys,
        "evaluate",
        "--workspace",
        w,
        "--encoders",
        ",".join(world.encoders),
        "--protocol",
        "knn",
        "--seeds",
        "2",
        "--no-cost",
    )
    return _run(
        capsys,
        "diagnose",
        "--workspace",
        w,
        "--student",
        STUDENT,
        "--layer",
        "-1",
        "--panels",
        PANELS,
        "--permutations",
        "20",
    )


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_planted_world_gets_its_verdict(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world(0, scenario, n_clips=200, n_layers=1)
    found = _diagnosed(world, tmp_path, capsys)
    expected = world.expected
    yes = {(r["teacher"], r["domain"]) for r in found["inheritance"] if r["inherited"] == "yes"}
    assert expected.inherited <= yes
    assert not yes & expected.not_inherited
    (verdict,) = [v for v in found["verdicts"] if v["question"] == "inherited"]
    named = {t: per for t, per in verdict["evidence"].items() if t in TEACHERS}
    assert {(t, d) for t, per in named.items() for d, word in per.items() if word == "yes"} == yes
    if not yes:
        # one interval of many that leaves out 0 bars the "no"
        words = {word.split(":")[0] for per in named.values() for word in per.values()}
        assert words <= {"no", "undecided"}
        none_found = "no inheritance found" if words == {"no"} else "undecided"
        assert verdict["verdict"] == none_found
    copied = {(r["teacher"], r["domain"]) for r in found["errors"] if r["copied"] == "yes"}
    assert expected.errors <= copied
    assert not copied & expected.no_errors
    for row in found["nuisance"]:
        if row["factor"] == "gender" and row["encoder"] in (STUDENT, *TEACHERS):
            is_read = row["encoder"] in expected.gender_in
            assert (row["accuracy"] > 0.9) is is_read, row
            assert (row["selectivity"] > 0.2) is is_read, row
