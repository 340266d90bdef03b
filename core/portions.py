"""One portion of segments through an encoder: vectors of those it takes, words for the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import DeviceMemoryError, EncoderError
from usad_workbench.core.models.encoder import Encoder, FloatArray, Pooling
from usad_workbench.core.models.pooling import pooled_vectors
from usad_workbench.core.storage.importing import Failure
from usad_workbench.core.storage.segment_audio import SegmentAudio


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
) -> EmbeddedPortion:
    """Vectors of a portion's segments; where the encoder fails on some, only these are lost.

    Args:
        encoder: Loaded.
        portion: As ``read_ahead`` gives it,
        clips: with the audio of each segment, or why it has none.
        layers: From 0.
        pooling: How frames become vectors.
    """
    failed = [c for c in clips if isinstance(c, Failure)]
    good = [(s, c) for s, c in zip(portion, clips, strict=True) if isinstance(c, Clip)]
    good, vectors, refused = _forward(encoder, good, layers, pooling) if good else ([], {}, [])
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


def _forward(
    encoder: Encoder,
    good: list[tuple[SegmentAudio, Clip]],
    layers: tuple[int, ...],
    pooling: Pooling,
) -> tuple[list[tuple[SegmentAudio, Clip]], dict[int, FloatArray], list[Failure]]:
    """What could be embedded, its vectors per layer, and the clips on which the encoder fails."""
    try:
        return good, pooled_vectors(encoder, [clip for _, clip in good], layers, pooling), []
    except (DeviceMemoryError, EncoderError):
        # One by one, so that only these clips are lost.
        pass
    kept, parts, failed = [], [], []
    for segment, clip in good:
        try:
            parts.append(pooled_vectors(encoder, [clip], layers, pooling))
            kept.append((segment, clip))
        except (DeviceMemoryError, EncoderError) as error:
            failed.append(Failure(path=segment.name, reason=str(error)))
    vectors = {layer: np.concatenate([part[layer] for part in parts]) for layer in layers if parts}
    return kept, vectors, failed
