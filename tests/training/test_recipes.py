"""The shipped recipes: each is read, fits itself, and says what was published."""

from dataclasses import replace
from pathlib import Path

import pytest

from usad_workbench.core.encoders.registry import encoder_specs
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.models.depth import check_scalable, source_layers
from usad_workbench.core.models.sizes import SIZES
from usad_workbench.training import train
from usad_workbench.training.objective import layer_map
from usad_workbench.training.recipe import Recipe, find_recipe, load_recipe

FOLDER = find_recipe("demo-small").parent
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
STAGE_1 = {"small": "small", "base": "base", "large": "large", "xlarge": "xlarge"}
STAGE_2 = {"plus-large": "large", "plus-xlarge": "xlarge", "plus-xxlarge": "xxlarge"}
PUBLISHED = {**STAGE_1, **STAGE_2, "xxlarge-depth": "xxlarge"}

TEACHERS = {"wavlm-large": "speech", "atst-frame": "sound", "muq-large-msd-iter": "music"}
"""Of the published first stage."""


def started_from(recipe: Recipe) -> Recipe:
    """The recipe whose run a recipe begins as."""
    name = Path(recipe.start.student).name
    return load_recipe({"demo": "demo-small"}.get(name, name))


def test_all_that_were_asked_for_are_there() -> None:
    assert {*PUBLISHED, "demo-small", "demo-plus", "demo-depth"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_recipe_fits_itself(name: str) -> None:
    recipe = load_recipe(name)
    specs = encoder_specs()
    for teacher in recipe.teachers:
        known = specs[teacher.name]
        depth = known.n_layers
        assert teacher.target != "ffn" or known.has_ffn
        pairs = layer_map(recipe.objective.n_layers, recipe.student.n_layers, depth, teacher.layers)
        assert pairs[-1] == (recipe.student.n_layers, depth)
        assert teacher.domain == "all" or teacher.domain in recipe.data.domains
    if recipe.start.student and not name.startswith("ablation"):  # it is given its start
        source = started_from(recipe)
        check_scalable(source.student, recipe.student, recipe.start.depth)
        source_layers(recipe.start.depth, source.student.n_layers, recipe.student.n_layers)
        assert source.stage <= recipe.stage


@pytest.mark.parametrize("name", NAMES)
def test_no_recipe_names_a_source_twice(name: str) -> None:
    paths = [source.path for source in load_recipe(name).data.sources]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("name", [*PUBLISHED, "demo-small", "demo-plus", "demo-depth"])
def test_each_key_has_a_comment(name: str) -> None:
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if " = " in line and "# " not in line] == []


@pytest.mark.parametrize(("name", "size"), PUBLISHED.items())
def test_published_sizes_and_numbers(name: str, size: str) -> None:
    recipe = load_recipe(name)
    assert recipe.student == SIZES[size]
    assert (recipe.objective.omega, recipe.objective.target_scaling) == (10.0, "none")
    assert (recipe.data.batch_s, recipe.optimiser.warmup_steps) == (800.0, 8000)
    teachers = {teacher.name: teacher.domain for teacher in recipe.teachers}
    if name in STAGE_2:
        assert (recipe.stage, recipe.objective.n_layers, recipe.optimiser.n_steps) == (2, 1, 50_000)
        assert teachers == {"whisper-large-v3": "speech", "af-whisper": "all"}
    else:
        assert (recipe.stage, recipe.objective.n_layers) == (1, 4)
        assert teachers == TEACHERS
    if name in STAGE_1:
        assert recipe.optimiser.n_steps == 600_000 and not recipe.start.student


def test_learning_rates_of_the_first_paper() -> None:
    """USAD (arXiv 2506.18843), table II."""
    rates = {name: load_recipe(name).optimiser.peak_lr for name in ("small", "base", "large")}
    assert rates == {"small": 8e-4, "base": 1e-3, "large": 1.5e-3}


@pytest.mark.parametrize(
    ("name", "student", "teachers"),
    [
        ("base", (3, 6, 9, 12), {24: (6, 12, 18, 24), 12: (3, 6, 9, 12)}),
        ("xlarge", (8, 16, 24, 32), {24: (6, 12, 18, 24), 12: (3, 6, 9, 12)}),
        ("xxlarge-depth", (12, 24, 36, 48), {24: (6, 12, 18, 24)}),
        ("plus-xxlarge", (48,), {32: (32,)}),
    ],
)
def test_layers_of_the_published_depths(
    name: str, student: tuple[int, ...], teachers: dict[int, tuple[int, ...]]
) -> None:
    recipe = load_recipe(name)
    for depth, layers in teachers.items():
        pairs = layer_map(recipe.objective.n_layers, recipe.student.n_layers, depth)
        assert pairs == tuple(zip(student, layers, strict=True))


def test_the_demo_begins_each_later_run() -> None:
    plus, deep, first = (load_recipe(f"demo-{name}") for name in ("plus", "depth", "small"))
    assert plus.student == first.student and deep.student == replace(first.student, n_layers=12)
    assert deep.teachers == first.teachers
    # What the first run decoded is used again: what the corpus depends on is the same.
    for field in ("sources", "domains", "exclude", "max_clip_s", "min_clip_s"):
        assert getattr(plus.data, field) == getattr(first.data, field), field
        assert getattr(deep.data, field) == getattr(first.data, field), field


def test_a_teacher_that_does_not_exist_here_is_named_at_once(tmp_path: Path) -> None:
    text = (FOLDER / "base.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('"muq-large-msd-iter" ', '"no-teacher" '), encoding="utf-8")
    with pytest.raises(UnknownNameError, match=r"no-teacher.* of recipe"):
        train(path, tmp_path / "run")
    assert not (tmp_path / "run").exists()
