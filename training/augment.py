"""What the student hears, where that is not the clip itself; targets stay the clip's own.

A pure function of the seed, the step and the piece, so neither the number of processes
nor the step at which a run resumes changes it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from usad_workbench.core.clips import Samples
from usad_workbench.training.recipe import DataRecipe


class Augmentation:
    """Random gain, and another clip of the batch mixed in."""

    def __init__(self, recipe: DataRecipe, seed: int) -> None:
        self.gain_db, self.mix_probability = recipe.gain_db, recipe.mix_probability
        self.lowest_db, self.highest_db = recipe.mix_snr_db
        self.seed = seed

    @property
    def is_on(self) -> bool:
        """Whether anything is ever changed."""
        return self.gain_db > 0 or self.mix_probability > 0

    def apply(
        self,
        samples: Samples,
        step: int,
        piece: int,
        batch: Sequence[int],
        read: Callable[[int], Samples | None],
    ) -> Samples:
        """What the student hears of a piece.

        Args:
            samples: Of the piece; not changed.
            step: Whose batch it is in.
            piece: Its number.
            batch: All pieces of the step, over all processes.
            read: The samples of another piece; none where it cannot be read.
        """
        rng = np.random.default_rng([self.seed, step, piece])
        gain_db = rng.uniform(-self.gain_db, self.gain_db)
        others = [other for other in batch if other != piece]
        if rng.random() < self.mix_probability and others:
            other = read(others[rng.integers(len(others))])
            if other is not None:
                samples = mix(samples, other, rng.uniform(self.lowest_db, self.highest_db), rng)
        return (samples * 10 ** (gain_db / 20)).astype(np.float32)


def mix(samples: Samples, other: Samples, snr_db: float, rng: np.random.Generator) -> Samples:
    """A clip with a stretch of another at a random place, at most half as long as the clip.

    So short that it stays clear whose targets are meant, as in WavLM's utterance mixing
    (Chen et al. 2022). The ratio is of mean power: of the clip, to that of the stretch.
    """
    n = int(rng.integers(1, min(len(other), max(1, len(samples) // 2)) + 1))
    start, at = rng.integers(len(other) - n + 1), rng.integers(len(samples) - n + 1)
    stretch = other[start : start + n].astype(np.float64)
    power = float(np.square(stretch).mean())
    if power == 0.0:
        return samples
    wanted = float(np.square(samples, dtype=np.float64).mean()) / 10 ** (snr_db / 10)
    mixed = samples.copy()
    mixed[at : at + n] += (stretch * np.sqrt(wanted / power)).astype(np.float32)
    return mixed
