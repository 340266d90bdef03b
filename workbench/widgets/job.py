"""A job behind the page, while it runs: how far it is, and a button that ends it."""

from collections.abc import Callable, Hashable
from typing import Any

import streamlit as st

from usad_workbench.core.errors import Cancelled
from usad_workbench.core.progress import Progress
from usad_workbench.workbench import jobs
from usad_workbench.workbench.jobs import Job
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page

QUICK_S, EVERY_S = 0.3, 2.0


def await_result(key: Hashable, what: str, work: Callable[[Progress], object]) -> Any:
    """The result of a job; where it is not there yet, its progress stands on the page.

    Args:
        key: What is asked for.
        what: In words, such as "Comparing layers".
        work: Makes it, in a thread.

    Returns:
        The result; none while the job goes on, or where it failed, which is said.
    """
    job = jobs.start(key, work)
    if not job.is_done:
        jobs.wait(job, QUICK_S)
    if not job.is_done:
        st.fragment(_running, run_every=EVERY_S)(job, what)
        return None
    if isinstance(job.future.exception(), Cancelled):
        st.info(
            "Cancelled. Started again, it goes on with what is not stored yet.",
            icon=":material/stop:",
        )
    else:
        with page.show_errors():
            return job.future.result()
    if st.button("Start again", key=f"again.{hash(key)}"):
        jobs.forget(key)
        st.rerun()
    return None


def _running(job: Job, what: str) -> None:
    if job.is_done:
        st.rerun()
    bar, button = st.columns([5, 1], vertical_alignment="center")
    bar.progress(job.share, text=f"{what}: {escape_markdown(job.words)}")
    if button.button("Cancel", icon=":material/stop:", key=f"cancel.{id(job)}"):
        job.cancel()
        st.rerun()
