"""How a clip is cut into the windows that one vector each stands for."""

import math
from dataclasses import dataclass

from usad_workbench.core.errors import AudioError, ConfigError

TAIL_FRACTION = 0.1
"""A rest shorter than this part of the window joins the window before it."""

MAX_SEGMENTS = 100_000
"""The most segments of one clip: eleven days in windows of 10 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmentation:
    """Windows of ``window_s`` every ``hop_s``; a shorter clip is one segment.

    >>> Segmentation().cut(3.2)
    [(0.0, 3.2)]
    >>> Segmentation().cut(23.0)
    [(0.0, 10.0), (10.0, 20.0), (20.0, 23.0)]
    >>> Segmentation().cut(20.4)
    [(0.0, 10.0), (10.0, 20.4)]
    """

    window_s: float = 10.0
    """The teachers of USAD were trained on 10 s cuts of sound and music."""
    hop_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.hop_s <= self.window_s < math.inf:
            raise ConfigError(
                f"Found window {self.window_s} s and hop {self.hop_s} s, expected "
                "finite seconds with 0 < hop <= window, so that no audio is left out."
            )

    @property
    def name(self) -> str:
        """What the column ``segmentation`` holds."""
        return f"{self.window_s:g}s/{self.hop_s:g}s"

    @property
    def in_words(self) -> str:
        """Window and hop for people.

        >>> Segmentation().in_words, Segmentation(window_s=5, hop_s=2.5).in_words
        ('10 s', '5 s, every 2.5 s')
        """
        hop = "" if self.hop_s == self.window_s else f", every {self.hop_s:g} s"
        return f"{self.window_s:g} s{hop}"

    def cut(self, duration_s: float) -> list[tuple[float, float]]:
        """Start and end of each segment in seconds; together they cover the clip.

        Raises:
            AudioError: more segments than any recording has.
        """
        n_hops = max(duration_s - self.window_s, 0.0) / self.hop_s
        if n_hops > MAX_SEGMENTS - 1:
            raise AudioError(
                f"A clip of {duration_s:,.0f} s would be {n_hops + 1:,.0f} segments, "
                f"at most {MAX_SEGMENTS:,} are cut. Mend the sample rate in its header, or cut it "
                "into several files."
            )
        n = math.ceil(n_hops) + 1
        segments = [
            (i * self.hop_s, min(i * self.hop_s + self.window_s, duration_s)) for i in range(n)
        ]
        start_s, end_s = segments[-1]
        if n > 1 and end_s - start_s < TAIL_FRACTION * self.window_s:
            segments[-2:] = [(segments[-2][0], duration_s)]
        return segments
