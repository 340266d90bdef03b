"""Weights and samples that follow from names and sizes, so that fixtures need not hold them.

Numpy alone: the scripts that make fixtures run in environments of their own.
"""

import zlib
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float32]]


def planted(name: str, shape: tuple[int, ...]) -> Array:
    """A tensor of a checkpoint, far from its initial values, norms and their statistics included."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    noise = rng.normal(size=shape)
    if name.endswith("running_var"):
        value = 0.5 + rng.uniform(size=shape)
    elif len(shape) > 1:
        value = noise / np.sqrt(np.prod(shape[1:]))
    elif name.endswith("weight"):  # of a norm
        value = 1 + 0.2 * noise
    else:
        value = 0.2 * noise
    return np.asarray(value, np.float32)


def noise(n_samples: int, seed: int = 0) -> Array:
    """Noise whose level changes on the way, with silence in the middle."""
    rng = np.random.default_rng(seed)
    at = np.arange(n_samples) / n_samples
    samples = rng.normal(size=n_samples) * (0.02 + 0.2 * np.abs(np.sin(9 * at + seed)))
    samples[(at > 0.4) & (at < 0.6)] = 0.0
    return np.asarray(samples, np.float32)
