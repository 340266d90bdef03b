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
    words = {
        (teacher, domain): answer.split(":")[0]
        for teacher, per in verdict["evidence"].items()
        if teacher in TEACHERS
        for domain, answer in per.items()
    }
    assert {pair for pair, word in words.items() if word == "yes"} == yes
    # Who mishears the class as a teacher does is near it, until the class is erased.
    through = {pair for pair, word in words.items() if word == "through label"}
    assert all(scenario == "errors" and teacher == "a" for teacher, _ in through)
    others = {word for pair, word in words.items() if pair not in yes | through}
    assert others <= {"no", "undecided"}
    if not yes | through:
        assert verdict["verdict"] == ("no inheritance found" if others == {"no"} else "undecided")
    copied = {(r["teacher"], r["domain"]) for r in found["errors"] if r["copied"] == "yes"}
    assert expected.errors <= copied
    assert not copied & expected.no_errors
    for row in found["nuisance"]:
        if row["factor"] == "gender" and row["encoder"] in (STUDENT, *TEACHERS):
            is_read = row["encoder"] in expected.gender_in
            assert (row["accuracy"] > 0.9) is is_read, row
            assert (row["selectivity"] > 0.2) is is_read, row
