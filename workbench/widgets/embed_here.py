"""Embedding from the page: encoders whose weights are on this machine, with progress behind it."""

import streamlit as st

from usad_workbench.core.embedding import Outcome, embed
from usad_workbench.core.encoders.registry import encoder_specs, encoder_status
from usad_workbench.core.errors import UsadError
from usad_workbench.core.progress import Progress
from usad_workbench.workbench import jobs, state
from usad_workbench.workbench.presenters.encoders import completely_embedded
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import escape_markdown, listing
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.job import await_result

REMEMBERED_S = 60
"""Which weights are here is looked up again after this long."""


def show_embed(key: str) -> None:
    """A list of encoders, a button, and while they embed their progress; what failed by name.

    Args:
        key: Of this place, which has a job of its own.
    """
    done = completely_embedded(state.sql)
    offered = [name for name in _encoders_here() if name not in done]
    asked = f"{key}.asked"
    if offered:
        chosen = page.choose_several(
            "Encoders whose weights are here",
            offered,
            key=f"{key}.encoders",
            placeholder="none chosen",
        )
        if st.button("Embed", key=f"{key}.embed", type="primary", disabled=not chosen):
            st.session_state[asked] = tuple(chosen)
            jobs.forget(_key(st.session_state[asked]))
    else:
        st.caption(
            "Every encoder whose weights are here has embedded all clips. `usad encoders list` names "
            "the others, `usad encoders get` fetches them."
        )
    if asked in st.session_state:
        _follow(st.session_state[asked])


@st.cache_data(ttl=REMEMBERED_S, show_spinner=False)
def _encoders_here() -> list[str]:
    return [name for name in encoder_specs() if encoder_status(name).available]


def _key(names: tuple[str, ...]) -> tuple[object, ...]:
    return ("embed", str(state.workspace().folder), *names)


def _follow(names: tuple[str, ...]) -> None:
    workspace = state.workspace()

    def work(progress: Progress) -> dict[str, Outcome]:
        return embed(workspace, names, n_processes=1, progress=progress)

    outcomes = await_result(_key(names), f"Embedding with {listing(names)}", work)
    for name, outcome in (outcomes or {}).items():
        if isinstance(outcome, UsadError):
            st.error(escape_markdown(f"{name}: {outcome}"), icon=":material/error:")
            continue
        failed = f", {len(outcome.failed):,} failed (page Data, Failures)" if outcome.failed else ""
        done = count(outcome.n_done, "segment")
        st.success(escape_markdown(f"{name} embedded {done}{failed}."))
