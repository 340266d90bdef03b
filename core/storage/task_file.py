"""A file of tasks, CSV or Parquet: what probes learn to read, by which groups, with which metric."""

from collections.abc import Mapping
from pathlib import Path

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.table_file import read_table, require_columns

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
        check_task_metric(task)
    return tasks


def check_task_metric(task: Mapping[str, str]) -> None:
    """Raises ``ConfigError`` where a task has no metric that there is."""
    if task["metric"] not in METRICS:
        raise ConfigError(
            f"Task {task['task']!r} has the metric {task['metric']!r}, expected one of "
            f"{', '.join(METRICS)}."
        )
