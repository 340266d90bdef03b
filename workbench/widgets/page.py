"""What every page has: a title with its purpose, empty states, errors in words."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from usad_workbench.core.errors import UsadError, wrap_errors
from usad_workbench.core.storage.csv_cells import write_csv
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.encoders import (
    embedded,
    missing_for_comparison,
    named,
    student_of,
)
from usad_workbench.workbench.presenters.figures import QUIET
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.stacking import are_beside, stacked
from usad_workbench.workbench.presenters.text import escape_markdown

Option = TypeVar("Option")


def head(title: str, purpose: str) -> None:
    """The page's title and one line on what it is for."""
    st.header(title, anchor=False)
    st.caption(purpose)


def unseen_head(title: str) -> None:
    """The page's title for those who hear the page, where another sentence stands on its top."""
    st.html(f'<h1 class="usad-unseen">{escape(title)}</h1>')


def is_phone() -> bool:
    """Whether the browser says that it is one of a phone."""
    return "Mobi" in (st.context.headers.get("User-Agent") or "")


def charts(figure: go.Figure, *, key: str, **how: Any) -> Any:
    """Draws charts that stand beside each other: below each other on a phone.

    On other narrow screens they keep their width and are moved sideways within their frame.

    Args:
        figure: The charts, as ``make_subplots`` places them.
        key: Of the element.
        **how: What ``st.plotly_chart`` takes.
    """
    how = {"config": QUIET, "key": key, **how}
    if is_phone():
        return st.plotly_chart(stacked(figure), **how)
    with st.container(key=f"usad_wide.{key}") if are_beside(figure) else nullcontext():
        return st.plotly_chart(figure, **how)


def is_dark() -> bool:
    """Whether the browser shows the page in its dark theme."""
    return st.context.theme.type == "dark"


def section(title: str, note: str = "") -> None:
    """A part of a page."""
    st.subheader(title, anchor=False)
    if note:
        st.caption(note)


def empty(what: str, command: str | None = None) -> None:
    """Says what is missing and which command makes it."""
    with st.container(border=True):
        st.markdown(what)
        if command:
            st.code(command, language="bash", wrap_lines=True)


def from_here(folder: Path) -> Path:
    """The folder as somebody would type it where the app was started."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def command(*words: str) -> str:
    """A command line for this workspace."""
    return shlex.join(["usad", *words, "--workspace", str(from_here(state.workspace().folder))])


def is_embedded() -> bool:
    """Whether there are embeddings; says how to make them where there are none.

    Whatever else is missing comes after them: its command would fail.
    """
    if embedded(state.sql):
        return True
    empty(
        "There are no embeddings yet. The page Data makes them (Import), or a command; "
        "`usad encoders list` names the encoders.",
        command("embed", "--encoders", "A,B"),
    )
    return False


def is_comparable() -> bool:
    """Whether a student and something to compare it with have embeddings; says what lacks."""
    if not is_embedded():
        return False
    missing = missing_for_comparison(state.sql)
    if missing is None:
        return True
    empty(
        f"{missing} Embed a student with its teachers; `usad encoders list` names encoders and "
        "their roles.",
        command("embed", "--encoders", "STUDENT,TEACHER"),
    )
    return False


def not_compared() -> None:
    """Says that no student has been compared with its teachers, and how to do it."""
    if not is_comparable():
        return
    empty(
        "The student has not been compared with its teachers yet.",
        command("diagnose", "--student", student_of(state.sql) or "STUDENT"),
    )


@contextmanager
def show_errors() -> Iterator[None]:
    """Shows a user's error as text instead of a traceback, and goes on after the block."""
    try:
        with wrap_errors():
            yield
    except UsadError as error:
        st.error(escape_markdown(error), icon=":material/error:")


def choose(
    label: str,
    options: Sequence[Option],
    *,
    key: str,
    default: Option | None = None,
    show: Callable[[Option], str] = str,
    note: str | None = None,
) -> Option:
    """A list to choose from that keeps its choice from page to page while it exists."""
    if key in st.session_state and st.session_state[key] not in options:
        del st.session_state[key]
    index = options.index(default) if default is not None and default in options else 0
    if key in st.session_state:
        index = options.index(st.session_state[key])
    chosen: Option = st.selectbox(
        label, options, index=index, key=key, format_func=show, help=note, persist_state="session"
    )
    return chosen


def download(frame: pd.DataFrame, file_name: str) -> None:
    """A button that saves the whole table."""
    st.download_button(
        "Download as CSV",
        write_csv(frame) or "",
        file_name,
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=f"download.{file_name}",
    )


def choose_encoder(
    label: str,
    options: Sequence[str],
    *,
    key: str,
    default: str | None = None,
    roles: Mapping[str, str] | None = None,
) -> str:
    """One of several encoders by short name, with the role where ``roles`` has it.

    The full name stands below where it differs.
    """
    names = encoder_names(state.sql)
    chosen = choose(
        label,
        options,
        key=key,
        default=default,
        show=lambda one: named(one, roles, names) if roles else short_name(one, names),
    )
    if short_name(chosen, names) != chosen:
        st.caption(escape_markdown(chosen))
    return chosen


def choose_several(
    label: str, options: Sequence[str], *, key: str, placeholder: str = "all"
) -> list[str]:
    """Any number of values; none means all."""
    if key in st.session_state:
        st.session_state[key] = [v for v in st.session_state[key] if v in options]
    return st.multiselect(label, options, key=key, placeholder=placeholder, persist_state="session")
