"""What is looked for: a segment of the collection, a file, or a recording."""

from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from usad_workbench.core.audio.reading import probe_audio, read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import AudioError, UsadError
from usad_workbench.core.storage.workspace import SearchHits
from usad_workbench.indexes import search
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import hits
from usad_workbench.workbench.presenters.clips import Segment, segment_of, segments
from usad_workbench.workbench.presenters.numbers import duration
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.query_vectors import other_weights
from usad_workbench.workbench.widgets import page

COLLECTION, UPLOAD, RECORD = "Clip of the collection", "File", "Recording"
CHOSEN = "search.segment"


@dataclass(frozen=True, slots=True)
class FromCollection:
    """A segment that has its vector already."""

    segment: Segment

    def search(self, encoder: str, layer: int, k: int, where: str | None) -> SearchHits:
        """The nearest segments to it, itself among them."""
        workspace = state.workspace()
        stored = workspace.read(
            f"SELECT vector FROM vectors_{workspace.space_id(encoder, layer)} WHERE segment_id = ?",
            [self.segment.segment_id],
        )
        if stored.empty:
            raise UsadError(
                f"This segment has no vector of {encoder} layer {layer}. `usad embed --encoders "
                f"{encoder}` makes it."
            )
        return search(workspace, stored["vector"][0], encoder, layer, k=k, where=where)


@dataclass(frozen=True, slots=True)
class FromAudio:
    """Audio that is not in the workspace."""

    clip: Clip

    def search(self, encoder: str, layer: int, k: int, where: str | None) -> SearchHits:
        """The nearest segments to it."""
        vector = state.embed(encoder, self.clip, layer, "mean")
        hits = search(state.workspace(), vector, encoder, layer, k=k, where=where)
        notices = (hits.notice, other_weights(state.workspace(), state.encoder(encoder)))
        return replace(hits, notice=" ".join(filter(None, notices)))


Query = FromCollection | FromAudio


def choose_query() -> Query | None:
    """Lets choose what to look for; none while nothing usable is chosen."""
    asked = state.asked_query()
    if asked is not None:
        st.session_state["search.source"] = COLLECTION
        st.session_state[CHOSEN] = asked
    kind = st.segmented_control(
        "Query",
        [COLLECTION, UPLOAD, RECORD],
        default=COLLECTION,
        key="search.source",
        required=True,
        persist_state="session",
    )
    if kind == COLLECTION:
        return _collection()
    given = _given(kind)
    if given is None:
        return None
    try:
        return FromAudio(_cut(given))
    except UsadError as error:
        said = str(error).replace("the given audio", "It", 1)
        st.error(
            f"{escape_markdown(given.name)} cannot be used. {escape_markdown(said)}",
            icon=":material/error:",
        )
        return None


def _given(kind: str) -> Any:
    """The file or recording that was handed in; says so where it has been dropped since."""
    kept = f"search.given.{kind}"
    forget: dict[str, Any] = {"on_change": st.session_state.pop, "args": (kept, None)}
    given: Any = (
        st.file_uploader(
            "Audio file (WAV, FLAC, OGG, Opus, MP3 or AIFF)", key="search.file", **forget
        )
        if kind == UPLOAD
        else st.audio_input("Record a sound", key="search.recording", **forget)
    )
    if given is not None:
        st.session_state[kept] = given.name
    elif kept in st.session_state:
        st.warning(
            f"{escape_markdown(st.session_state[kept])} is no longer here: the app keeps the latest uploads "
            "of all who use it, up to a size. Hand it in again."
        )
    return given


def _collection() -> Query | None:
    """A segment of the collection: of a list where all fit in one, else of those that match.

    What was chosen stays in the list and chosen, whatever is typed. A segment that is gone is
    said to be gone: no other takes its place.
    """
    n = int(state.sql("SELECT count(*) AS n FROM segments")["n"][0])
    if n == 0:
        page.empty("There are no clips yet.", page.command("import", "FOLDER"))
        return None
    chosen: int | None = st.session_state.get(CHOSEN)
    text = "" if n <= hits.MAX_OPTIONS else _typed(n)
    options = hits.query_options(state.sql, text, chosen)
    texts = dict(zip(options["segment_id"].astype(int), options["text"], strict=True))
    if chosen is not None and chosen not in texts:
        st.warning("The chosen segment is not in the collection any more. Choose another.")
        st.session_state[CHOSEN] = None
    elif CHOSEN not in st.session_state:
        st.session_state[CHOSEN] = next(iter(texts), None)
    chosen = st.selectbox(
        "Clip (type to search)" if n <= hits.MAX_OPTIONS else "Clip",
        list(texts),
        key=CHOSEN,
        format_func=lambda i: texts[i],
        placeholder="Choose a clip",
        persist_state="session",
    )
    if n > hits.MAX_OPTIONS:
        st.caption(hits.describe_options(len(options), n, text))
    if chosen is None:
        return None
    return FromCollection(segment_of(segments(state.sql, [chosen]).iloc[0].to_dict()))


def _typed(n: int) -> str:
    return st.text_input(
        "Find a clip",
        key="search.text",
        persist_state="session",
        placeholder="Words of its name, label, domain, data set or path",
        help=f"The collection has {n:,} segments: more than one list can hold.",
    )


def _cut(given: Any) -> Clip:
    """The chosen part of an upload; only that part is decoded.

    Raises:
        AudioError: not audio that an encoder can say something about.
    """
    length_s = probe_audio(given).duration_s
    start_s, end_s = 0.0, length_s
    window_s = state.workspace().segmentation.window_s
    if length_s > window_s:
        start_s, end_s = st.slider(
            "Part to look for (seconds)",
            0.0,
            round(length_s, 2),
            (0.0, window_s),
            step=0.1,
            key=f"search.part.{given.file_id}",
            help=f"At most {hits.LONGEST_QUERY_S:.0f} s; the file has {duration(length_s)}.",
        )
    start_s, end_s = hits.window(length_s, start_s, end_s)
    if end_s <= 0:
        raise AudioError("It has no samples. Choose another file.")
    return read_audio(given, start_s=start_s, end_s=end_s if length_s > window_s else None)
