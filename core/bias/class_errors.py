"""Errors copied in one class: the excess of ``error_consistency``, class by class.

A student that copies a teacher's mistakes in one class of eight alone has an excess over all
clips of an eighth of it, which no test finds. So each class is asked by itself. With the spread
between few controls as the only yardstick, a class must stand out by some ten of it; the spreads
of all classes together say more. They are shrunk towards what is usual for a class of that size,
as far as they are alike (Smyth 2004).

Tried on 400 worlds each (4 or 8 controls, 4 to 12 classes of 25 to 60 clips, errors of one class
all copied), at 5% and 0.5%: a class's own spread finds 61% and 11% with 4 controls and 8 classes,
the shrunken one 94% and 80%, and rejects 4.5% and 0.7% of true nulls. Dropped: spreads that are
shrunk without regard to the size of the class, which reject 8% and 2.3% where sizes differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma, stdtr, stdtrit

from usad_workbench.core.arrays import Ids, Matrix, cluster_codes
from usad_workbench.core.bias.error_consistency import Right, kappa_of, right_tables
from usad_workbench.core.similarity.excess import MIN_CONTROLS, ControlSlot, no_control
from usad_workbench.core.similarity.resampling import MIN_CLUSTERS

MIN_CLASS_ERRORS = 5
"""A class with fewer errors of student or teacher is not asked: a mistake more would decide it."""
SPREAD_FLOOR = 1e-6
"""Variances below are those of controls that cannot be told apart."""
LARGEST = 2.0
"""No difference of two kappas is larger."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassExcess:
    """Kappa in one class minus the mean of the controls', with what chance could do to it."""

    label: str
    kappa: float
    value: float
    ci_low: float
    ci_high: float
    """95%, over other encoders and other clips."""
    p_value: float
    """One-sided, for an excess above 0."""
    df: float
    spread: float
    """What the t divides by."""
    n_clips: int
    n_clusters: int
    n_errors: float
    """Errors of the one with fewer, mean over seeds."""

    def detectable(self, alpha: float) -> float:
        """The smallest excess that would have stood out by itself, one-sided at alpha."""
        return self.spread * float(stdtrit(self.df, 1 - alpha))


def class_excesses(
    student: Right,
    teacher: Right,
    controls: Sequence[Right],
    labels: Ids,
    clusters: Ids,
    *,
    slot: ControlSlot = "teacher",
) -> list[ClassExcess]:
    """The excess of kappa in each class that has enough errors and clusters.

    Args:
        student: Whether the student was right `[clip]` or `[seed, clip]`.
        teacher: The same of the teacher.
        controls: The same of each control.
        labels: True class of each clip.
        clusters: Cluster id of each clip.
        slot: Whose place the controls take.

    Returns:
        Nothing with fewer than two controls, with controls that cannot be told apart, or where no
        class can be asked.

    Raises:
        ShapeError: other numbers of clips or seeds.
        DegenerateError: no control.

    Source: Smyth 2004 (Stat. Appl. Genet. Mol. Biol. 3:3), eq. 10 and sec. 6.2.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(600) % 4
    >>> teacher, student, *controls = (rng.random(600) < 0.6 for _ in range(8))
    >>> student = np.where(labels == 2, teacher, student)
    >>> found = class_excesses(student, teacher, controls, labels, np.arange(600) // 10)
    >>> [one.label for one in found if one.p_value < 0.001]
    ['2']
    """
    if not controls:
        raise no_control()
    if len(controls) < MIN_CONTROLS:
        return []
    names, classes = np.unique([str(label) for label in labels], return_inverse=True)
    pairs = [(student, teacher)]
    pairs += [(student, c) if slot == "teacher" else (c, teacher) for c in controls]
    tables = np.stack([right_tables(list(pair), classes)[0] for pair in pairs])
    kappas = kappa_of(tables)
    sizes, right = tables[0, :, 0], tables[0, :, 1:3]
    n_errors = sizes - right.max(axis=1)
    codes = cluster_codes(clusters, len(classes))
    held = np.unique(np.stack([classes, codes]), axis=1)[0]
    n_clusters = np.bincount(held, minlength=len(names))
    asked = np.flatnonzero(
        np.isfinite(kappas).all(axis=0)
        & (n_errors >= MIN_CLASS_ERRORS)
        & (n_clusters >= MIN_CLUSTERS)
    )
    if not len(asked):
        return []
    value = kappas[0, asked] - kappas[1:, asked].mean(axis=0)
    variances = kappas[1:, asked].var(axis=0, ddof=1)
    if variances.max() <= SPREAD_FLOOR:
        return []
    variance, df = shrunken_variances(variances, sizes[asked], len(controls) - 1)
    spread = np.sqrt(variance * (1 + 1 / len(controls)))
    half = float(stdtrit(df, 0.975)) * spread
    p_value = stdtr(df, -value / spread)
    return [
        ClassExcess(
            label=str(names[k]),
            kappa=float(kappas[0, k]),
            value=float(value[i]),
            ci_low=max(float(value[i] - half[i]), -LARGEST),
            ci_high=min(float(value[i] + half[i]), LARGEST),
            p_value=float(p_value[i]),
            df=df,
            spread=float(spread[i]),
            n_clips=int(sizes[k]),
            n_clusters=int(n_clusters[k]),
            n_errors=float(n_errors[k]),
        )
        for i, k in enumerate(asked)
    ]


def shrunken_variances(variances: Matrix, sizes: Matrix, own_df: int) -> tuple[Matrix, float]:
    """Variances `[class]` shrunk towards what their sizes let expect, and their degrees of freedom.

    Args:
        variances: Between the controls, in each class.
        sizes: Clips of each class: variances fall as they grow.
        own_df: Degrees of freedom of each.

    >>> shrunken_variances(np.array([.1, .1, .1]), np.array([9., 9., 9.]), 3)[1]
    9.0
    """
    if len(variances) == 1:
        return variances, float(own_df)
    scaled = np.maximum(variances * sizes, SPREAD_FLOOR)
    logs = np.log(scaled)
    noise = float(polygamma(1, own_df / 2))
    more = float(logs.var(ddof=1)) - noise
    shift = float(logs.mean()) - float(digamma(own_df / 2)) + math.log(own_df / 2)
    if more <= 0:  # no more different than chance makes variances that are equal
        return np.exp(shift) / sizes, float(own_df * len(logs))
    prior_df = 2 * float(brentq(lambda x: float(polygamma(1, x)) - more, 1e-6, 1e6))
    usual = np.exp(shift + float(digamma(prior_df / 2)) - math.log(prior_df / 2))
    shrunk = (prior_df * usual + own_df * scaled) / (prior_df + own_df)
    return shrunk / sizes, float(min(prior_df + own_df, own_df * len(logs)))
