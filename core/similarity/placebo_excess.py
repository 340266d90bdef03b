"""Excess over peers and placebos: what a student has of its teacher that nobody else shows.

Encoders trained apart on the same audio grow alike, so a similarity is no inheritance. Two things
are compared at once. *Peers* stand in the student's place: students of the same recipe without
this teacher. *Placebos* stand in the teacher's place: encoders that never taught the student. In
the table of similarities, students and peers by teacher and placebos, the excess is the double
difference

    D = [s(S, T) - mean over peers of s(P, T)] - mean over placebos of the same with Q for T,

what the student gained over its peers with the teacher, minus what it gained with encoders that
gave it nothing. A student that is simply better than its peers is nearer to everybody, placebos
included; a teacher that is simply better is nearer to everybody, peers included: each cancels.

Both at once do not. Noise multiplies similarities: a student that hears all better than its peers
gains most with the encoders that hear all best. So each null is asked twice, of differences and in
proportion: placebos are weighted by their nearness to the peers, l, so that what a gain b l would
give the teacher is taken off (b from the placebos by least squares through 0). Where placebos
gained nothing both are one. Not of partial readings, which have no such scale: others are freed
there of what all hear.

D is one number with two nulls. *Peers*: every student's and peer's similarity to the teacher
minus its mean similarity to placebos; the students are cases against the peers, a pooled t of two
samples (with one student that of Crawford and Howell 1998). *Placebos*: the gain with the teacher
is one case against the gains with placebos, a t with families - 1 degrees of freedom. They are
negative controls (Lipsitch et al. 2010), and their mean and spread the systematic error that the
design has left (empirical calibration: Schuemie et al. 2014). Both must reject, so p is the
larger one (an intersection-union test): it holds its level where students and peers differ in
general, and where teachers and placebos do. Few placebos have few degrees of freedom and so a
weak answer; with fewer than two families there is none.

Placebos of one family count once: their columns are averaged. Without peers the placebos are
compared alone, D = s(S, T) - mean s(S, Q), and must then be peers of the teacher.

Readings of the table: debiased CKA; the same with dimensions standardised, since one dominant
dimension hides a full copy; and the partial of both, in which an encoder's Gram matrix is freed of
those of the others in its place, so that what all share does not drown what two share. The partial
alone is no evidence (noisy covariates under-adjust); here placebos bear the same. What each finds:
``docs/statistics.md``, "Excess over peers and placebos".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.resampling import too_few_clusters

Reading = Literal[
    "debiased_linear_cka",
    "standardised_linear_cka",
    "partial_linear_cka",
    "standardised_partial_cka",
]
"""Names of the readings as they stand in tables."""
READINGS: tuple[Reading, ...] = get_args(Reading)
MIN_FAMILIES = 2
"""One placebo has no spread."""
SPREAD_FLOOR = 1e-9
"""Encoders whose values differ by less are one encoder under several names."""
Stacked = NDArray[np.float64]
"""Products or similarities, whole or without each group `[..., row, column]`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """How many stand in each place. Encoders come in this order: students, peers, teacher, placebos."""

    n_students: int
    n_peers: int
    families: tuple[int, ...]
    """Number of the family of each placebo: 0, 1, ..."""

    def __post_init__(self) -> None:
        """Refuses a comparison with nobody.

        Raises:
            ShapeError: no student, or neither peers nor placebos.
        """
        if self.n_students < 1 or not (self.n_peers or self.families):
            raise ShapeError(
                f"There are {self.n_students} students, {self.n_peers} peers and "
                f"{len(self.families)} placebos, expected a student, and somebody to compare with."
            )

    @property
    def n_rows(self) -> int:
        """Students and peers."""
        return self.n_students + self.n_peers

    @property
    def n_encoders(self) -> int:
        """All of them."""
        return self.n_rows + 1 + len(self.families)

    @property
    def n_families(self) -> int:
        """Placebos of one family count once."""
        return len(set(self.families))

    @property
    def has_peers(self) -> bool:
        """Whether peers show a spread; else they are left out."""
        return self.n_peers >= 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlaceboExcess:
    """The double difference of one reading, and what chance could do to it.

    NaN: not defined, and ``reason`` says why.
    """

    value: float
    p_value: float
    """The larger one of the two nulls', one-sided and doubled: as intervals have two sides."""
    p_kind: str
    p_peers: float
    p_placebos: float
    over_peers: float
    """Gain of the students over their peers with the teacher alone; NaN without peers."""
    of_placebos: Matrix
    """Gain with each family of placebos in the teacher's place `[family]`."""
    similarity: float
    """Mean similarity of the students with the teacher."""
    level: float
    """Mean similarity of all other pairs: what nobody had to be taught."""
    clip_error: float
    """Standard error over clips by leaving out groups of clusters; NaN without."""
    n_groups: int
    n_clips: int
    n_clusters: int
    largest: float
    """No value can be larger."""
    errors: tuple[tuple[float, int], ...]
    """Standard error over encoders and clips, and degrees of freedom, of each null."""
    reason: str

    def limits(self, alpha: float) -> tuple[float, float]:
        """Limits at 1 - alpha over other encoders and other clips, of the wider null.

        Not beyond what the quantity can be; NaN where ``reason`` says why.
        """
        half = self._half(alpha)
        return max(self.value - half, -self.largest), min(self.value + half, self.largest)

    def clips_limits(self, alpha: float) -> tuple[float, float]:
        """Limits at 1 - alpha over other clips, the encoders as they are; NaN if unknown."""
        half = self.clip_error * float(stdtrit(max(self.n_groups - 1, 1), 1 - alpha / 2))
        if math.isnan(half):
            return math.nan, math.nan
        return max(self.value - half, -self.largest), min(self.value + half, self.largest)

    def detectable(self, alpha: float) -> float:
        """The smallest excess that would have stood out by itself, two-sided at alpha."""
        return self._half(alpha)

    def _half(self, alpha: float) -> float:
        halves = [error * float(stdtrit(df, 1 - alpha / 2)) for error, df in self.errors]
        return max(halves, default=math.nan)


