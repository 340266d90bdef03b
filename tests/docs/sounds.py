"""A folder of sixty sounds, as somebody who follows the pages brings it."""

from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000
KINDS = ("bell", "rain", "knock")


def write_sounds(folder: Path, n: int = 60) -> None:
    """Bells, rain and knocks of half a second to a second: ``KIND-TAKE.wav``."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(n):
        t = np.arange(round(RATE_HZ * (0.5 + 0.008 * i))) / RATE_HZ
        kind = KINDS[i % len(KINDS)]
        noise = rng.normal(size=len(t))
        sound = {
            "bell": np.sin(2 * np.pi * (300 + 12 * i) * t) * np.exp(-4 * t),
            "rain": noise * (0.5 + 0.02 * (i % 7)),
            "knock": noise * np.exp(-60 * (t % (0.15 + 0.01 * (i % 9)))),
        }[kind]
        soundfile.write(folder / f"{kind}-{i // 3:02}.wav", 0.3 * sound + 0.002 * noise, RATE_HZ)
