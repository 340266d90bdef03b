"""A sound beside what the student and the teacher each find nearest to it, in the same domain."""

import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.clips import Segment, segment_of, segments
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.neighbours import nearest_segments
from usad_workbench.workbench.presenters.text import escape_markdown, shorten
from usad_workbench.workbench.widgets.page import show_errors
from usad_workbench.workbench.widgets.player import small_player


def show_trio(segment: Segment, layers: dict[str, int], note: str = "") -> None:
    """The segment, and for each encoder the segment of another recording that is nearest to it.

    Args:
        segment: Which.
        layers: Of each encoder, by name.
        note: Stands beside the segment's name.
    """
    names = encoder_names(state.sql)
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{escape_markdown(shorten(segment.clip_id, 44))}** {note}")
        small_player(segment)
        for encoder, layer in layers.items():
            with show_errors():
                found = nearest_segments(
                    state.workspace(),
                    encoder,
                    layer,
                    segment.segment_id,
                    domain=segment.domain,
                )
                if not found:
                    continue
                other = segment_of(segments(state.sql, found).iloc[0].to_dict())
                st.caption(
                    f"{escape_markdown(short_name(encoder, names))} finds "
                    f"**{escape_markdown(shorten(other.clip_id, 40))}**"
                )
                small_player(other)