def placebo_excess(
    table: Stacked, places: Places, *, n_clips: int, n_clusters: int, has_scale: bool = True
) -> PlaceboExcess:
    """The excess of one reading, tested against peers and placebos.

    Args:
        table: Similarities `[1 + group, row, column]`, the whole first.
        places: Who is who.
        n_clips: Behind each similarity.
        n_clusters: Behind each similarity.
        has_scale: Whether noise multiplies the similarities, so that both nulls are asked in
            proportion too; not of partial ones.

    Raises:
        DegenerateError: a similarity that is not finite.

    >>> rng = np.random.default_rng(0)
    >>> table = rng.normal(size=(1, 5, 5)) / 100
    >>> table[0, 0, 0] += .3
    >>> places = Places(n_students=1, n_peers=4, families=(0, 1, 2, 3))
    >>> found = placebo_excess(table, places, n_clips=90, n_clusters=30)
    >>> round(found.value, 1), found.p_value < .01
    (0.3, True)
    """
    if not np.isfinite(table[0]).all():
        raise DegenerateError(
            "A similarity is not finite, expected one of every pair: an encoder has no geometry "
            "here. Leave it out."
        )
    by_family = _by_family(table, places)
    rows = by_family[..., 0] - (by_family[..., 1:].mean(axis=-1) if places.families else 0.0)
    columns = gains_of(by_family, places)
    values = gains_of(rows[..., None], places)[..., 0]
    value = float(values[0])
    spreads, p_values, kinds, reasons = [], {}, [], []
    in_proportion = _in_proportion(by_family[0], places) if has_scale else {}
    if places.has_peers:
        error, df = _spread_of_rows(rows[0], places)
        spreads.append((error, df))
        kinds.append(
            f"{counted(places.n_students, 'student')} against {places.n_peers} peers, t({df})"
        )
        p_values["peers"] = max(_doubled(value, error, df), in_proportion.get("peers", 0.0))
    if places.n_families >= MIN_FAMILIES:
        error, df = _spread_of_columns(columns[0])
        spreads.append((error, df))
        kinds.append(f"one case against {places.n_families} families of placebos, t({df})")
        p_values["placebos"] = max(_doubled(value, error, df), in_proportion.get("placebos", 0.0))
    else:
        reasons.append(
            f"{counted(places.n_families, 'family')} of placebos, at least {MIN_FAMILIES} are needed"
        )
    if too_few_clusters(n_clusters):
        reasons.append(too_few_clusters(n_clusters))
    if any(not error > SPREAD_FLOOR for error, _ in spreads):
        reasons.append("encoders cannot be told apart, as if they were one")
    largest = 2.0 if places.has_peers and places.families else 1.0
    is_tested = not reasons
    extra = _clips_beyond(rows, columns, values, places)
    if not is_tested:
        spreads = []
    shown = tuple((math.hypot(error, extra), df) for error, df in spreads)
    return PlaceboExcess(
        value=value,
        p_value=max(p_values.values()) if is_tested else math.nan,
        p_kind=_kind_of(kinds, bool(in_proportion)) if is_tested else "none",
        p_peers=p_values.get("peers", math.nan),
        p_placebos=p_values.get("placebos", math.nan),
        over_peers=float(columns[0, 0]) if places.has_peers else math.nan,
        of_placebos=columns[0, 1:],
        similarity=float(table[0, : places.n_students, 0].mean()),
        level=_level(by_family[0], places),
        clip_error=math.sqrt(float(_variance_over_clips(values))),
        n_groups=len(values) - 1,
        n_clips=n_clips,
        n_clusters=n_clusters,
        largest=largest,
        errors=shown,
        reason="; ".join(reasons),
    )


def counted(n: int, word: str) -> str:
    """A number with its word.

    >>> counted(1, "family"), counted(2, "family")
    ('1 family', '2 families')
    """
    plural = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return f"{n} {word if n == 1 else plural}"


