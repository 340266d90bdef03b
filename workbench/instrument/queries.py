"""What is searched for that is not in the collection: a file, a recording, a part, words."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from usad_workbench.core.audio.reading import probe_audio, read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.encoders.words import check_reads_words, load_text_encoder
from usad_workbench.core.errors import AudioError, UnknownNameError
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.spaces import stored_precision
from usad_workbench.core.storage.workspace import FloatArray, Workspace
from usad_workbench.workbench.cache import BoundedCache
from usad_workbench.workbench.query_vectors import other_weights

if TYPE_CHECKING:
    from usad_workbench.core.encoders.hub.text_tower import TextEncoder

MAX_QUERIES = 64
MAX_QUERY_BYTES = 256 << 20
"""Of the samples of all of them: 30 s at 44,100 Hz are 5 MB, at the highest rates very much more."""
MAX_ENCODERS = 4
MAX_UPLOAD_BYTES = 300 << 20
ID_LENGTH = 16
LONGEST_QUERY_S = 30.0
"""A longer cut is no single sound, and takes an encoder too long while somebody waits."""
WORDS = "text:"
"""What begins an example that is no sound but words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A sound that was handed in."""

    query_id: str
    clip: Clip
    name: str
    whole_s: float
    """How long the sound is of which this is a part."""


class Queries:
    """The sounds that were handed in last, their vectors, and the encoders that made them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Query] = OrderedDict()
        self._lock = threading.Lock()
        self._embedding = threading.Lock()
        self._encoders = BoundedCache(max_entries=MAX_ENCODERS, max_bytes=1 << 62)
        self._text_encoders = BoundedCache(max_entries=MAX_ENCODERS, max_bytes=1 << 62)
        self._vectors = BoundedCache(max_entries=512, max_bytes=64 << 20)

    def add(
        self,
        source: BinaryIO,
        name: str,
        window_s: float,
        start_s: float = 0.0,
        end_s: float | None = None,
    ) -> Query:
        """Keeps a part of a sound; the workspace's window from its start where no end is named.

        Raises:
            AudioError: no audio, or a part that is empty or too long.
        """
        whole_s = probe_audio(source).duration_s
        if end_s is None:
            end_s = min(start_s + min(window_s, LONGEST_QUERY_S), whole_s)
        start_s, end_s = window(whole_s, start_s, end_s)
        source.seek(0)
        is_part = start_s > 0 or end_s < whole_s
        return self.keep(
            read_audio(source, start_s=start_s, end_s=end_s if is_part else None), name, whole_s
        )

    def keep_part(self, clip: Clip, name: str, start_s: float, end_s: float) -> Query:
        """Keeps a part of samples, in seconds from their start.

        Raises:
            AudioError: a part that is empty or too long.
        """
        start_s, end_s = window(clip.duration_s, start_s, end_s)
        part = clip.cut(start_s, end_s)
        # A copy: the part would keep all of what it was cut from in memory.
        return self.keep(replace(part, samples=part.samples.copy()), name, clip.duration_s)

    def keep(self, clip: Clip, name: str, whole_s: float) -> Query:
        """Keeps samples under a name that depends on nothing else."""
        digest = hashlib.sha256(clip.samples.tobytes())
        digest.update(str(clip.sample_rate_hz).encode())
        query = Query(
            query_id=f"q{digest.hexdigest()[:ID_LENGTH]}", clip=clip, name=name, whole_s=whole_s
        )
        with self._lock:
            self._kept.pop(query.query_id, None)
            self._kept[query.query_id] = query
            while len(self._kept) > 1 and (
                len(self._kept) > MAX_QUERIES
                or sum(one.clip.samples.nbytes for one in self._kept.values()) > MAX_QUERY_BYTES
            ):
                self._kept.popitem(last=False)
        return query

    def get(self, query_id: str) -> Query:
        """A sound that was handed in.

        Raises:
            UnknownNameError: it is no longer here.
        """
        with self._lock:
            if query_id not in self._kept:
                raise UnknownNameError(
                    f"The sound {query_id[:40]!r} is no longer here: the app keeps the last "
                    f"{MAX_QUERIES} of all who use it. Hand it in again."
                )
            self._kept.move_to_end(query_id)
            return self._kept[query_id]

    def vector(self, workspace: Workspace, query_id: str, space: SpaceName) -> FloatArray:
        """The vector [dim] of a sound or of words in a space.

        All layers of an encoder are made at once.

        Args:
            workspace: Of the space.
            query_id: Of a sound, or ``text:`` and words.
            space: Where it is looked for.

        Raises:
            UnknownNameError: the sound is no longer here, or no such space or encoder.
            ConfigError: words in a space that holds no words.
            WeightsError: the weights have not been fetched.
            AudioError: what the encoder can say nothing about.
        """
        if query_id.startswith(WORDS):
            return self._vector_of_words(query_id.removeprefix(WORDS), space)
        stored = workspace.space(space.encoder, space.layer, space.pooling)
        query = self.get(query_id)
        layers = workspace.layers(space.encoder) if space.pooling == "mean" else [stored.layer]
        made = self._vectors.get(
            (query_id, space.encoder, space.pooling, tuple(layers)),
            lambda: self._embedded(workspace, query.clip, space, layers),
            lambda vectors: sum(vector.nbytes for vector in vectors),
        )
        return made[layers.index(stored.layer)]

    def prepare(self, workspace: Workspace, space: SpaceName) -> None:
        """Loads what a sound is looked for with, while somebody still chooses the sound.

        Raises:
            UsadError: it cannot be loaded.
        """
        with self._embedding:
            self._encoder(workspace, space.encoder)

    def notice(self, workspace: Workspace, query_id: str, space: SpaceName) -> str:
        """What the searcher should know of the encoder of a query, empty where nothing."""
        if query_id.startswith(WORDS):
            return other_weights(workspace, space.encoder, self._reader(space).weights_sha256)
        loaded = self._encoder(workspace, space.encoder)
        return other_weights(workspace, space.encoder, loaded.weights_sha256)

    def _vector_of_words(self, text: str, space: SpaceName) -> FloatArray:
        return self._vectors.get(
            (text, space),
            lambda: self._reader(space).embed([text])[0],
            lambda vector: vector.nbytes,
        )

    def _reader(self, space: SpaceName) -> "TextEncoder":
        check_reads_words(space.encoder, space.pooling)
        with self._embedding:
            return self._text_encoders.get(
                space.encoder, lambda: load_text_encoder(space.encoder), lambda _: 1
            )

    def _embedded(
        self, workspace: Workspace, clip: Clip, space: SpaceName, layers: Sequence[int]
    ) -> list[FloatArray]:
        with self._embedding:  # one forward pass at a time: they share the same cores
            loaded = self._encoder(workspace, space.encoder)
            if space.pooling == "native":
                return loaded.embed(clip, None, "native")
            return loaded.embed(clip, layers, "mean")

    def _encoder(self, workspace: Workspace, name: str) -> Encoder:
        from usad_workbench.core.encoders.registry import load_encoder  # imports torch

        precision = stored_precision(workspace, name)
        return self._encoders.get(
            (name, precision), lambda: load_encoder(name, precision=precision), lambda _: 1
        )


def window(duration_s: float, start_s: float, end_s: float) -> tuple[float, float]:
    """The part of a query that is embedded.

    Raises:
        AudioError: an empty part, or one longer than 30 s.

    >>> window(12.0, 2.0, 14.0)
    (2.0, 12.0)
    """
    end_s = min(end_s, duration_s)
    if not 0 <= start_s < end_s:
        raise AudioError(
            f"The part from {start_s:.2f} s to {end_s:.2f} s of {duration_s:.2f} s is empty. "
            "Choose a start before the end."
        )
    if end_s - start_s > LONGEST_QUERY_S + 1e-6:
        raise AudioError(
            f"The chosen part is {end_s - start_s:.1f} s long, at most {LONGEST_QUERY_S:.0f} s "
            "are embedded at once. Choose a shorter part."
        )
    return start_s, end_s
