"""Clips inside the report: sound and a small spectrogram as data, each clip once.

The room for sound is limited, since a report is a file that people mail. It is shared out
panel by panel, so that the last one has sound as well as the first.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import UsadError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters import sound
from usad_workbench.workbench.presenters.clips import Segment, segment_of
from usad_workbench.workbench.presenters.numbers import signed, span, with_minus
from usad_workbench.workbench.presenters.text import shorten

LIMIT_BYTES = 6_000_000
"""Room for all sounds and pictures of a report, as they stand in the file."""
MAX_S = 10.0
"""Longer segments are cut here, and the card says so."""
BLOCK = 16_384
"""Samples per call: libsndfile's Vorbis encoder overflows its stack on long ones
(libsndfile issue 396)."""
THUMBNAIL = (240, 48)


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """The spectrogram and the sound of a clip, as addresses that need no network."""

    image: str
    audio: str
    width: int = THUMBNAIL[0]
    height: int = THUMBNAIL[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipCard:
    """A clip beside a cell of a panel."""

    influence: str
    clip: str
    about: str
    note: str = ""
    """Why it has no sound here."""
    anchor: str | None = None
    media: Media | None = None
    heard_at: str | None = None
    """The anchor of the card that has its sound, where another one has."""


class Sounds:
    """What the report has of each clip, and how much room is left."""

    def __init__(self, workspace: Workspace, limit_bytes: int = LIMIT_BYTES) -> None:
        self.used_bytes = 0
        self.n_heard = 0
        self.n_left_out = 0
        self._limit = limit_bytes
        self._allowed = limit_bytes
        self._workspace = workspace
        self._segments: dict[str, tuple[Segment, int]] = {}
        self._anchors: dict[str, str] = {}

    def share_out(self, n_panels_left: int) -> None:
        """Gives the next panel its share of the room that is left."""
        self._allowed = self.used_bytes + (self._limit - self.used_bytes) // max(1, n_panels_left)

    def fetch(self, clip_ids: Sequence[str]) -> None:
        """Reads the first segments of these clips, all at once."""
        wanted = sorted(set(clip_ids) - set(self._segments))
        if wanted:
            self._segments |= _first_segments(self._workspace, wanted)

    def describe_room(self) -> str:
        """How much sound the report has, in a sentence."""
        left_out = f", {self.n_left_out} left out for lack of room" if self.n_left_out else ""
        return (
            f"Sounds of {self.n_heard} clips are inside this file ({self.used_bytes / 1e6:.1f} MB "
            f"of at most {self._limit / 1e6:.0f} MB{left_out})."
        )

    def card(self, clip_id: str, influence: float) -> ClipCard:
        """A clip: what it adds to the cell, who it is, its picture and its sound."""
        self.fetch([clip_id])
        card = ClipCard(
            influence=with_minus(signed(influence)),
            clip=shorten(clip_id, 60),
            about="no longer in the workspace",
        )
        if clip_id not in self._segments:
            return card
        segment, n_segments = self._segments[clip_id]
        card = replace(card, about=_about(segment, n_segments))
        if clip_id in self._anchors:
            return replace(card, heard_at=self._anchors[clip_id])
        media, problem = self._media(segment)
        if media is None:
            return replace(card, note=problem)
        self._anchors[clip_id] = f"clip-{len(self._anchors) + 1}"
        return replace(card, anchor=self._anchors[clip_id], media=media)

    def _media(self, segment: Segment) -> tuple[Media | None, str]:
        """Picture and player, or why there is none."""
        if not segment.path:
            return None, "imported without audio"
        try:
            end_s = min(segment.end_s, segment.start_s + MAX_S)
            clip = sound.read_segment(self._workspace, segment.path, segment.start_s, end_s)
        except UsadError as error:
            return None, f"no sound: {error}"
        audio, image = ogg_bytes(clip), small_picture(clip)
        size = 4 * (len(audio) + len(image)) // 3
        if self.used_bytes + size > self._allowed:
            self.n_left_out += 1
            return None, "no room for its sound here; open it in the workbench"
        self.used_bytes += size
        self.n_heard += 1
        return Media(image=data_uri(image, "image/webp"), audio=data_uri(audio, "audio/ogg")), ""


def _first_segments(
    workspace: Workspace, clip_ids: Sequence[str]
) -> dict[str, tuple[Segment, int]]:
    """The first segment of each clip, and how many it has."""
    marks = ", ".join("?" for _ in clip_ids)
    rows = workspace.read(
        "SELECT segment_id, clip_id, path, domain, dataset, label, start_s, end_s, "
        "count(*) OVER (PARTITION BY clip_id) AS n "
        f"FROM segments_of_clips WHERE clip_id IN ({marks}) "
        "QUALIFY row_number() OVER (PARTITION BY clip_id ORDER BY start_s, end_s) = 1",
        list(clip_ids),
    ).to_dict("records")
    return {str(row["clip_id"]): (segment_of(row), int(row["n"])) for row in rows}


def _about(segment: Segment, n_segments: int) -> str:
    is_cut = segment.end_s - segment.start_s > MAX_S
    words = [
        shorten(segment.label, 90),
        segment.domain,
        shorten(segment.dataset, 30),
        span(segment.start_s, segment.end_s),
        f"first {MAX_S:.0f} s of it" if is_cut else "",
        f"first of {n_segments} segments" if n_segments > 1 else "",
    ]
    return " · ".join(word for word in words if word)


def ogg_bytes(clip: Clip) -> bytes:
    """The clip as Ogg Vorbis, level unchanged."""
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", samplerate=clip.sample_rate_hz, channels=1, format="OGG", subtype="VORBIS"
    ) as file:
        for start in range(0, len(clip.samples), BLOCK):
            file.write(clip.samples[start : start + BLOCK])
    return buffer.getvalue()


def small_picture(clip: Clip) -> bytes:
    """The spectrogram as a small lossy picture: a tenth of the PNG of the app."""
    from PIL import Image

    buffer = io.BytesIO()
    png = sound.thumbnail(clip, *THUMBNAIL)
    Image.open(io.BytesIO(png)).save(buffer, format="WEBP", quality=50)
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that needs no network.

    >>> data_uri(b"abc", "image/webp")
    'data:image/webp;base64,YWJj'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
