"""What an out-of-fold R2 would be if the truth were known: a positive control for few clips.

Pseudo-students with a known share of the teachers' principal components, the rest noise, go
through the same regression. The curve from truth to R2, read backwards, corrects the total.
Components that carry the teachers' own noise spoil it, so it is computed at two cuts and trusted
where they agree. It has no interval of its own: ``docs/statistics.md``, "Calibrated R²", says
why.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Ids, Matrix, Vectors
from usad_workbench.core.similarity._grouped_ridge import out_of_fold
from usad_workbench.core.similarity.variance import Blocks, checked_blocks

CUTS = (0.90, 0.99)
"""Shares of the teachers' variance that the components hold."""
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)
NOISE_DIMS = 20
MAX_DISAGREEMENT = 0.03


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Correction:
    """A total corrected for few clips, at each cut."""

    raw: float
    corrected: Mapping[float, float]
    """Corrected total by cut."""
    curve: Mapping[float, Matrix]
    """Raw R2 of pseudo-students with ``SHARES`` of the teachers, by cut."""

    @property
    def do_cuts_agree(self) -> bool:
        """Whether the correction can be trusted."""
        return float(np.ptp(list(self.corrected.values()))) <= MAX_DISAGREEMENT

    @property
    def value(self) -> float:
        """The corrected total; the raw one, a lower bound, where the cuts disagree."""
        return float(np.mean(list(self.corrected.values()))) if self.do_cuts_agree else self.raw


def calibrated_r2(
    student: Vectors, teachers: Mapping[str, Vectors], clusters: Ids, *, seed: int = 0
) -> Correction:
    """The share of the student that its teachers explain, corrected for few clips.

    Args:
        student: Embeddings `[clip, dim]`.
        teachers: The same clips of each teacher.
        clusters: Cluster id of each clip.
        seed: Of the noise.

    Raises:
        ShapeError: as ``partition_variance``.
        DegenerateError: as ``partition_variance``.

    >>> rng = np.random.default_rng(0)
    >>> a, new = rng.normal(size=(2, 200, 30))
    >>> found = calibrated_r2(.8 ** .5 * a + .2 ** .5 * new, {"a": a}, np.arange(200))
    >>> found.raw < 0.78 < found.value < 0.84
    True
    """
    arrays, codes = checked_blocks(student, teachers, clusters)
    x = arrays.pop("")
    rng = np.random.default_rng(seed)
    targets = [x]
    for cut in CUTS:
        components = _components(arrays, cut)
        targets += [_pseudo_student(components, share, rng) for share in SHARES]
    r2 = out_of_fold(Blocks(teachers=arrays).kernel(tuple(arrays)), targets, codes).r2()
    curves = r2[1:].reshape(len(CUTS), len(SHARES))
    raw = float(r2[0])
    return Correction(
        raw=raw,
        corrected={
            cut: _inverse_curve(raw, curve) for cut, curve in zip(CUTS, curves, strict=True)
        },
        curve=dict(zip(CUTS, curves, strict=True)),
    )


def _inverse_curve(raw: float, curve: Matrix) -> float:
    """The share that gives a raw R2, 0 and 1 beyond the ends of the curve."""
    return float(np.interp(raw, np.maximum.accumulate(curve), SHARES))


def _components(teachers: Mapping[str, Matrix], cut: float) -> Matrix:
    """Principal components of all teachers side by side, each of mean square 1 `[clip, axis]`."""
    blocks = []
    for x in teachers.values():
        centred = x - x.mean(axis=0)
        blocks.append(centred / np.sqrt(np.mean(np.sum(centred**2, axis=1))))
    left, values, _ = np.linalg.svd(np.hstack(blocks), full_matrices=False)
    held = np.cumsum(values**2) / np.sum(values**2)
    kept = int(np.searchsorted(held, cut)) + 1
    return np.asarray(left[:, :kept] * values[:kept])


def _pseudo_student(components: Matrix, share: float, rng: np.random.Generator) -> Matrix:
    """A known share of the teachers' variance beside independent noise `[clip, dim]`."""
    noise = rng.normal(size=(len(components), NOISE_DIMS))
    scaled = [x / np.sqrt(np.mean(np.sum(x**2, axis=1))) for x in (components, noise)]
    return np.hstack([np.sqrt(share) * scaled[0], np.sqrt(1 - share) * scaled[1]])
