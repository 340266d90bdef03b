"""What a student may be used for follows from its teachers too, wherever it is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from usad_workbench.core.encoders.registry import encoder_spec, encoder_specs, load_encoder
from usad_workbench.core.interop.card import model_card
from usad_workbench.core.interop.source import open_student
from usad_workbench.core.models.checkpoint import CONFIG_FILE, SHIPPED, load_student, save_student
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.spec import is_non_commercial, student_licence
from usad_workbench.core.models.student import build_student
from usad_workbench.training import train
from usad_workbench.training.recipe import find_recipe, load_recipe

NC = "CC BY-NC 4.0 (non-commercial)"
TINY = StudentConfig(dim=32, n_layers=2, n_heads=2, pos_groups=4, conv_channels=4)


def make(folder: Path, licence: str, *teachers: tuple[str, str | None]) -> Path:
    """A student as earlier versions recorded one: with what its recipe said."""
    rows = [{"teacher": name, "domain": "music", "licence": one} for name, one in teachers]
    provenance = {"name": "s", "licence": licence, "teachers": rows}
    return save_student(folder, build_student(TINY), None, provenance)


@pytest.mark.parametrize(
    ("licence", "teachers", "is_nc"),
    [
        ("Apache-2.0", [("muq-large-msd-iter", NC)], True),
        (
            "MIT",
            [("a", "MIT"), ("af-whisper", "NVIDIA OneWay Noncommercial (non-commercial)")],
            True,
        ),
        ("CC-BY-SA-4.0", [("hf:OWNER/NAME", "see its model card")], None),
        ("MIT", [("hf:OWNER/NAME", "see its model card"), ("b", NC)], True),
        ("MIT", [("run:other", "non-commercial, as its teacher b (CC BY-NC 4.0)")], True),
        ("CC-BY-NC-SA-4.0", [("b", NC)], True),
        (
            "Apache-2.0",
            [("a", "ISC"), ("b", "CC BY 4.0, A.B. Ma and A. Lerch"), ("c", None)],
            False,
        ),
    ],
)
def test_every_place_says_the_same(
    tmp_path: Path, licence: str, teachers: list[tuple[str, str | None]], is_nc: bool | None
) -> None:
    folder = make(tmp_path / "s", licence, *teachers)
    source = open_student(str(folder))
    told = {
        load_student(folder).spec.licence,
        encoder_spec(f"run:{folder}").licence,
        load_encoder(f"run:{folder}").spec.licence,
        source.licence,
        source.provenance["licence"],
    }
    assert len(told) == 1
    (found,) = told
    assert is_non_commercial(found) is is_nc
    assert (found == licence) == (is_nc is False or is_non_commercial(licence) is True)
    card = model_card(source, "")
    head = card.split("---")[1]
    assert f"Weights: {found}. Code: Apache-2.0." in card
    assert ("other" in head) == (found != licence) and json.dumps(found) in head


def test_a_run_records_what_its_teachers_leave(
    tmp_path: Path, recipe_file: Callable[..., Path], teachers: dict[str, Encoder]
) -> None:
    teachers["tune"].spec = replace(teachers["tune"].spec, licence=NC)
    train(recipe_file(n_steps=3), tmp_path / "run", teachers=teachers)
    expected = "non-commercial, as its teacher tune (CC BY-NC 4.0)"
    assert json.loads((tmp_path / "run/run.json").read_text())["licence"] == expected
    for folder in (tmp_path / "run" / "student", tmp_path / "run"):
        assert encoder_spec(f"run:{folder}").licence == expected
    # A second stage with other teachers was taught by the first one's too.
    second = tmp_path / "second.toml"
    text = recipe_file(n_steps=3).read_text()
    second.write_text(
        text.replace("[[teachers]]", f'[start]\nstudent = "{tmp_path}/run"\n\n[[teachers]]', 1)
    )
    teachers["tune"].spec = replace(teachers["tune"].spec, licence="MIT")
    train(second, tmp_path / "next", teachers=teachers)
    assert encoder_spec(f"run:{tmp_path / 'next'}").licence == expected


RECIPES = sorted(path.stem for path in find_recipe("base").parent.glob("*.toml"))


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_say_what_their_teachers_leave(name: str) -> None:
    recipe, known = load_recipe(name), encoder_specs()
    teachers = [(t.name, known[t.name].licence) for t in recipe.teachers]
    assert student_licence(recipe.licence, teachers) == recipe.licence
    is_nc = any(is_non_commercial(licence) for _, licence in teachers)
    assert is_non_commercial(recipe.licence) is is_nc


def test_the_shipped_student_keeps_its_licence(tmp_path: Path) -> None:
    assert encoder_specs()["usad-demo"].licence == "CC-BY-SA-4.0"
    copy = Path(shutil.copytree(SHIPPED, tmp_path / "copy"))
    text = (copy / CONFIG_FILE).read_text().replace('"ISC"', '"CC BY-NC 4.0"')
    (copy / CONFIG_FILE).write_text(text)
    assert is_non_commercial(encoder_spec(f"run:{copy}").licence)
