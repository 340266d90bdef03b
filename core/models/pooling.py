"""Pooled vectors of many clips, in batches that fit the device."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.errors import DeviceMemoryError
from usad_workbench.core.models.encoder import Encoder, FloatArray, Pooling
from usad_workbench.core.models.out_of_memory import halve_until_it_fits


def pooled_vectors(
    encoder: Encoder,
    clips: Sequence[Clip],
    layers: tuple[int, ...],
    pooling: Pooling,
    count: Callable[[int], None] = lambda n: None,
) -> dict[int, FloatArray]:
    """Pooled vectors of clips: by layer an array [clip, dim], in the order of the clips.

    A batch that the device has no memory for is halved until it fits.

    Args:
        encoder: On its device.
        clips: At the encoder's sample rate.
        layers: Numbers from 0 to L; with ``native`` the last one alone.
        pooling: ``mean`` over frames, or ``native`` for the encoder's own output.
        count: Told of each batch how many clips it had.

    Raises:
        DeviceMemoryError: a single clip that does not fit.
        EncoderError: a clip on which the encoder fails.
    """
    lengths = [len(clip.samples) for clip in clips]

    widths: list[int] = []

    def pooled(batch: list[int]) -> FloatArray:
        features = encoder.features(ClipBatch.from_clips([clips[i] for i in batch]), layers)
        vectors = features.pooled(pooling)
        widths[:] = [vector.shape[1] for vector in vectors]
        # All layers side by side: one transfer from a device instead of one for each.
        joined: FloatArray = torch.cat(vectors, dim=1).float().cpu().numpy()
        return joined

    order: list[int] = []
    parts: list[FloatArray] = []
    try:
        batches = encoder.batches(lengths)
        for batch, made in halve_until_it_fits(pooled, batches, lengths, encoder.device):
            order += batch
            parts.append(made)
            count(len(batch))
    except torch.OutOfMemoryError as error:
        longest_s = max(clip.duration_s for clip in clips)
        raise DeviceMemoryError(
            f"{encoder.spec.name} runs out of memory on {encoder.device} with a single clip of at "
            f"most {longest_s:.1f} s. Cut the clips into segments, or use --device cpu."
        ) from error
    every = np.concatenate(parts)[np.argsort(np.array(order))]
    ends = np.cumsum(widths)
    return {
        layer: np.ascontiguousarray(every[:, end - width : end])
        for layer, width, end in zip(layers, widths, ends, strict=True)
    }
