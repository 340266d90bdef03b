"""Small tables: tasks and what failed."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.table_file import read_table, require_columns
from usad_workbench.core.storage.workspace import Workspace

TASK_COLUMNS = ("task", "label_column", "domain", "group_column", "metric")
METRICS = ("accuracy", "balanced_accuracy")


def read_tasks(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV of tasks: ``task, label_column, domain, group_column, metric``.

    Raises:
        ConfigError: no such file, one that is no table, a missing column or an unknown metric.
    """
    table = read_table(path)
    require_columns(table, TASK_COLUMNS)
    faults = [
        f"Row {row.number} of {path} cannot be used. {row.fault}" for row in table.rows if row.fault
    ]
    if faults:
        raise ConfigError(faults[0])
    tasks = [{name: row.cells.get(name, "") for name in table.columns} for row in table.rows]
    for row, task in zip(table.rows, tasks, strict=True):
        if not task["task"]:
            raise ConfigError(f"Row {row.number} of {path} has no task, expected a name.")
        _check_metric(task)
    return tasks


def _check_metric(task: Mapping[str, str]) -> None:
    if task["metric"] not in METRICS:
        raise ConfigError(
            f"Task {task['task']!r} has the metric {task['metric']!r}, expected one of "
            f"{', '.join(METRICS)}."
        )


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
        _check_metric(task)
    check_task_columns(workspace, tasks)
    with workspace.database.write() as connection:
        for task in tasks:
            values = [task[name] or None for name in TASK_COLUMNS]
            connection.execute("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?)", values)


def set_failures(
    workspace: Workspace,
    step: str,
    failed: Mapping[str, str],
    items: Collection[str] | None = None,
) -> None:
    """Replaces what is kept of the failures of a step.

    Args:
        workspace: Where.
        step: ``import``, or ``embed`` and the encoder.
        failed: Reason by item.
        items: Forgets only these; all of the step where none.
    """
    with workspace.database.read() as connection:
        stored = connection.execute("SELECT item FROM failures WHERE step = ?", [step]).fetchall()
    old = {item for (item,) in stored if items is None or item in items}
    if not old and not failed:
        return
    with workspace.database.write() as connection:
        for item in old:
            connection.execute("DELETE FROM failures WHERE step = ? AND item = ?", [step, item])
        for item, reason in failed.items():
            connection.execute("INSERT INTO failures VALUES (?, ?, ?)", [item, step, reason])
