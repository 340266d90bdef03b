"""One portion of segments through an encoder: vectors of those it takes, words for the others."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import Cancelled, DeviceMemoryError, EncoderError, UsadError
from usad_workbench.core.models.encoder import Encoder, FloatArray, Pooling
from usad_workbench.core.models.pooling import pooled_vectors
from usad_workbench.core.storage.importing import Failure
from usad_workbench.core.storage.segment_audio import AtRates, SegmentAudio


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EmbeddedPortion:
    """What an encoder made of a portion."""

    segments: Sequence[SegmentAudio]
    """Those that have vectors."""
    vectors: Mapping[int, FloatArray]
    """Per layer an array [segment, dim], finite; empty where no segment has vectors."""
    failed: Sequence[Failure]
    """The other segments, each with its reason."""
    audio_seconds: float
    """Of what went through the encoder."""


def embed_portion(
    encoder: Encoder,
    portion: Sequence[SegmentAudio],
    clips: Sequence[Clip | Failure],
    layers: tuple[int, ...],
    pooling: Pooling,
    count: Callable[[int], None] = lambda n: None,
) -> EmbeddedPortion:
    """Vectors of a portion's segments; where the encoder fails on some, only these are lost.

    Args:
        encoder: Loaded.
        portion: As ``read_ahead`` gives it,
        clips: with the audio of each segment, or why it has none.
        layers: From 0.
        pooling: How frames become vectors.
        count: Told how many segments more are done, after each batch.
    """
    n_left = len(portion)

    def count_batch(n_more: int) -> None:
        nonlocal n_left
        n_more = min(n_more, n_left)  # clips of a batch that failed go through once more
        n_left -= n_more
        count(n_more)

    failed = [c for c in clips if isinstance(c, Failure)]
    good = [(s, c) for s, c in zip(portion, clips, strict=True) if isinstance(c, Clip)]
    if good:
        good, vectors, refused = _forward(encoder, good, layers, pooling, count_batch)
    else:
        good, vectors, refused = [], {}, []
    count_batch(n_left)
    failed += refused
    segments = [segment for segment, _ in good]
    if segments:
        is_finite = np.all([np.isfinite(v).all(axis=1) for v in vectors.values()], axis=0)
        failed += [
            Failure(path=s.name, reason="The encoder gave values that are not finite.")
            for s, ok in zip(segments, is_finite, strict=True)
            if not ok
        ]
        kept = [s for s, ok in zip(segments, is_finite, strict=True) if ok]
        vectors = {layer: values[is_finite] for layer, values in vectors.items() if kept}
    else:
        kept = []
    return EmbeddedPortion(
        segments=kept,
        vectors=vectors,
        failed=failed,
        audio_seconds=sum(s.duration_s for s in segments),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedPortion:
    """What one encoder is asked of a portion."""

    misses: Sequence[bool]
    """Whether it misses each segment."""
    layers: tuple[int, ...]
    pooling: Pooling


def through_encoders(
    encoders: Mapping[str, Encoder],
    portion: Sequence[SegmentAudio],
    audio: AtRates,
    asked: Mapping[str, AskedPortion],
    count: Callable[[str, int], None],
) -> Iterator[tuple[str, EmbeddedPortion | UsadError]]:
    """One portion, decoded once, through all encoders that miss any of it.

    Yields:
        The name of each, and what it made of the portion or why it can do nothing that is asked.

    Args:
        encoders: Loaded, by name.
        portion: As ``read_at_rates`` gives it,
        audio: with the audio of each segment at the rates of the encoders.
        asked: By encoder.
        count: Told of an encoder how many segments more are done.
    """
    for name, of_portion in asked.items():
        encoder = encoders[name]
        clips = audio[encoder.spec.sample_rate_hz]
        missed = [i for i, misses in enumerate(of_portion.misses) if misses]
        made: EmbeddedPortion | UsadError
        try:
            made = embed_portion(
                encoder,
                [portion[i] for i in missed],
                [clips[i] for i in missed],
                of_portion.layers,
                of_portion.pooling,
                functools.partial(count, name),
            )
        except Cancelled:
            raise
        except UsadError as error:
            made = error
        yield name, made


def _forward(
    encoder: Encoder,
    good: list[tuple[SegmentAudio, Clip]],
    layers: tuple[int, ...],
    pooling: Pooling,
    count: Callable[[int], None],
) -> tuple[list[tuple[SegmentAudio, Clip]], dict[int, FloatArray], list[Failure]]:
    """What could be embedded, its vectors per layer, and the clips on which the encoder fails."""
    try:
        return good, pooled_vectors(encoder, [c for _, c in good], layers, pooling, count), []
    except (DeviceMemoryError, EncoderError):
        # One by one, so that only these clips are lost.
        pass
    kept, parts, failed = [], [], []
    for segment, clip in good:
        try:
            parts.append(pooled_vectors(encoder, [clip], layers, pooling, count))
            kept.append((segment, clip))
        except (DeviceMemoryError, EncoderError) as error:
            failed.append(Failure(path=segment.name, reason=str(error)))
    vectors = {layer: np.concatenate([part[layer] for part in parts]) for layer in layers if parts}
    return kept, vectors, failed
