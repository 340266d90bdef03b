"""The vector that a search starts from: of a sound file, a part of a stored clip, or words."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from usad_workbench.core.audio.reading import probe_audio, read_audio
from usad_workbench.core.clips import Clip as Sound
from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.core.storage.clip_audio import file_of_clip
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.spaces import stored_precision
from usad_workbench.core.storage.workspace import FloatArray, Space, Workspace

Note = Callable[[str], None]
Clip = Any
"""A row of the table ``clips``."""
Known = dict[tuple[str, str, "Part", str], dict[int, FloatArray]]
"""The vector of each stored layer of sounds that were embedded: by ``file`` or ``clip``, its name,
the part of it and the encoder."""
SAME_TIME_S = 1e-6
"""Times that differ by less are one: what is typed is what was stored, but for rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What is asked for of a file or clip, in seconds; none where nothing was said."""

    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be a part.

        Raises:
            ConfigError: times that are no numbers, negative, or in the wrong order.
        """
        limits = [s for s in (self.start_s, self.end_s) if s is not None]
        if not all(math.isfinite(s) and s >= 0 for s in limits) or (
            self.end_s is not None and self.end_s <= self.first_s
        ):
            raise ConfigError(
                f"Found a part from {self.start_s or 0:g} s to "
                f"{'the end' if self.end_s is None else f'{self.end_s:g} s'}, expected a start of "
                "0 or more and an end after it. Choose --start and --end anew."
            )

    @property
    def is_named(self) -> bool:
        """Whether anything but the beginning is asked for."""
        return self.end_s is not None or self.first_s > 0

    @property
    def first_s(self) -> float:
        """The start of the part in seconds; 0 where none is named."""
        return self.start_s or 0.0

    def end_within(self, duration_s: float, window_s: float) -> float:
        """Where it ends: as asked, else after a window, in any case with the sound."""
        end_s = self.first_s + window_s if self.end_s is None else self.end_s
        return min(end_s, duration_s)


def vector_of_file(
    workspace: Workspace,
    path: str,
    part: Part,
    space: SpaceName,
    note: Note,
    known: Known | None = None,
) -> FloatArray:
    """The vector [dim] of a part of a sound file.

    With ``known``, whose layers are counted from 0, every layer is computed at once and kept there.

    Raises:
        UnknownNameError: a space that is not there, or an encoder that is not known here.
        AudioError: a file that is no audio, or has no such part.
    """
    stored = _stored(workspace, space)  # a wrong name is said before weights load
    key = ("file", path, part, space.encoder)
    if known and key in known:
        return known[key][stored.layer]
    window_s = workspace.segmentation.window_s
    end_s = part.end_s
    if end_s is None and probe_audio(path).duration_s - part.first_s > window_s:
        end_s = part.first_s + window_s
        note(
            f"The query is cut to {window_s:g} s from {part.first_s:g} s on, the window of the "
            "workspace. --start and --end choose another part."
        )
    clip = read_audio(path, start_s=part.first_s, end_s=end_s)
    vectors = _embedded(workspace, clip, stored, note, is_all=known is not None)
    if known is not None:
        known[key] = vectors
    return vectors[stored.layer]


