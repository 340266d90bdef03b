"""Checkpoints of a run: each is an encoder, which one click embeds and opens in the map."""

import streamlit as st

from usad_workbench.core.embedding import embed
from usad_workbench.core.progress import Progress, part_of
from usad_workbench.indexes.projection import project
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.data import map_address
from usad_workbench.workbench.presenters.runs import Run, checkpoint_steps
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.job import await_result

ASKED = "training.checkpoint"


def show_checkpoints(run: Run) -> None:
    """Lets choose a checkpoint; embeds the clips of this workspace with it, and maps them."""
    steps = checkpoint_steps(run)
    if not steps:
        return
    page.section(
        "Checkpoints",
        "Each is an encoder. Embedded here, it has a map, and stands beside all others.",
    )
    left, right = st.columns([3, 1], vertical_alignment="bottom")
    with left:
        step = page.choose("Step", steps, key="training.step", show=lambda step: f"{step:,}")
    name = f"run:{run.folder}@{step}"
    if right.button("Open in the map", icon=":material/scatter_plot:", width="stretch"):
        st.session_state[ASKED] = name
    if st.session_state.get(ASKED) == name:
        _follow(name)


def _follow(name: str) -> None:
    workspace = state.workspace()

    def work(progress: Progress) -> str:
        embed(workspace, name, n_processes=1, progress=part_of(progress, 0, 2))
        made = project(workspace, name, -1, progress=part_of(progress, 1, 2))[0]
        return f"{made.encoder}/{made.layer}/{made.pooling}/{made.method}"

    key = ("checkpoint", str(workspace.folder), name)
    address = await_result(key, "Embedding the clips, and their map", work)
    if address is not None:
        st.link_button("The map of this checkpoint", map_address(map=address))
