"""What a probe takes for what, and where a student is right where a teacher is wrong; with the clips."""

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import confusion
from usad_workbench.workbench.presenters.clips import segment_of, segments
from usad_workbench.workbench.presenters.encoders import roles_of
from usad_workbench.workbench.presenters.figures import QUIET
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.clicks import kept
from usad_workbench.workbench.widgets.player import segment_card

OPEN = "probes.confused"
N_CARDS = 6


@st.fragment
def show_confusion(protocol: str) -> None:
    """The confusions of one system on one task, and another system beside it, clip by clip."""
    tasks = confusion.predicted_tasks(state.sql, protocol)
    if not tasks:
        return
    page.section("What is taken for what", "Out of fold. Click a cell for its clips.")
    left, middle, right = st.columns(3)
    with left:
        task = page.choose("Task", tasks, key="probes.task")
    names = confusion.systems(state.sql, task, protocol)
    roles = {name: roles_of(state.sql).get(name, "system") for name in names}
    ordered = [name for name in roles_of(state.sql) if name in names]
    names = [*ordered, *(name for name in names if name not in ordered)]
    with middle:
        system = page.choose_encoder("Of", names, key="probes.system", roles=roles)
    with right:
        other = page.choose_encoder(
            "Beside", names, key="probes.other", roles=roles, default=names[min(1, len(names) - 1)]
        )
    rows = confusion.predictions(state.sql, system, task, protocol)
    _matrix(rows, f"{protocol}.{task}.{system}")
    if other != system:
        _beside(rows, confusion.predictions(state.sql, other, task, protocol))


def _matrix(rows: pd.DataFrame, key: str) -> None:
    table = confusion.confusion(rows)
    chart = f"probes.confusion.{key}"
    cells = confusion.cells_of(table)
    if st.session_state.get(OPEN) not in cells:
        st.session_state[OPEN] = None
    cell: tuple[str, str] | None = st.session_state[OPEN]

    st.plotly_chart(
        confusion.confusion_figure(table, cell, is_dark=page.is_dark()),
        key=chart,
        on_select=kept(chart, OPEN, lambda cell: (str(cell[0]), str(cell[1]))),
        selection_mode="points",
        config=QUIET,
        alt="Confusion matrix: actual labels downwards, predicted labels across.",
    )
    n_labels = rows["actual"].nunique()
    cut = f" The {len(table)} most frequent of {n_labels} labels." if len(table) < n_labels else ""
    right = int(rows["correct"].sum())
    st.caption(f"{right} of {count(len(rows), 'clip')} right.{cut}")
    # What a click on the matrix does, for those who have no pointer.
    st.selectbox(
        "Cell",
        [None, *cells],
        key=OPEN,
        format_func=lambda one: confusion.describe_cell(one, cells.get(one, 0)) if one else "none",
    )
    if cell is not None:
        is_in = (rows["actual"] == cell[0]) & (rows["predicted"] == cell[1])
        _cards(rows[is_in], "probes.cell")


def _beside(first: pd.DataFrame, second: pd.DataFrame) -> None:
    both = confusion.apart(first, second)
    counts = confusion.counts_of(both)
    side = page.choose(
        "Clip by clip",
        list(counts),
        key="probes.side",
        show=lambda one: f"{one}: {count(counts[one], 'clip')}",
        note="First: the system whose matrix stands above; second: the one beside it.",
    )
    _cards(both[both["side"] == side], "probes.beside")


def _cards(clips: pd.DataFrame, key: str) -> None:
    """The first clips, with what was said of each."""
    shown = clips.head(N_CARDS)
    rows = segments(state.sql, shown["segment_id"].tolist())
    columns = st.columns(2, gap="medium")
    for i, ((_, row), said) in enumerate(
        zip(rows.iterrows(), shown.to_dict("records"), strict=True)
    ):
        words = (
            f"**{escape_markdown(said['actual'])}**, predicted {escape_markdown(said['predicted'])}"
        )
        if "predicted_second" in said:
            words += f" and {escape_markdown(said['predicted_second'])}"
        with columns[i % 2]:
            segment_card(segment_of(row.to_dict()), words, key)
    if len(clips) > len(shown):
        st.caption(f"{len(shown)} of {count(len(clips), 'clip')}, by name.")
    if len(clips):
        page.download(clips.drop(columns="segment_id"), f"clips-{len(clips)}.csv")
