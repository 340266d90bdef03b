"""Opening the folder of a run: new, or to go on with the recipe that it was started with."""

import shutil
from pathlib import Path
from typing import Any

from usad_workbench.core.config import config_to_dict, differing_keys, parse_config
from usad_workbench.core.errors import (
    CheckpointError,
    ConfigError,
)
from usad_workbench.core.models.checkpoint import (
    delete_partial,
    list_checkpoints,
)
from usad_workbench.training.recipe import (
    Recipe,
)
from usad_workbench.training.run_folder import RECIPE_FILE, RESOLVED_FILE, read_json, write_json


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
