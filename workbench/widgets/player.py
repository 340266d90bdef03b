"""A segment to hear and to see: both from exactly the samples that were embedded."""

import streamlit as st

from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import UsadError
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import sound
from usad_workbench.workbench.presenters.clips import Segment
from usad_workbench.workbench.presenters.figures import QUIET
from usad_workbench.workbench.presenters.numbers import span
from usad_workbench.workbench.presenters.text import escape_markdown, shorten


def clip_player(clip: Clip, key: str, height: int = 250) -> None:
    """Spectrogram and player of a clip."""
    st.plotly_chart(
        sound.spectrogram_figure(clip, height),
        key=key,
        config=QUIET,
        alt="Spectrogram: seconds across, frequency upwards, louder is brighter.",
    )
    st.audio(sound.wav_bytes(clip), format="audio/wav")


def segment_player(segment: Segment, key: str) -> None:
    """Who a segment is, its spectrogram and its sound."""
    st.markdown(f"**{escape_markdown(shorten(segment.clip_id, 60))}**")
    st.caption(_about(segment))
    if not _has_audio(segment):
        return
    try:
        clip = state.segment_clip(segment.path, segment.start_s, segment.end_s)
    except UsadError as error:
        st.warning(escape_markdown(error))
        return
    clip_player(clip, key)


def segment_card(segment: Segment, heading: str, key: str) -> None:
    """A small card: heading, who it is, spectrogram, sound, and the way to what is similar.

    Args:
        segment: What is shown.
        heading: Markdown.
        key: Of the list that it stands in, each of whose segments stands there once.
    """
    with st.container(border=True, height="stretch"):
        words, picture = st.columns([4, 5], vertical_alignment="center", gap="small")
        with words:
            st.markdown(f"{heading}  \n{escape_markdown(shorten(segment.clip_id, 60))}")
            st.caption(_about(segment))
            if st.button(
                "Find similar", key=f"{key}.similar.{segment.segment_id}", type="tertiary"
            ):
                state.ask_query(segment.segment_id)
                st.switch_page("views/search.py")
        with picture:
            small_player(segment)


def small_player(segment: Segment) -> None:
    """Spectrogram and sound of a segment, small."""
    if not _has_audio(segment):
        return
    try:
        heard = state.segment_sound(segment.path, segment.start_s, segment.end_s)
    except UsadError as error:
        st.warning(escape_markdown(error))
        return
    st.image(heard.thumbnail, width="stretch", alt="Spectrogram")
    st.audio(heard.wav, format="audio/wav")


def _about(segment: Segment) -> str:
    words = [shorten(segment.label, 60), segment.domain, span(segment.start_s, segment.end_s)]
    return " · ".join(escape_markdown(word) for word in words if word)


def _has_audio(segment: Segment) -> bool:
    if not segment.path:
        st.caption("This clip was imported without audio.")
    return bool(segment.path)
