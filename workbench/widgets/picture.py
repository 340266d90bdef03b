"""The picture of what training changed, and the clips behind a cell of it."""

from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from usad_workbench.core.diagnosis.gain import MAX_CLIPS, gains
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import gains as presenter
from usad_workbench.workbench.presenters.colours import domain_order
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.cell import show_cell
from usad_workbench.workbench.widgets.clicks import kept
from usad_workbench.workbench.widgets.job import await_result

MEASURE = "debiased_linear_cka"
OPEN = "picture.cell"
PER_ROW = 4


def gain_rows(student: str, teachers: list[str], baseline: str) -> pd.DataFrame | None:
    """What each layer of a student gained on its untrained self; none while it is computed."""
    names = [student, *teachers, *([baseline] if baseline else [])]
    digests = state.sql("SELECT encoder, layer, digest FROM spaces WHERE n > 0 ORDER BY 1, 2")
    of = digests[digests["encoder"].isin(names)]
    workspace = state.workspace()
    key = ("gains", str(workspace.folder), *names, tuple(of.itertuples(index=False, name=None)))
    rows = await_result(
        key,
        "Comparing layers",
        lambda progress: gains(workspace, student, teachers, baseline=baseline, progress=progress),
    )
    return None if rows is None else presenter.gain_table(rows)


def choose_student() -> str | None:
    """The student of the picture: that of most layers first; none where none has vectors."""
    names = presenter.students(state.sql)
    if len(names) < 2:
        return names[0] if names else None
    return page.choose_encoder("Student", names, key="picture.student")


@st.fragment
def show_picture() -> None:
    """Teacher by domain by layer, less the untrained student; a click on a cell opens its clips."""
    title, chosen, cells = st.columns([5, 4, 1.4], vertical_alignment="bottom")
    with chosen:
        student = choose_student()
    if student is None:
        return
    baseline = presenter.untrained(state.sql, student)
    with title:
        page.section("Likeness to each teacher" + (", less the untrained" if baseline else ""))
    teachers = presenter.teachers(state.sql, student)
    table = gain_rows(student, teachers, baseline) if teachers else pd.DataFrame()
    if table is None:
        return
    if table.empty:
        st.caption("No teacher of this student has vectors of 24 clips of one domain here.")
        return
    nearest = table[table["kind"] == "nearest"]
    with cells:
        _choose_cell(nearest, student)
    _charts(nearest, student, is_less=bool(baseline))
    st.caption(_legend(nearest, student, baseline))
    cell: state.Cell | None = st.session_state.get(OPEN)
    if cell is not None and cell.student == student:
        with st.container(border=True):
            show_cell(cell)


def _choose_cell(table: pd.DataFrame, student: str) -> None:
    """What a click on the picture does, for those who have no pointer."""
    with st.popover("Cell"):
        domain = page.choose("Domain", domain_order(table["domain"]), key="picture.domain")
        teachers = sorted(table["teacher"].unique())
        teacher = page.choose_encoder("Teacher", teachers, key="picture.teacher")
        layers = sorted(int(one) for one in table["student_layer"].unique())
        layer = page.choose("Student layer", layers, key="picture.layer", default=layers[-1])
        is_in = (table["domain"] == domain) & (table["teacher"] == teacher)
        rows = table[is_in & (table["student_layer"] == layer)]
        if rows.empty:
            st.caption("There is no number for this cell.")
            return
        row = rows.iloc[0].to_dict()
        st.markdown("  \n".join(presenter.gain_numbers(row)))
        cell = state.Cell(student, layer, teacher, int(row["teacher_layer"]), domain, MEASURE)
        st.button("Open its clips", on_click=st.session_state.update, args=({OPEN: cell},))


def _charts(table: pd.DataFrame, student: str, *, is_less: bool) -> None:
    domains = domain_order(table["domain"])
    cell: state.Cell | None = st.session_state.get(OPEN)
    is_open = cell is not None and cell.student == student
    for start in range(0, len(domains), PER_ROW):
        in_row = domains[start : start + PER_ROW]
        key = f"picture.{student}.{start}"
        figure = presenter.gain_figure(
            table,
            in_row,
            encoder_names(state.sql),
            top=presenter.largest(table),
            is_dark=page.is_dark(),
            marked=(cell.domain, cell.teacher, cell.student_layer) if cell and is_open else None,
        )
        page.charts(
            figure,
            key=key,
            on_select=kept(key, OPEN, partial(_cell, student)),
            selection_mode="points",
            alt=f"{', '.join(in_row)}: likeness of each layer of {student} to each teacher"
            + (", less that of an untrained student." if is_less else "."),
        )


def _cell(student: str, carried: list[Any]) -> state.Cell:
    """The cell that was clicked."""
    domain, layer, teacher, teacher_layer = carried
    return state.Cell(student, int(layer), teacher, int(teacher_layer), domain, MEASURE)


def _legend(table: pd.DataFrame, student: str, baseline: str) -> str:
    top = presenter.largest(table)
    names = encoder_names(state.sql)
    said = escape_markdown(presenter.describe_gains(table, names))
    less = (
        f"blue −{top:.2f} further than {escape_markdown(short_name(baseline, names))}, orange "
        f"+{top:.2f} nearer"
        if baseline
        else f"orange: up to +{top:.2f}. No untrained student of its layers and widths has vectors "
        "here to be subtracted (of `usad-demo`: `usad embed --encoders untrained-student`)"
    )
    return (
        f"Debiased linear CKA at the teacher's nearest layer; {less}; a dot: the 95% interval "
        f"holds 0. {escape_markdown(short_name(student, names))} {said}. At most {MAX_CLIPS} "
        "clips of a domain. Click a cell for its clips."
    )
