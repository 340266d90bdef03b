"""Tasks: a label to be read from embeddings, and the grouping that keeps the test honest.

Made from rows alone, so that a workspace and a training run judge encoders alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from usad_workbench.core.errors import ConfigError, UnknownNameError, did_you_mean
from usad_workbench.core.probes import PairedTask, ProbeResult, mean_paired_difference
from usad_workbench.core.probes.metrics import Metric, check_metric
from usad_workbench.core.similarity import MIN_CLUSTERS
from usad_workbench.core.similarity.resampling import Interval
from usad_workbench.core.storage.domains import same_domain
from usad_workbench.core.storage.joined_clusters import joined_by_content
from usad_workbench.core.storage.task_file import TASK_COLUMNS
from usad_workbench.core.storage.workspace import Workspace

Strings = npt.NDArray[np.object_]
MEAN_OF_TASKS = "mean of tasks"
MEAN_WITH_INTERVAL = "mean of tasks with intervals"
"""Tasks with fewer than 8 units to resample have no interval, nor has a mean with them."""
MEANS = (MEAN_OF_TASKS, MEAN_WITH_INTERVAL)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Task:
    """The clips of one task: those of its domain with a label and a group."""

    name: str
    metric: Metric
    clip_ids: list[str]
    labels: Strings
    groups: Strings
    """What folds keep whole."""
    units: Strings
    """What intervals resample: clusters, or groups where the label is the cluster itself."""
    domain: str | None = None
    """The domain whose clips it has; none for any."""

    @property
    def has_interval(self) -> bool:
        """Whether there are enough units to resample."""
        return len(set(self.units)) >= MIN_CLUSTERS

    def take(self, rows: npt.NDArray[np.intp]) -> "Task":
        """The task on some of its clips."""
        return Task(
            name=self.name,
            metric=self.metric,
            clip_ids=[self.clip_ids[i] for i in rows],
            labels=self.labels[rows],
            groups=self.groups[rows],
            units=self.units[rows],
            domain=self.domain,
        )


def describe_domain(row: Mapping[str, str], clips: pd.DataFrame) -> str:
    """The domain that was asked for, where no clip has it."""
    domain = row["domain"]
    present = sorted(set(clips.domain))
    if not isinstance(domain, str) or same_domain(domain, present) in present:
        return ""
    return f" in the domain {domain!r}; the clips are of {', '.join(present) or 'none'}"


def stored_task_rows(
    workspace: Workspace, asked: Sequence[str] | None = None
) -> list[Mapping[str, str]]:
    """The rows of the workspace's table ``tasks``, those asked for by name, all where none.

    Raises:
        ConfigError: a workspace without tasks.
        UnknownNameError: a task that is not there.
    """
    rows = workspace.read("SELECT * FROM tasks ORDER BY task").to_dict("records")
    if not rows:
        raise ConfigError(
            "The workspace has no tasks, expected at least one. Name them in a CSV with the columns "
            f"{', '.join(TASK_COLUMNS)}, and add it: `usad import --tasks CSV --workspace "
            f"{workspace.folder}`."
        )
    return choose_rows([{str(k): v for k, v in row.items()} for row in rows], asked)


def choose_rows(
    rows: Sequence[Mapping[str, str]], asked: Sequence[str] | None
) -> list[Mapping[str, str]]:
    """The rows of the table ``tasks`` that were asked for by name, all where none.

    Raises:
        UnknownNameError: a task that is not there.
    """
    by_name = {str(row["task"]): row for row in rows}
    for name in asked or []:
        if name not in by_name:
            raise UnknownNameError(f"There is no task {name!r}. {did_you_mean(name, by_name)}")
    return [row for name, row in by_name.items() if not asked or name in asked]


def make_task(row: Mapping[str, str], clips: pd.DataFrame) -> Task:
    """A task from its row and the table of clips.

    Args:
        row: ``task, label_column, domain, group_column, metric``; any domain where missing.
        clips: ``clip_id, domain, cluster_id`` and the columns that the row names; with
            ``audio_sha256`` or ``samples_digest``, groups and clusters that share a recording are
            one.

    Raises:
        ConfigError: a column that the clips do not have.
        UnknownNameError: no such metric.
    """
    label, group = row["label_column"], row["group_column"]
    for column in (label, group):
        if column not in clips:
            raise ConfigError(
                f"Task {row['task']!r} needs the column {column!r}, which the clips do not have. "
                f"{did_you_mean(column, [str(name) for name in clips])}"
            )
    check_metric(row["metric"])
    domain = (row["domain"] or None) if isinstance(row["domain"], str) else None
    if domain is not None:
        domain = same_domain(domain, clips.domain.unique())
        clips = clips[clips.domain == domain]
    clips = clips[clips[label].notna() & clips[group].notna()]
    labels = clips[label].astype(str).to_numpy(dtype=object)
    groups = joined_by_content(clips[group].astype(str).to_numpy(dtype=object), clips)
    clusters = joined_by_content(clips.cluster_id.to_numpy(dtype=object), clips)
    return Task(
        name=row["task"],
        metric=row["metric"],  # type: ignore[arg-type]
        clip_ids=clips.clip_id.tolist(),
        labels=labels,
        groups=groups,
        units=groups if _is_one_to_one(labels, clusters) else clusters,
        domain=domain,
    )


def _is_one_to_one(labels: Strings, clusters: Strings) -> bool:
    """Whether the label is the cluster itself, as for voice or track."""
    pairs = len(set(zip(labels, clusters, strict=True)))
    return pairs == len(set(labels)) == len(set(clusters))


def judged_tasks(tasks: Sequence[Task]) -> tuple[str, list[Task], str]:
    """Which tasks of a domain its mean is taken over, so that the mean has an interval.

    Returns:
        The name of the mean, the tasks that have intervals (all where none has one), and which
        are left out, in words; empty where none is.
    """
    kept = [task for task in tasks if task.has_interval]
    if not kept or len(kept) == len(tasks):
        return MEAN_OF_TASKS, list(tasks), ""
    names, out = (
        ", ".join(task.name for task in some)
        for some in (kept, [task for task in tasks if not task.has_interval])
    )
    words = (
        f"the mean of {names}; left out, as fewer than {MIN_CLUSTERS} groups leave no interval: "
        f"{out}"
    )
    return MEAN_WITH_INTERVAL, kept, words


def mean_value(results: Sequence[tuple[Task, ProbeResult]]) -> Interval:
    """The mean of the metric over tasks, each with the same weight, with a joint interval."""
    return mean_difference([(task, one.predictions, None) for task, one in results])


def mean_difference(pairs: Sequence[tuple[Task, Strings, Strings | None]]) -> Interval:
    """The mean over tasks of the metric of some predictions minus that of others.

    ``None`` for the others are predictions that are never right: the value itself.
    """
    return mean_paired_difference(
        [
            PairedTask(
                pred_a=one,
                pred_b=np.full_like(one, "") if other is None else other,
                labels=task.labels.tolist(),
                clusters=task.units.tolist(),
                metric=task.metric,
            )
            for task, one, other in pairs
        ]
    )
