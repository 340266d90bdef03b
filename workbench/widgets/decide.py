"""What an open answer lacks, and buttons for what can be done about it from the page."""

import shlex
from collections.abc import Collection

import streamlit as st

from usad_workbench.core.diagnosis.lineage import relations
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import gains
from usad_workbench.workbench.presenters.diagnosis.stored import StoredDiagnosis
from usad_workbench.workbench.presenters.diagnosis.verdicts import lacking, steps_of
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.diagnose_again import ask, once_more
from usad_workbench.workbench.widgets.embed_here import show_embed

PLACEHOLDER = "--workspace W"
"""Stands in stored advice for the workspace."""


def show_missing(verdict: Verdict, diagnosis: StoredDiagnosis) -> None:
    """Each thing that an open verdict lacks with its command, and the buttons that do it here."""
    missing = lacking(verdict)
    for what, how in missing.items():
        st.markdown(f":material/help: Missing: {escape_markdown(what)}  \n{with_commands(how)}")
    show_steps(steps_of(missing.values()), diagnosis, verdict.question)


def with_commands(how: str) -> str:
    """The words for how to get something, with its commands as code; all else as it stands."""
    here = f"--workspace {shlex.quote(str(page.from_here(state.workspace().folder)))}"
    parts = how.replace(PLACEHOLDER, here).split("`")
    return "".join(f"`{part}`" if i % 2 else escape_markdown(part) for i, part in enumerate(parts))


def show_steps(steps: Collection[str], diagnosis: StoredDiagnosis, key: str) -> None:
    """A button for each step that the page can take.

    Args:
        steps: Of ``steps_of``.
        diagnosis: Computed again after them.
        key: Of this place.
    """
    if not diagnosis.is_repeatable:
        return
    again = once_more(diagnosis)
    with st.container(horizontal=True, gap="small"):
        if "embed" in steps:
            with st.popover("Embed more encoders", icon=":material/add:"):
                show_embed(f"{key}.embed")
        if "evaluate" in steps:
            if st.button("Evaluate, then diagnose again", key=f"{key}.evaluate"):
                ask(again.after_evaluation())
        elif {"diagnose", "embed"} & set(steps) and st.button("Diagnose again", key=f"{key}.again"):
            ask(again)
        if "import" in steps:
            st.page_link("views/data.py", label="Import sounds", icon=":material/upload:")
    if "compare" in steps:
        _compare(diagnosis, key)


def _compare(diagnosis: StoredDiagnosis, key: str) -> None:
    """A choice of those students of the workspace that are another stage of this one."""
    others = [one for one in gains.students(state.sql) if one not in diagnosis.students]
    related = relations(state.workspace(), diagnosis.student, others)
    stages = [one for one in others if related[one] in ("first stage", "second stage")]
    if not stages:
        st.caption("No student here is recorded as another stage of this one.")
        return
    names = encoder_names(state.sql)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        other = page.choose(
            "Other stage", stages, key=f"{key}.stage", show=lambda one: short_name(one, names)
        )
        if st.button("Compare with it", key=f"{key}.compare"):
            ask(once_more(diagnosis).beside(other))
