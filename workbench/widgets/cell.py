"""One cell of the layer maps, down to the clips behind it and their sound."""

from contextlib import nullcontext

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import layers
from usad_workbench.workbench.presenters.clips import segment_of, segments
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.numbers import number
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.hear import show_trio
from usad_workbench.workbench.widgets.page import show_errors
from usad_workbench.workbench.widgets.player import segment_card

N_CARDS = 4
"""Of a side, before somebody asks for more: each is a sound to be read and sent."""


def show_cell(cell: state.Cell) -> None:
    """The numbers of a cell and the clips on which the two layers agree most and least."""
    rows = layers.similarity(state.sql, cell.student, cell.teacher, cell.measure)
    cells = rows[
        (rows["domain"] == cell.domain)
        & (rows["student_layer"] == cell.student_layer)
        & (rows["teacher_layer"] == cell.teacher_layer)
    ]
    names = encoder_names(state.sql)
    student, teacher = (
        escape_markdown(short_name(one, names)) for one in (cell.student, cell.teacher)
    )
    st.subheader(
        f"{escape_markdown(cell.domain)}: {student} layer {cell.student_layer} × "
        f"{teacher} layer {cell.teacher_layer}",
        anchor=False,
    )
    if not cells.empty:
        st.markdown(layers.describe_cell(cells.iloc[0].to_dict(), cell.measure))
    _clips(cell)


@st.fragment
def _clips(cell: state.Cell) -> None:
    with show_errors():
        _both_sides(cell)


def _both_sides(cell: state.Cell) -> None:
    values, note = _values(cell)
    most, least = layers.extremes(values)
    st.caption(note)
    left, right = st.columns(2, gap="medium")
    for column, title, side in (
        (left, "Most faithful clips", most),
        (right, "Least faithful clips", least),
    ):
        with column:
            ties = layers.describe_ties(values, side)
            st.markdown(f"**{title}**" + (f" · {ties}" if ties else ""))
            _cards(side.head(N_CARDS), f"cell.{title}")
            with (
                st.expander(f"{len(side) - N_CARDS} more") if len(side) > N_CARDS else nullcontext()
            ):
                _cards(side.iloc[N_CARDS:], f"cell.{title}")
    _neighbours(cell, pd.concat([least, most]))
    page.download(_exported(cell, values), "clips-of-cell.csv")


def _neighbours(cell: state.Cell, clips: pd.DataFrame) -> None:
    """One of the clips beside its nearest in both layers."""
    if clips.empty:
        return
    names = dict(zip(clips["segment_id"].astype(int), clips["clip_id"], strict=True))
    chosen = page.choose(
        "Nearest in both layers to", list(names), key="cell.clip", show=lambda i: names[i]
    )
    segment = segment_of(segments(state.sql, [chosen]).iloc[0].to_dict())
    show_trio(
        segment, {cell.student: cell.student_layer, cell.teacher: cell.teacher_layer}, is_wide=True
    )


def _exported(cell: state.Cell, values: pd.DataFrame) -> pd.DataFrame:
    """Every clip of the cell with its value, and what the cell is."""
    return values.assign(
        domain=cell.domain,
        student=cell.student,
        student_layer=cell.student_layer,
        teacher=cell.teacher,
        teacher_layer=cell.teacher_layer,
    )


def _values(cell: state.Cell) -> tuple[pd.DataFrame, str]:
    """Per-clip values with a sentence on what they are: stored ones, else computed now."""
    pair = {
        "student": cell.student,
        "student_layer": cell.student_layer,
        "teacher": cell.teacher,
        "teacher_layer": cell.teacher_layer,
        "domain": cell.domain,
    }
    stored = layers.stored_faithfulness(state.sql, **pair, measure=cell.measure)  # type: ignore[arg-type]
    if not stored.empty:
        return stored, (
            f"Stored share of each clip in this value; mean {number(stored['value'].mean())} "
            f"over n = {len(stored):,} clips of {escape_markdown(cell.domain)}."
        )
    with st.spinner("Comparing neighbours…"):
        overlaps = state.remembered(cell, lambda: _computed(cell))
    return overlaps, (
        f"Computed now: the share of a clip's {overlaps.attrs['k']} nearest neighbours on which both "
        f"layers agree; mean {number(overlaps['value'].mean())} over n = {len(overlaps):,} of "
        f"{overlaps.attrs['n_all']:,} clips of {escape_markdown(cell.domain)}. Neighbours of the same cluster do not count."
    )


def _computed(cell: state.Cell) -> pd.DataFrame:
    return layers.clip_faithfulness(
        state.workspace(),
        student=cell.student,
        student_layer=cell.student_layer,
        teacher=cell.teacher,
        teacher_layer=cell.teacher_layer,
        domain=cell.domain,
    )


def _cards(side: pd.DataFrame, key: str) -> None:
    rows = segments(state.sql, side["segment_id"].tolist())
    for value, (_, row) in zip(side["value"], rows.iterrows(), strict=True):
        segment_card(segment_of(row.to_dict()), f"**{number(value)}**", key)
