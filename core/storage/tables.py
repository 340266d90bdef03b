"""Small tables that are set whole: tasks and who taught whom."""

from collections.abc import Mapping, Sequence

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.workspace import Workspace

TASK_COLUMNS = ("task", "label_column", "domain", "group_column", "metric")
METRICS = ("accuracy", "balanced_accuracy")


def set_tasks(workspace: Workspace, tasks: Sequence[Mapping[str, str]]) -> None:
    """Sets the labelled tasks; those of the same name are replaced.

    Raises:
        ConfigError: a missing field, an unknown metric or a column that clips do not have.
    """
    columns = set(workspace.clips("false").columns)
    for task in tasks:
        missing = [name for name in TASK_COLUMNS if name not in task]
        if missing:
            raise ConfigError(f"Task {dict(task)} has no {missing}, expected {TASK_COLUMNS}.")
        if task["metric"] not in METRICS:
            raise ConfigError(
                f"Task {task['task']!r} has the metric {task['metric']!r}, expected one of "
                f"{', '.join(METRICS)}."
            )
        for field in ("label_column", "group_column"):
            if task[field] not in columns:
                raise ConfigError(
                    f"Task {task['task']!r} names the column {task[field]!r}, which clips do not "
                    f"have. Expected one of {', '.join(sorted(columns))}."
                )
    with workspace.database.write() as connection:
        for task in tasks:
            values = [task[name] or None for name in TASK_COLUMNS]
            connection.execute("INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?)", values)


def set_distillation(
    workspace: Workspace, student: str, taught: Sequence[tuple[str, str | None, int]]
) -> None:
    """Notes who taught a student: rows of (teacher, domain, stage)."""
    with workspace.database.write() as connection:
        connection.execute("DELETE FROM distillation WHERE student = ?", [student])
        for teacher, domain, stage in taught:
            connection.execute(
                "INSERT INTO distillation VALUES (?, ?, ?, ?)", [student, teacher, domain, stage]
            )
