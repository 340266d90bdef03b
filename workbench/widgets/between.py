"""Between which teachers each clip lies, and the clips of a place."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import ternary
from usad_workbench.workbench.presenters.clips import segment_of, segments
from usad_workbench.workbench.presenters.data import MAX_LINKED, map_address
from usad_workbench.workbench.presenters.figures import QUIET
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.clicks import kept
from usad_workbench.workbench.widgets.player import segment_card

OPEN = "between.place"
N_CARDS = 6


@st.fragment
def show_between(student: str, *, is_reliable: bool) -> None:
    """A line between two encoders or a triangle of three, and the clips of the place that was clicked.

    Args:
        student: Whose clips.
        is_reliable: Whether the shares of attribution can be read in any domain.
    """
    names = encoder_names(state.sql)
    known = ternary.teachers_of(state.sql, student)
    page.section(
        "Clip by clip",
        "Whose nearest neighbours each clip has. It shows whom a clip's neighbourhood is like, not who "
        "taught it.",
    )
    if not is_reliable:
        st.caption(
            ":material/block: In no domain can shares be read as what the student has of whom: the "
            "table says why. Encoders that never taught may be corners too, to compare."
        )
    if len(known) < ternary.MIN_CORNERS:
        st.caption(
            f"It takes two encoders or three; the neighbours of {count(len(known), 'encoder')} are "
            "stored of this student."
        )
        return
    corners = st.multiselect(
        "Between two encoders, or three",
        known,
        default=known[: ternary.MAX_CORNERS],
        max_selections=ternary.MAX_CORNERS,
        format_func=lambda one: short_name(one, names),
        key=f"between.{student}",
    )
    if len(corners) < ternary.MIN_CORNERS:
        st.caption("Choose two encoders, or three.")
        return
    shares = ternary.clip_shares(state.sql, student, corners)
    found = ternary.places(shares)
    if found.empty:
        st.caption("No clip has neighbours in common with any of them at one layer.")
        return
    key = ".".join((student, *corners))
    _draw(found, corners, key)
    said = ternary.describe_shares(shares, corners, names)
    st.caption(
        f"Layer {shares.attrs['layer']} of the student. {escape_markdown(said)} Click a circle for its "
        "clips."
    )
    # What a click on a circle does, for those who have no pointer.
    place = st.selectbox(
        "Circle",
        [None, *found.index],
        key=f"{OPEN}.{key}",
        format_func=lambda row: (
            "none" if row is None else ternary.describe_place(found.loc[row], corners, names)
        ),
    )
    if place is not None:
        _clips(ternary.clips_at(found, place))


def _draw(found: pd.DataFrame, corners: Sequence[str], key: str) -> None:
    chart, place = f"between.chart.{key}", f"{OPEN}.{key}"
    if st.session_state.get(place) not in found.index:
        st.session_state[place] = None

    st.plotly_chart(
        ternary.between_figure(found, corners, encoder_names(state.sql)),
        key=chart,
        on_select=kept(chart, place, lambda row: int(row[0])),
        selection_mode="points",
        config=QUIET,
        alt="Clips between the encoders, nearer to whose neighbours they have: a line, or a triangle.",
    )


def _clips(segment_ids: list[int]) -> None:
    shown = segments(state.sql, segment_ids[:N_CARDS])
    n = min(len(segment_ids), MAX_LINKED)
    cut = f" of {len(segment_ids):,}" if n < len(segment_ids) else ""
    st.markdown(f"[{count(n, 'clip')}{cut} on the map]({map_address(segments=segment_ids)})")
    for place, (_, row) in zip(st.columns(2) * N_CARDS, shown.iterrows(), strict=False):
        with place:
            segment = segment_of(row.to_dict())
            segment_card(segment, f"**{escape_markdown(segment.domain or '')}**", "between")