def vector_of_clip(
    workspace: Workspace,
    clip_id: str,
    part: Part,
    space: SpaceName,
    note: Note,
    known: Known | None = None,
) -> FloatArray:
    """The vector [dim] of a clip: of its first segment, or of exactly the part that is asked for.

    A part that was stored as a segment has its vector; any other part is cut from the clip's
    audio and embedded, as a part of a file is; ``known`` is that of ``vector_of_file``.

    Raises:
        UnknownNameError: no such clip or space, or no stored vector.
        ConfigError: a part of a clip that came without audio, or outside of the clip.
        AudioError: audio that cannot be read, is not that of the import, or a part that is
            silent or too short.
    """
    found = _stored(workspace, space)
    clips = workspace.read("SELECT * FROM clips WHERE clip_id = ?", [clip_id])
    if clips.empty:
        raise UnknownNameError(
            f"The workspace has no clip {clip_id!r}. `SELECT clip_id FROM clips` lists them; "
            "`usad search --query FILE` takes any file."
        )
    stored = workspace.read(
        f"SELECT s.start_s, s.end_s, v.vector FROM segments s JOIN vectors_{found.space_id} v "
        "USING (segment_id) WHERE s.clip_id = ? ORDER BY s.start_s, s.segment_id",
        [clip_id],
    )
    times = list(zip(stored.start_s, stored.end_s, strict=True))
    if not part.is_named:
        if not times:
            raise UnknownNameError(
                f"Clip {clip_id!r} has no vector of {space.encoder} layer {found.layer}. `usad embed "
                f"--encoders {space.encoder}` makes it; `usad search --query FILE` takes any file."
            )
        if len(times) > 1:
            note(
                f"The query is the first of {len(times)} segments of {clip_id}, {_span(times[0])}. "
                "--start and --end choose another part."
            )
        vector: FloatArray = stored.vector[0]
        return vector
    clip = clips.iloc[0]
    start_s, end_s = _cut(clip, part, workspace.segmentation.window_s)
    for row, (start, end) in enumerate(times):
        if abs(start - start_s) < SAME_TIME_S and abs(end - end_s) < SAME_TIME_S:
            exact: FloatArray = stored.vector[row]
            return exact
    if not clip.path:
        raise ConfigError(
            f"Clip {clip_id!r} came as vectors, without audio to cut {start_s:g} to {end_s:g} s "
            f"from. What is stored of it: {', '.join(map(_span, times)) or 'nothing'}. Leave out "
            "--start and --end, or use `usad search --query FILE`."
        )
    key = ("clip", clip_id, part, space.encoder)
    if known and key in known:
        return known[key][found.layer]
    sound = read_audio(file_of_clip(workspace, str(clip.path)), start_s=start_s, end_s=end_s)
    vectors = _embedded(workspace, sound, found, note, is_all=known is not None)
    if known is not None:
        known[key] = vectors
    return vectors[found.layer]


def vector_of_words(workspace: Workspace, text: str, encoder: str, note: Note) -> FloatArray:
    """The vector [dim] of words in the native space of an encoder that reads them.

    Raises:
        UnknownNameError: no such space.
        ConfigError: an encoder that reads no words.
        WeightsError: it is not on this machine.
    """
    from usad_workbench.core.encoders.words import load_text_encoder

    _stored(workspace, SpaceName(encoder, -1, "native"))
    reader = load_text_encoder(encoder)
    if notice := other_weights(workspace, encoder, reader.weights_sha256):
        note(notice)
    vector: FloatArray = reader.embed([text])[0]
    return vector


def other_weights(workspace: Workspace, name: str, weights_sha256: str) -> str:
    """That an encoder's stored vectors are not of the weights of a query; empty if they are."""
    stored = workspace.read("SELECT weights_sha256 FROM spaces WHERE encoder = ? LIMIT 1", [name])
    if stored.empty or stored.weights_sha256[0] == weights_sha256:
        return ""
    return (
        f"The stored vectors of {name} were made elsewhere or with other weights than the query's: "
        f"scores may mean nothing. `usad embed --encoders {name} --replace` makes them alike."
    )


def _stored(workspace: Workspace, space: SpaceName) -> Space:
    return workspace.space(space.encoder, space.layer, space.pooling)


def _embedded(
    workspace: Workspace, sound: Sound, space: Space, note: Note, *, is_all: bool
) -> dict[int, FloatArray]:
    """The vectors of one layer, or of all that are stored."""
    # Encoders need torch, which is slow to import: stored vectors are searched without it.
    from usad_workbench.core.encoders.registry import load_encoder

    encoder = space.encoder
    loaded = load_encoder(encoder, precision=stored_precision(workspace, encoder))
    if notice := other_weights(workspace, encoder, loaded.weights_sha256):
        note(notice)
    if space.pooling == "native":
        return {space.layer: loaded.embed(sound, None, "native")[0]}
    layers = workspace.layers(encoder) if is_all else [space.layer]
    return dict(zip(layers, loaded.embed(sound, layers), strict=True))


def _cut(clip: Clip, part: Part, window_s: float) -> tuple[float, float]:
    """Where a part of a clip starts and ends; the length of a clip without audio is not known."""
    duration_s = float(clip.duration_s) if clip.path else math.inf
    if part.first_s >= duration_s:
        raise ConfigError(
            f"Clip {clip.clip_id!r} is {duration_s:.2f} s long, found a part from "
            f"{part.first_s:g} s on. Choose a part that lies inside."
        )
    return part.first_s, part.end_within(duration_s, window_s)


def _span(times: tuple[float, float]) -> str:
    """A stretch of a clip in words; a vector that came without times is of the whole.

    >>> _span((0.0, 2.5)), _span((0.0, 0.0))
    ('0 to 2.5 s', 'the whole clip')
    """
    start_s, end_s = times
    return f"{start_s:g} to {end_s:g} s" if end_s > start_s else "the whole clip"
