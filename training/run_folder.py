"""The files of a run's folder: their names and how its JSON files are read and written.

Whatever shows or continues a run finds its files by these names; torch is not needed for that.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usad_workbench.core.config import config_to_dict, differing_keys, parse_config
from usad_workbench.core.errors import (
    CheckpointError,
    ConfigError,
)
from usad_workbench.core.files import write_whole
from usad_workbench.core.models.checkpoint import (
    delete_partial,
    list_checkpoints,
)
from usad_workbench.training.recipe import (
    Recipe,
)

RECIPE_FILE = "recipe.toml"
"""The recipe as it was given."""
RESOLVED_FILE = "recipe.json"
"""The recipe with every default and override filled in."""
PROVENANCE_FILE = "run.json"
"""Teachers, data and versions, and the recordings that could not be read."""
LOG_FILE = "log.jsonl"
"""One JSON object for each logged step or evaluation."""
LOCK_FILE = "lock"
"""Held by the process that trains."""
STUDENT_FOLDER = "student"
"""The finished student: weights in half precision, without heads."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a run folder.

    Raises:
        CheckpointError: damaged, or something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise TypeError(f"found a {type(content).__name__}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}. Expected the recipe of the run as a JSON object. If "
            "the recipe that you give now is the run's, delete this file and start again with "
            "--resume."
        ) from error
    return content


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes an object as indented JSON: the whole file or nothing of it."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def open_run(run_dir: Path, recipe: Recipe, path: Path, resume: bool) -> None:
    """Makes a run's folder, or opens it to go on with the recipe that it was started with.

    Raises:
        CheckpointError: it holds a run, and ``resume`` is not said.
        ConfigError: it was started with another recipe.
    """
    resolved = config_to_dict(recipe)
    resolved_path = run_dir / RESOLVED_FILE
    if not resume and (resolved_path.is_file() or list_checkpoints(run_dir)):
        raise CheckpointError(
            f"{run_dir} holds a run already. Go on with it with --resume, or name another folder."
        )
    if resolved_path.is_file():
        differing = differing_keys(resolved_recipe(resolved_path), resolved)
        if differing:
            raise ConfigError(
                f"{run_dir} was started with another recipe: {'; '.join(differing)} (then, "
                "now). Use the same one, or start another run."
            )
        delete_partial(run_dir)
        return
    shutil.copyfile(path, run_dir / RECIPE_FILE)
    write_json(resolved_path, resolved)


def resolved_recipe(path: Path) -> dict[str, Any]:
    """The recipe of a run with every default filled in, as ``config_to_dict`` gives it."""
    # A key that came with a later version has its default in an earlier run.
    stored = read_json(path)
    try:
        return config_to_dict(parse_config(Recipe, stored, source=str(path)))
    except ConfigError:
        return stored