def _level(table: Matrix, places: Places) -> float:
    """Mean of all similarities but those of the students with the teacher."""
    others = np.ones(table.shape, dtype=np.bool_)
    others[: places.n_students, 0] = False
    return float(table[others].mean()) if others.any() else math.nan


def family_weights(places: Places) -> list[float]:
    """What each placebo counts in the mean over families."""
    sizes = np.bincount(np.array(places.families, dtype=np.intp))
    return [1.0 / (places.n_families * int(sizes[one])) for one in places.families]


def _by_family(table: Stacked, places: Places) -> Stacked:
    """The teacher's column, then the mean column of each family of placebos."""
    families = np.array(places.families, dtype=np.intp)
    means = [
        table[..., 1:][..., families == one].mean(axis=-1, keepdims=True)
        for one in range(places.n_families)
    ]
    return np.concatenate([table[..., :1], *means], axis=-1)


def gains_of(table: Stacked, places: Places) -> Stacked:
    """Mean of the students minus mean of the peers `[..., column]`."""
    students = table[..., : places.n_students, :].mean(axis=-2)
    if not places.has_peers:
        return np.asarray(students)
    return np.asarray(students - table[..., places.n_students :, :].mean(axis=-2))


def _spread_of_rows(rows: Matrix, places: Places) -> tuple[float, int]:
    """Standard error of the difference between students and peers, and degrees of freedom."""
    n, m = places.n_students, places.n_peers
    students, peers = rows[:n], rows[n:]
    squares = np.sum((students - students.mean()) ** 2) + np.sum((peers - peers.mean()) ** 2)
    df = n + m - 2
    return float(np.sqrt(squares / df * (1 / n + 1 / m))), df


def _spread_of_columns(gains: Matrix) -> tuple[float, int]:
    """Standard error of the teacher's gain as one case, and degrees of freedom."""
    r = len(gains) - 1
    return float(gains[1:].std(ddof=1) * np.sqrt(1 + 1 / r)), r - 1


def _in_proportion(table: Matrix, places: Places) -> dict[str, float]:
    """p of both nulls for what is beyond a gain in proportion to the nearness to the peers.

    None without peers or placebos, or where the peers are near to no placebo.

    Args:
        table: Of one reading, a column a family `[row, column]`.
        places: Who is who.
    """
    if not places.has_peers or places.n_families < MIN_FAMILIES:
        return {}
    levels = table[places.n_students :].mean(axis=0)
    own, others = float(levels[0]), levels[1:]
    squares = float(np.sum(others**2))
    if not (own > 0 and squares > SPREAD_FLOOR):
        return {}
    weights = own * others / squares
    rows = table[:, 0] - table[:, 1:] @ weights
    gains = gains_of(table, places)
    beyond = float(gains[0] - gains[1:] @ weights)
    left = gains[1:] - (gains[1:] @ others) / squares * others
    df = places.n_families - 1
    error = math.sqrt(float(np.sum(left**2)) / df * (1 + own**2 / squares))
    return {
        "peers": _doubled(beyond, *_spread_of_rows(rows, places)),
        "placebos": _doubled(beyond, error, df),
    }


def _kind_of(kinds: Sequence[str], is_in_proportion: bool) -> str:
    """What a p-value is of, in words."""
    twice = ", each of differences and in proportion" if is_in_proportion else ""
    return " and ".join(kinds) + twice + ", one-sided, doubled"


def _doubled(value: float, error: float, df: int) -> float:
    """p of an excess above 0, doubled: the upper half of a two-sided test."""
    if not error > SPREAD_FLOOR:
        return math.nan
    return min(1.0, 2 * float(stdtr(df, -value / error)))


def _variance_over_clips(values: Stacked) -> Matrix:
    """Jackknife variance of values `[1 + group, ...]`."""
    left_out = values[1:]
    n = len(left_out)
    if n < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray((n - 1) / n * np.sum((left_out - left_out.mean(axis=0)) ** 2, axis=0))


def _clips_beyond(rows: Stacked, columns: Stacked, values: Stacked, places: Places) -> float:
    """Standard error over clips that the spread between encoders does not hold yet.

    Encoders and clips are crossed: the spread between encoders on these clips holds what clips do
    to each encoder by itself, so that part is taken out of the jackknife's variance, which holds
    it too. Where nothing was copied nothing is left; a real excess varies with the clips.
    """
    whole = float(_variance_over_clips(values))
    if not math.isfinite(whole):
        return 0.0
    parts = []
    if places.has_peers:
        n = places.n_students
        groups = [rows[:, :n], rows[:, n:]]
        apart = [g - g.mean(axis=1, keepdims=True) for g in groups]
        squares = sum(float(_variance_over_clips(one).sum()) for one in apart)
        parts.append(squares / (places.n_rows - 2) * (1 / n + 1 / places.n_peers))
    if places.n_families >= MIN_FAMILIES:
        placebos = columns[:, 1:] - columns[:, 1:].mean(axis=1, keepdims=True)
        r = places.n_families
        parts.append(float(_variance_over_clips(placebos).sum()) / (r - 1) * (1 + 1 / r))
    return math.sqrt(max(0.0, whole - min(parts, default=0.0)))
