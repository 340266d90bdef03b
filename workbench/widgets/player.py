"""A segment to hear and to see: both from exactly the samples that were embedded."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import UsadError
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import sound
from usad_workbench.workbench.presenters.figures import QUIET
from usad_workbench.workbench.presenters.numbers import is_missing, span
from usad_workbench.workbench.presenters.text import escape_markdown, shorten


def clip_player(clip: Clip, key: str, height: int = 250) -> None:
    """Spectrogram and player of a clip."""
    st.plotly_chart(
        sound.spectrogram_figure(clip, height),
        key=key,
        config=QUIET,
        theme=None,
        alt="Spectrogram: seconds across, frequency upwards, louder is brighter.",
    )
    st.audio(sound.wav_bytes(clip), format="audio/wav")


def segment_player(row: Mapping[Any, Any], key: str) -> None:
    """Who a segment is, its spectrogram and its sound."""
    st.markdown(f"**{escape_markdown(shorten(row['clip_id'], 60))}**")
    st.caption(_about(row))
    if not _has_audio(row):
        return
    try:
        clip = state.segment_clip(str(row["path"]), float(row["start_s"]), float(row["end_s"]))
    except UsadError as error:
        st.warning(escape_markdown(error))
        return
    clip_player(clip, key)


def segment_card(row: Mapping[Any, Any], heading: str, note: str = "") -> None:
    """A small card: heading, who it is, spectrogram, sound."""
    with st.container(border=True, height="stretch"):
        words, picture = st.columns([4, 5], vertical_alignment="center", gap="small")
        with words:
            st.markdown(f"{heading}  \n{escape_markdown(shorten(row['clip_id'], 60))}")
            st.caption(_about(row) + (f"  \n{note}" if note else ""))
        with picture:
            if not _has_audio(row):
                return
            try:
                heard = state.segment_sound(
                    str(row["path"]), float(row["start_s"]), float(row["end_s"])
                )
            except UsadError as error:
                st.warning(escape_markdown(error))
                return
            st.image(heard.thumbnail, width="stretch", alt="Spectrogram")
            st.audio(heard.wav, format="audio/wav")


def _about(row: Mapping[Any, Any]) -> str:
    parts = [] if is_missing(row["label"]) else [escape_markdown(shorten(row["label"], 60))]
    parts += [escape_markdown(row["domain"]), escape_markdown(span(row["start_s"], row["end_s"]))]
    return " · ".join(parts)


def _has_audio(row: Mapping[Any, Any]) -> bool:
    if not is_missing(row["path"]) and row["path"]:
        return True
    st.caption("This clip was imported without audio.")
    return False
