"""Which pieces make up the batch of a step.

A pure function of the seed and the step, so that a resumed run sees what it would have seen.
Every epoch has as many batches as any other, so the epoch of a step is a division, and only one
epoch is ever held. Batches are counted in seconds of audio, padding included, and hold pieces of
similar length.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

BUCKET_RATIO = 1.1
"""Ratio of the lengths in a bucket: at most a tenth of a piece is padded, but for leftovers."""
_MIN_DRAWN = 8.0
"""Pieces of a stratum drawn in an epoch: fewer are joined with longer ones, as counts are
whole numbers and a stratum of which none is ever drawn would never be learned from."""

Rows = npt.NDArray[np.int64]


class BatchSampler:
    """Batches of piece numbers, epoch after epoch."""

    def __init__(
        self,
        durations_s: Sequence[float],
        groups: Sequence[int],
        *,
        batch_s: float,
        share: Mapping[int, float] | None = None,
        seed: int = 0,
    ) -> None:
        """Pieces and how to batch them.

        Args:
            durations_s: Of each piece.
            groups: What each piece is sampled with: its source.
            batch_s: Seconds in a batch, padding included.
            share: Relative amount of audio per group, by repeating or leaving out; an
                epoch is as long as the corpus. Each piece once an epoch where none.
            seed: Of everything random here.
        """
        self.durations_s = np.asarray(durations_s, dtype=np.float64)
        self.seed = seed
        longest = self.durations_s.max()
        # The small number keeps pieces of one length, a sample more or less, together.
        self._bucket = np.floor(np.log(longest / self.durations_s) / np.log(BUCKET_RATIO) + 1e-3)
        members: dict[int, list[int]] = {}
        for row, group in enumerate(groups):
            members.setdefault(group, []).append(row)
        seconds = {g: float(self.durations_s[rows].sum()) for g, rows in members.items()}
        wanted = {g: share[g] for g in members} if share else seconds
        scale = sum(seconds.values()) / sum(wanted.values())
        # Pieces of one bucket and group with how many of them are drawn, longest first.
        self._strata: list[tuple[int, Rows, int]] = []
        for group, of_group in members.items():
            repeats = wanted[group] * scale / seconds[group]
            self._strata += self._stratify(np.asarray(of_group), repeats)
        self._strata.sort(key=lambda stratum: -stratum[0])  # by bucket, shortest first
        self._sizes: dict[int, int] = {}
        for bucket, rows, _ in self._strata:
            size = max(1, int(batch_s / self.durations_s[rows].max() + 1e-9))
            self._sizes[bucket] = min(size, self._sizes.get(bucket, size))
        self._epoch, self._batches = 0, self._plan(0)
        self.n_batches = len(self._batches)
        """In an epoch."""

    def batch(self, step: int) -> list[int]:
        """The pieces of a step, counted from 0."""
        epoch, at = divmod(step, self.n_batches)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._plan(epoch)
        return self._batches[at]

    def padding_share(self) -> float:
        """Part of the samples of an epoch's batches that is padding."""
        held = sum(len(b) * self.durations_s[b].max() for b in self._batches)
        return 1.0 - sum(float(self.durations_s[b].sum()) for b in self._batches) / float(held)

    def _stratify(self, rows: Rows, repeats: float) -> list[tuple[int, Rows, int]]:
        """A group's pieces by bucket, with how many are drawn in an epoch."""
        buckets = self._bucket[rows]
        strata: list[tuple[int, Rows]] = []
        held = rows[:0]
        for bucket in np.unique(buckets)[::-1]:  # shortest first
            held = np.concatenate([held, rows[buckets == bucket]])
            if repeats == 1.0 or repeats * len(held) >= _MIN_DRAWN:
                strata.append((int(bucket), held))
                held = rows[:0]
        if len(held):
            short = [strata.pop()[1]] if strata else []
            strata.append((int(buckets.min()), np.concatenate([*short, held])))
        exact = np.array([repeats * len(of_stratum) for _, of_stratum in strata])
        counts = np.floor(exact).astype(int)
        left = round(repeats * len(rows)) - int(counts.sum())
        counts[np.argsort(counts - exact, kind="stable")[:left]] += 1  # largest remainders
        return [(b, of, int(n)) for (b, of), n in zip(strata, counts, strict=True)]

    def _plan(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self.seed, epoch])
        batches: list[list[int]] = []
        left: list[int] = []
        for bucket, size in self._sizes.items():
            drawn = [_draw(rows, n, rng) for b, rows, n in self._strata if b == bucket]
            # What does not fill a batch waits for longer pieces: an epoch has few small ones.
            pool = [*left, *rng.permutation(np.concatenate(drawn)).tolist()]
            n_full = len(pool) // size
            batches += [pool[i * size : (i + 1) * size] for i in range(n_full)]
            left = pool[n_full * size :]
        if left:
            batches.append(left)
        order = rng.permutation(len(batches))
        return [sorted(batches[i], key=lambda row: self.durations_s[row]) for i in order]


def _draw(rows: Rows, n: int, rng: np.random.Generator) -> Rows:
    """Each row as often as any other or once more; which ones is random."""
    rounds = [rng.permutation(rows) for _ in range(-(-n // len(rows)))]
    return np.concatenate([*rounds, rows[:0]])[:n]
