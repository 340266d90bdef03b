"""The rows of the tables ``probes`` and ``predictions``: what an evaluation stores."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeScore:
    """One row of ``probes``: a system on a task, or on the mean of tasks, under a protocol.

    Numbers that could not be computed are NaN, and ``reason`` says why.
    """

    encoder: str
    """An encoder, or a system made of the teachers."""
    layer: int | None
    """The layer chosen most often on training folds; none for routers and means."""
    task: str
    protocol: str
    metric: str | None
    """None for a task that no probe can be asked."""
    value: float
    ci_low: float
    ci_high: float
    """95%, bootstrap over clusters."""
    n_test: int
    """Clips tested, each once per seed; 0 for a task that no probe can be asked."""
    n_classes: int | None
    n_groups: int | None
    """Units that folds keep whole."""
    n_clusters: int
    """Units that the interval resamples."""
    chance: float
    """What the class sizes alone give."""
    layer_selection: str | None
    against: str | None
    """The encoder that the difference is to."""
    difference: float
    difference_ci_low: float
    difference_ci_high: float
    """95%, both systems resampled together."""
    reason: str
    n_params: float
    """Parameters in use for a clip."""
    n_params_resident: float
    """Parameters that must lie in memory."""
    flops_per_s: float
    """Floating-point operations per second of audio."""
    rtf: float
    """Seconds of work per second of audio."""
    embedding_bytes: float
    """Bytes of the vector of a clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipPrediction:
    """One row of ``predictions``: what a system said of a clip, out of fold."""

    encoder: str
    task: str
    protocol: str
    seed: int
    """The seed of the split into folds."""
    clip_id: str
    predicted: str
    correct: bool
    fingerprint: str
    """The weights behind the system and the names of its encoders."""
