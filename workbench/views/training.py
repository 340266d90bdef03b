"""Training: runs as they go on, and how the shipped student was trained."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import runs
from usad_workbench.workbench.presenters import training_curves as training
from usad_workbench.workbench.presenters.colours import CATEGORY_COLOURS
from usad_workbench.workbench.presenters.runs import Run
from usad_workbench.workbench.presenters.text import escape_markdown, listing
from usad_workbench.workbench.widgets import page, run, table
from usad_workbench.workbench.widgets.checkpoints import show_checkpoints

REFRESH_S = 2.0
N_SHOWN = 4  # compared without being asked to


def view() -> None:
    page.head("Training", "Distillation runs, live while they train: losses, probes, time left.")
    all_runs = runs.find_runs(state.run_folders())
    page.section("Runs")
    if not all_runs:
        folders = listing(
            [escape_markdown(page.from_here(folder)) for folder in state.run_folders()]
        )
        page.empty(
            f"There is no run in the folder {folders}. A run that is started there shows here while it "
            "trains; `usad workbench … --runs DIR` looks elsewhere.",
            "usad train RECIPE.toml --run runs/NAME",
        )
    else:
        with page.show_errors():
            follow(all_runs)
    st.divider()
    page.section("The student that comes with this program")
    with page.show_errors(), st.expander("Its curves", expanded=not all_runs):
        shipped()


def follow(all_runs: list[Run]) -> None:
    names = [one.name for one in all_runs]
    logs = {one.name: state.log_of(one.folder) for one in all_runs}
    live = [one.name for one in all_runs if runs.status_of(one, *logs[one.name]).is_live]
    chosen = page.choose_several(
        "Runs to compare",
        names,
        key="training.runs",
        placeholder="those that are running" if live else "the last one",
    )
    shown = [one for one in all_runs if one.name in (chosen or live[:N_SHOWN] or names[:1])]
    one = shown[0]
    if len(shown) > 1:
        name = page.choose("Details of", [run.name for run in shown], key="training.run")
        one = next(run for run in shown if run.name == name)
    # Nothing is asked again and again once no run is going.
    st.fragment(watch, run_every=REFRESH_S if live else None)(shown, one, sorted(names), bool(live))
    show_checkpoints(one)
    run.origin(one)


def watch(shown: Sequence[Run], one: Run, names: list[str], was_live: bool) -> None:
    """What changes while runs go on."""
    all_runs = runs.find_runs(state.run_folders())
    logs = {each.name: state.log_of(each.folder) for each in all_runs}
    statuses = [runs.status_of(each, *logs[each.name]) for each in all_runs]
    is_live = any(status.is_live for status in statuses)
    if sorted(logs) != names or (was_live and not is_live):
        st.rerun()
    table.show(runs.run_table(all_runs, statuses))
    if is_live:
        st.caption(f"Read again every {REFRESH_S:.0f} s while a run is going.")
    palette = {each.name: CATEGORY_COLOURS[i] for i, each in enumerate(shown[:20])}
    together = {each.name: logs[each.name] for each in shown if len(logs[each.name][0])}
    if len(together) > 1:
        run.compare(together, palette)
    steps, probes = logs[one.name]
    st.divider()
    run.headline(one, statuses[[each.name for each in all_runs].index(one.name)])
    if steps.empty:
        page.empty("No step has been logged yet: audio is decoded and teachers run first.")
    else:
        run.curves(steps, probes, one.teachers, "training")


def shipped() -> None:
    folder = Path(str(files("usad_workbench.core"))) / "models" / "shipped"
    logs = [*sorted(folder.glob("stage-*.log.csv")), folder / "log.csv"]
    names = [f"stage {n}" for n in range(1, len(logs) + 1)]
    at = 0
    if len(logs) > 1:
        chosen = st.segmented_control(
            "Stage", names, default=names[-1], key="training.shipped.stage"
        )
        at = names.index(chosen or names[-1])
    steps, probes = training.read_curve(logs[at])
    run.curves(steps, probes, state.shipped_teachers(at + 1), "training.shipped")


if __name__ == "__main__":
    view()
