"""Which labelled tasks can be tested, and why another cannot, such as no class in two groups."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.core.evaluation.tasks import Task, describe_domain, make_task


def untestable(task: Task) -> str:
    """Why no probe could be asked this task; empty where it can be.

    A class can be learned and tested only where two groups have it, since folds keep groups
    whole; with fewer than two such classes nothing is told apart. So it is with one class or
    one group, and with labels that are the group itself or the name of the clip.

    >>> import numpy as np
    >>> def of(labels, groups):
    ...     ids = [str(i) for i in range(len(labels))]
    ...     both = [np.array(list(one), dtype=object) for one in (labels, groups)]
    ...     return Task(name="t", metric="accuracy", clip_ids=ids, labels=both[0],
    ...         groups=both[1], units=both[1])
    >>> untestable(of("abab", "1122"))
    ''
    >>> untestable(of("abab", "abab"))
    'no class is in two groups, so none could be learned from some and tested on another'
    """
    classes, groups = set(task.labels), set(task.groups)
    if not task.clip_ids:
        return "no clip has a label and a group"
    if len(classes) < 2:
        return f"all {len(task.clip_ids)} clips are of one class, {min(classes)!r}"
    if len(groups) < 2:
        return f"all {len(task.clip_ids)} clips are of one group, {min(groups)!r}"
    pairs = set(zip(task.labels.tolist(), task.groups.tolist(), strict=True))
    counts = Counter(label for label, _ in pairs)
    shared = [label for label, n in counts.items() if n > 1]
    if not shared:
        return "no class is in two groups, so none could be learned from some and tested on another"
    if len(shared) < 2:
        return f"only the class {shared[0]!r} is in two groups, so nothing is told apart"
    return ""


def lone_clips(task: Task) -> int:
    """How many clips are of a class that one group alone has: a probe cannot be right there."""
    pairs = set(zip(task.labels.tolist(), task.groups.tolist(), strict=True))
    counts = Counter(label for label, _ in pairs)
    return sum(counts[label] == 1 for label in task.labels.tolist())


def possible_tasks(
    rows: Sequence[Mapping[str, str]], clips: pd.DataFrame
) -> tuple[list[Task], dict[str, str]]:
    """The tasks that can be asked of these clips, and why each of the others cannot.

    Args:
        rows: Of the table ``tasks``.
        clips: See ``make_task``.
    """
    possible, reasons = [], {}
    for row in rows:
        try:
            task = make_task(row, clips)
        except (ConfigError, UnknownNameError) as error:
            reasons[str(row["task"])] = str(error)
            continue
        reason = untestable(task)
        if reason:
            reasons[task.name] = reason + describe_domain(row, clips)
        else:
            possible.append(task)
    return possible, reasons
