"""A sound beside what the student and the teacher each find nearest to it, in the same domain."""

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.clips import Segment, segment_of, segments
from usad_workbench.workbench.presenters.data import map_address
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.neighbours import nearest_segments
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import escape_markdown, shorten
from usad_workbench.workbench.widgets.instrument import ASSETS
from usad_workbench.workbench.widgets.page import show_errors
from usad_workbench.workbench.widgets.player import small_player


def show_trio(segment: Segment, layers: dict[str, int], *, is_wide: bool = False) -> None:
    """The segment, and for each encoder the segment of another recording that is nearest to it.

    Args:
        segment: Which.
        layers: Of each encoder, by name.
        is_wide: Beside each other, else below each other.
    """
    names = encoder_names(state.sql)
    with st.container(border=True, height="stretch"):
        places = st.columns(1 + len(layers)) if is_wide else [st.container()] * (1 + len(layers))
        with places[0]:
            st.markdown(f"**{escape_markdown(shorten(segment.clip_id, 44))}**")
            small_player(segment)
        for (encoder, layer), place in zip(layers.items(), places[1:], strict=True):
            with place, show_errors():
                found = _nearest(segment, encoder, layer)
                if not found:
                    st.caption("No other recording of this domain has a vector here.")
                    continue
                other = segment_of(segments(state.sql, found).iloc[0].to_dict())
                st.caption(
                    f"{escape_markdown(short_name(encoder, names))} finds "
                    f"**{escape_markdown(shorten(other.clip_id, 40))}**"
                )
                small_player(other)


def show_trios(
    segment_ids: Sequence[int], n: int, layers: Mapping[str, int], roles: Sequence[str]
) -> None:
    """The first of some segments in little room: pictures that play, one sound at a time.

    Args:
        segment_ids: All of them, to which a link leads.
        n: How many are shown.
        layers: Of each encoder, by name.
        roles: Whose each sound is, in the order of ``layers``.
    """
    rows = [
        {
            "clip": segment.clip_id,
            "href": map_address(segments=[segment.segment_id]),
            "sounds": [
                {"segment": segment.segment_id, "clip": segment.clip_id, "said": "this sound"},
                *_found(segment, layers, roles),
            ],
        }
        for segment in (
            segment_of(row.to_dict()) for _, row in segments(state.sql, segment_ids[:n]).iterrows()
        )
    ]
    link = {
        "href": map_address(segments=segment_ids),
        "said": f"All {count(len(segment_ids), 'clip')} on the map",
    }
    trios = st.components.v2.component(
        "usad_trios",
        css=(ASSETS.parent / "trios.css").read_text(encoding="utf-8"),
        js=(ASSETS.parent / "trios.js").read_text(encoding="utf-8"),
    )
    trios(key="trios", data={"rows": rows, "all": link})


def _found(
    segment: Segment, layers: Mapping[str, int], roles: Sequence[str]
) -> list[dict[str, object]]:
    sounds: list[dict[str, object]] = []
    for (encoder, layer), role in zip(layers.items(), roles, strict=True):
        with show_errors():
            for other in _nearest(segment, encoder, layer):
                clip = segments(state.sql, [other]).iloc[0]["clip_id"]
                sounds.append({"segment": other, "clip": str(clip), "said": role})
    return sounds


def _nearest(segment: Segment, encoder: str, layer: int) -> list[int]:
    def search() -> pd.DataFrame:
        ids = nearest_segments(
            state.workspace(), encoder, layer, segment.segment_id, domain=segment.domain
        )
        return pd.DataFrame({"segment_id": ids})

    key = ("nearest", encoder, layer, segment.segment_id)
    return [int(one) for one in state.remembered(key, search)["segment_id"]]
