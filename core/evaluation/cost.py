"""What an encoder costs: parameters, operations and time per second of audio.

Operations are counted while real clips pass through, by the dispatcher of torch: matrix products
and convolutions, two for each multiply-add. Attention and recurrent layers are made to run as
plain matrix products for the count, since fused kernels are not counted; Fourier transforms,
norms and activations are not either (below 2% of the shipped student). Encoders without torch
operations have no count.
"""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import UsadError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.spaces import stored_precision
from usad_workbench.core.storage.workspace import Workspace

if TYPE_CHECKING:
    from usad_workbench.core.models.encoder import Encoder, Precision

MAX_CLIP_S = 5.0
"""Seconds of each clip that are timed."""
N_CLIPS = 4
"""Clips that are timed, one of each domain: 10 encoders take 10 s in all."""
N_PASSES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The cost of one encoder, or of a system made of several. NaN: ``reason`` says why."""

    n_params: float
    """In use for a clip; the mean over clips where a router sends them to different encoders."""
    n_params_resident: float
    """That must lie in memory."""
    flops_per_s: float
    """Floating-point operations per second of audio."""
    rtf: float
    """Real-time factor: seconds of work per second of audio, one clip at a time, in the precision
    of the encoder's stored vectors."""
    reason: str = ""


def encoder_costs(
    workspace: Workspace, encoders: Sequence[str], progress: Progress = no_progress
) -> dict[str, Cost]:
    """Costs of encoders, measured here and now on a few clips of the workspace.

    Args:
        workspace: Whose clips are encoded.
        encoders: Names; those that cannot be loaded here, as imported ones, keep their number
            of parameters and say why there is no more.
        progress: Called after each encoder.
    """
    encoder_rows = workspace.encoders()
    n_params = {str(row.encoder): float(row.n_params) for row in encoder_rows.itertuples()}
    costs, reason = {}, ""
    try:
        clips = _clips(workspace)
    except UsadError as error:
        clips, reason = [], str(error)
    for done, name in enumerate(encoders, start=1):
        size = n_params.get(name, math.nan)
        flops, rtf, why = math.nan, math.nan, reason
        if not reason:
            try:
                flops, rtf = measure(name, clips, stored_precision(workspace, name))
            except UsadError as error:
                why = str(error)
        costs[name] = Cost(
            n_params=size, n_params_resident=size, flops_per_s=flops, rtf=rtf, reason=why
        )
        progress(done, len(encoders), "cost")
    return costs


def measure(
    name: str, clips: Sequence[Clip], precision: "Precision" = "float32"
) -> tuple[float, float]:
    """Operations per second of audio and real-time factor of one encoder, in a precision.

    Each clip goes through alone, once to count and to warm up, then on the clock: the
    fastest of a few passes, as others may use the machine.

    Raises:
        UsadError: an encoder that cannot be loaded or not in this precision, or clips that it
            does not take.
    """
    # torch is not needed to name an encoder's costs, only to measure them.
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    encoder = load_encoder(name, precision=precision)
    counter = FlopCounterMode(display=False)
    with warnings.catch_warnings():
        # Leaving the plain kernels again warns of GPUs that are not there.
        warnings.simplefilter("ignore", UserWarning)
        with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False), counter:
            _seconds(encoder, clips)
    seconds = min(_seconds(encoder, clips) for _ in range(N_PASSES))
    audio_s = sum(len(clip.samples) / clip.sample_rate_hz for clip in clips)
    flops = float(counter.get_total_flops())
    return (flops / audio_s if flops else math.nan), seconds / audio_s


def _seconds(encoder: "Encoder", clips: Sequence[Clip]) -> float:
    started = time.perf_counter()
    for clip in clips:
        encoder.encode(clip)
    return time.perf_counter() - started


def combined(costs: Mapping[str, Cost], shares: Mapping[str, float]) -> Cost:
    """The cost of a system: each encoder counts by the share of clips that goes through it.

    >>> one = Cost(n_params=10, n_params_resident=10, flops_per_s=1, rtf=.1)
    >>> found = combined({"a": one, "b": one}, {"a": .5, "b": .5})
    >>> found.n_params, found.n_params_resident
    (10.0, 20.0)
    """
    members = [(costs[name], share) for name, share in shares.items()]
    return Cost(
        n_params=float(sum(share * one.n_params for one, share in members)),
        n_params_resident=float(sum(one.n_params_resident for one, _ in members)),
        flops_per_s=float(sum(share * one.flops_per_s for one, share in members if share)),
        rtf=float(sum(share * one.rtf for one, share in members if share)),
        reason="; ".join(dict.fromkeys(one.reason for one, _ in members if one.reason)),
    )


def _clips(workspace: Workspace) -> list[Clip]:
    """The first clip of each domain, up to a few seconds of each."""
    rows = workspace.clips().groupby("domain", sort=True).path.first()[:N_CLIPS]
    clips = [read_audio(workspace.audio_path(str(path))) for path in rows]
    return [
        Clip(
            samples=np.ascontiguousarray(clip.samples[: int(MAX_CLIP_S * clip.sample_rate_hz)]),
            sample_rate_hz=clip.sample_rate_hz,
        )
        for clip in clips
    ]
