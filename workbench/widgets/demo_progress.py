"""What `usad demo` is doing behind the app."""

import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.step_log import is_at_work, standing_of

EVERY_S = 2
SEEN = "usad.demo_step"


def show_demo() -> None:
    """Where the demo stands, in the sidebar; nothing in a workspace without one."""
    standing = standing_of(state.workspace().folder)
    if standing is None or standing.is_done:
        return
    _watch()


@st.fragment(run_every=EVERY_S)
def _watch() -> None:
    folder = state.workspace().folder
    standing = standing_of(folder)
    if standing is None:
        return
    before = st.session_state.get(SEEN)
    st.session_state[SEEN] = standing.step
    if before is not None and before != standing.step:
        st.rerun()  # the page shows what the step has made
    st.caption("Demo")
    words = f"{standing.step} of {standing.n_steps}: {standing.name}"
    st.progress(standing.share, text=words)
    if is_at_work(folder):
        st.caption("It goes on while you look; pages fill as steps end.")
    else:
        st.caption("It was ended here. The same command goes on: `usad demo`.")
