"""Worlds of inheritance through the commands alone: files in, answers out, one seed of each."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.inheritance_worlds import KINDS, make_world, write_world
from usad_workbench.workbench.cli import main


def _run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("placebo, 8 peers", {"no", "undecided"}),
        ("better teacher, 8 peers told", {"through label", "no", "undecided"}),
        ("better teacher, 8 controls", {"not testable"}),
        ("shared shortcut, 8 controls", {"through loudness_db", "undecided", "not testable"}),
        ("one family, 4 controls", {"not testable"}),
        ("less-trained peers, 8", {"not testable"}),
        ("20 % copied, 8 peers", {"yes", "undecided"}),
        ("50 % copied, 8 peers", {"yes"}),
        ("50 % copied, width 1024", {"yes"}),
        ("50 % copied, a rogue dimension", {"yes"}),
        ("50 % copied, 3 students", {"yes"}),
    ],
)
def test_a_world_in_files_gets_its_answer(
    kind: str, answers: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world(KINDS[kind], 0)
    files = write_world(world, tmp_path)
    w, more = str(tmp_path / "w"), ["--clips", str(files["clips"]), "--tasks", str(files["tasks"])]
    for key in sorted(files, key=lambda name: name == "student"):
        if key in ("clips", "tasks"):
            continue
        role, _, domain = key.partition("-")
        at_home = ["--domain", domain] if domain else []
        new = ["import-embeddings", str(files[key]), "--workspace", w, "--role", role]
        _run(capsys, *new, *at_home, *more)
        more = []
    # Peers of which architecture and training are told need not be named.
    named = [] if world.kind.is_told else ["--controls", ",".join([*world.peers, *world.placebos])]
    students = ",".join(world.students)
    asked = ["diagnose", "--workspace", w, "--student", students, "--panels", "inheritance"]
    found = _run(capsys, *asked, *named)
    (verdict,) = found["verdicts"]
    said = {
        (teacher, domain): answer.split(":")[0]
        for teacher in ("t", "u")
        for domain, answer in verdict["evidence"][teacher].items()
    }
    assert said.pop(("t", "speech")) in answers
    assert "yes" not in said.values()
    if len(world.students) > 1:
        assert found["students"] == world.students
