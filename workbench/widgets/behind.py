"""What was computed before people changed what it was computed from."""

from usad_workbench.core.storage.label_edits import tasks_behind
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page


def show_tasks_behind() -> None:
    """Names the tasks whose scores are of other labels than those that hold; nothing where none is."""
    behind = tasks_behind(state.workspace())
    if not behind:
        return
    tasks = ", ".join(f"{task} ({count(n, 'clip')})" for task, n in behind.items())
    page.empty(
        f"Labels were changed since these tasks were evaluated: {escape_markdown(tasks)}. Their "
        "scores, confusions and what was diagnosed from them are of the labels before.",
        page.command("evaluate", "--tasks", ",".join(behind)),
    )
