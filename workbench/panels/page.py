"""What every page has: a title with its purpose, empty states, errors in words."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import streamlit as st

from usad_workbench.core.errors import UsadError
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.encoders import student_of
from usad_workbench.workbench.presenters.text import plain

Option = TypeVar("Option")


def head(title: str, purpose: str) -> None:
    """The page's title and one line on what it is for."""
    st.header(title, anchor=False)
    st.caption(purpose)


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
            st.code(command, language="bash")


def command(*words: str) -> str:
    """A command line for this workspace."""
    folder = state.workspace().folder
    shown = f"'{folder}'" if " " in str(folder) else str(folder)
    return " ".join(["usad", *words, "--workspace", shown])


def not_compared() -> None:
    """Says that no student has been compared with its teachers, and how to do it."""
    empty(
        "The student has not been compared with its teachers yet.",
        command("diagnose", "--student", student_of(state.sql) or "STUDENT"),
    )


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Shows a user's error as text instead of a traceback, and goes on after the block."""
    try:
        yield
    except UsadError as error:
        st.error(plain(error), icon=":material/error:")


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
    found: Option = st.selectbox(
        label, options, index=index, key=key, format_func=show, help=note, persist_state="session"
    )
    return found


def choose_several(
    label: str, options: Sequence[str], *, key: str, placeholder: str = "all"
) -> list[str]:
    """Any number of values; none means all."""
    if key in st.session_state:
        st.session_state[key] = [v for v in st.session_state[key] if v in options]
    return st.multiselect(label, options, key=key, placeholder=placeholder, persist_state="session")
