"""The files of a run's folder: their names and how its JSON files are read and written.

Whatever shows or continues a run finds its files by these names; torch is not needed for that.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from usad_workbench.core.errors import (
    CheckpointError,
)
from usad_workbench.core.files import write_whole

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
