"""The labelled tasks of a workspace: the table ``tasks``."""

from collections.abc import Collection, Mapping, Sequence

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.task_file import TASK_COLUMNS, check_task_metric
from usad_workbench.core.storage.workspace import Workspace


def check_task_columns(
    workspace: Workspace, tasks: Sequence[Mapping[str, str]], more: Collection[str] = ()
) -> None:
    """Raises where a task names a column that clips do not have.

    Args:
        workspace: Whose clips.
        tasks: What ``read_tasks`` returns.
        more: Columns that an import is about to add.

    Raises:
        ConfigError: as it says.
    """
    columns = {*workspace.read("SELECT * FROM clips LIMIT 0").columns, *more}
    for task in tasks:
        for field in ("label_column", "group_column"):
            if task[field] not in columns:
                raise ConfigError(
                    f"Task {task['task']!r} names the column {task[field]!r}, which clips do not "
                    f"have. Expected one of {', '.join(sorted(columns))}."
                )


def set_tasks(workspace: Workspace, tasks: Sequence[Mapping[str, str]]) -> None:
    """Sets the labelled tasks; those of the same name are replaced.

    Raises:
        ConfigError: a missing field, an unknown metric or a column that clips do not have.
    """
    for task in tasks:
        missing = [name for name in TASK_COLUMNS if name not in task]
        if missing:
            raise ConfigError(f"Task {dict(task)} has no {missing}, expected {TASK_COLUMNS}.")
        check_task_metric(task)
    check_task_columns(workspace, tasks)
    with workspace.database.write() as connection:
        for task in tasks:
            values = [task[name] or None for name in TASK_COLUMNS]
            connection.execute("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?)", values)
