"""Which pieces make up the batch of a step.

A pure function of the seed and the step, so that a run that goes on sees what it would
have seen. Batches are counted in seconds of audio, padding included, and hold pieces of
similar length.
"""

from collections.abc import Mapping, Sequence

import numpy as np

_WINDOW = 32
"""Batches among which pieces are sorted by length; more would make batches less mixed."""


class BatchSampler:
    """Batches of piece numbers, epoch after epoch."""

    def __init__(
        self,
        durations_s: Sequence[float],
        domains: Sequence[str],
        *,
        batch_s: float,
        share: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        """Pieces and how to batch them.

        Args:
            durations_s: Of each piece.
            domains: Of each piece.
            batch_s: Seconds in a batch, padding included.
            share: Relative amount of audio per domain; as it comes where none.
            seed: Of everything random here.
        """
        self.durations_s = np.asarray(durations_s)
        self.batch_s, self.seed = batch_s, seed
        self._by_domain = {
            name: np.flatnonzero(np.asarray(domains) == name) for name in sorted(set(domains))
        }
        seconds = {d: float(self.durations_s[rows].sum()) for d, rows in self._by_domain.items()}
        wanted = {d: share[d] for d in seconds} if share else seconds
        # An epoch is as long as the corpus; a domain's part of it follows its share.
        scale = sum(seconds.values()) / sum(wanted.values())
        self._repeats = {d: wanted[d] * scale / seconds[d] for d in seconds}
        self._epochs: list[list[list[int]]] = []

    def batch(self, step: int) -> list[int]:
        """The pieces of a step, counted from 0."""
        epoch = 0
        while True:
            if epoch == len(self._epochs):
                self._epochs.append(self._plan(epoch))
            if step < len(self._epochs[epoch]):
                return self._epochs[epoch][step]
            step -= len(self._epochs[epoch])
            epoch += 1

    def _plan(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self.seed, epoch])
        order = np.concatenate([self._draw(domain, epoch, rng) for domain in self._by_domain])
        rng.shuffle(order)
        mean_s = float(self.durations_s[order].mean())
        window = max(1, int(_WINDOW * self.batch_s / mean_s))
        batches: list[list[int]] = []
        for start in range(0, len(order), window):
            part = order[start : start + window]
            batches += self._pack(part[np.argsort(self.durations_s[part], kind="stable")])
        rng.shuffle(batches)
        return batches

    def _draw(self, domain: str, epoch: int, rng: np.random.Generator) -> np.ndarray:
        rows = self._by_domain[domain]
        # Whole rounds are fixed; which pieces the fraction takes changes by epoch.
        n = round(self._repeats[domain] * len(rows))
        rounds = [rng.permutation(rows) for _ in range(-(-n // len(rows)))]
        return np.concatenate([*rounds, rows[:0]])[:n]

    def _pack(self, rows: np.ndarray) -> list[list[int]]:
        batches: list[list[int]] = []
        batch: list[int] = []
        for row in rows.tolist():  # shortest first, so the new one is the longest
            if batch and (len(batch) + 1) * self.durations_s[row] > self.batch_s:
                batches.append(batch)
                batch = []
            batch.append(row)
        if batch:
            batches.append(batch)
        return batches
