"""How often every interval holds the population value, by the number of clusters; writes a table.

Run as ``python -m tests.core.similarity.simulate_intervals STATE [N_WORLDS] [MINUTES]`` in the
repository: data sets that are in the folder STATE are not drawn again, so that it can be stopped
and go on, and ``N_WORLDS`` be raised later. The truth is never the mean of the estimates, but for
quantities that are defined by the number of clips: shares of neighbours and what a regression can
predict from so many clips. There it is the mean over all data sets, which is what it says.
"""

import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from usad_workbench.core.bias.associations import AssociationTest, association
from usad_workbench.core.bias.displacement import sensitivity, spread
from usad_workbench.core.bias.error_consistency import error_consistency
from usad_workbench.core.bias.neighbourhoods import (
    centred_neighbours,
    label_matches,
    neighbour_interval,
)
from usad_workbench.core.bias.subgroups import group_gap
from usad_workbench.core.probes import paired_difference
from usad_workbench.core.probes.evaluate import evaluate_predictions
from usad_workbench.core.similarity import LayerMatrix, jackknife_difference, layer_similarity
from usad_workbench.core.similarity.attribution import attribute
from usad_workbench.core.similarity.partial import partial_cka
from usad_workbench.core.similarity.variance import partition_variance

RESULTS = Path(__file__).with_name("SIMULATIONS_intervals.md")
N_CLUSTERS, PER_CLUSTER = (8, 12, 30, 100), 5
N_FACTORS, DIM = 6, 12
BLOCK = 25
"""Data sets that are drawn before they are written."""
Interval = tuple[float, float, float]
"""value, low, high"""
Draw = Callable[[np.random.Generator, int], dict[str, Interval]]


def parts(rng: np.random.Generator, n_clusters: int, dim: int, between: float = 0.5) -> np.ndarray:
    """Clips of a variance of 1, a share of it between clusters."""
    clusters = np.repeat(np.arange(n_clusters), PER_CLUSTER)
    of_cluster = rng.normal(size=(n_clusters, dim))[clusters]
    own = rng.normal(size=(len(clusters), dim))
    return np.asarray(np.sqrt(between) * of_cluster + np.sqrt(1 - between) * own)


def clusters_of(n_clusters: int) -> np.ndarray:
    return np.repeat(np.arange(n_clusters), PER_CLUSTER)


# Two encoders: common content through maps of their own, a part of their own, loud dims.


@cache
def maps() -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(5).normal(size=(2, N_FACTORS, DIM)) / np.sqrt(N_FACTORS)
    loud = np.ones(DIM)
    loud[0] = 3.0
    return a * loud, b * loud[::-1]


def covariances(share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of both encoders and between them, in the population."""
    a, b = maps()
    return a.T @ a + np.eye(DIM), b.T @ b + np.eye(DIM), share * a.T @ b


def cka_of(x: np.ndarray, y: np.ndarray, cross: np.ndarray) -> float:
    return float(np.sum(cross**2) / np.sqrt(np.sum(x**2) * np.sum(y**2)))


def standardised_cka_of(x: np.ndarray, y: np.ndarray, cross: np.ndarray) -> float:
    u, v = (1 / np.sqrt(np.diag(side)) for side in (x, y))
    return cka_of(x * np.outer(u, u), y * np.outer(v, v), cross * np.outer(u, v))


def encoders(
    rng: np.random.Generator, n_clusters: int, share: float
) -> tuple[np.ndarray, np.ndarray]:
    a, b = maps()
    heard = parts(rng, n_clusters, N_FACTORS)
    other = share * heard + np.sqrt(1 - share**2) * parts(rng, n_clusters, N_FACTORS)
    return (
        heard @ a + parts(rng, n_clusters, DIM),
        other @ b + parts(rng, n_clusters, DIM),
    )


def similarity(share: float) -> Draw:
    def draw(rng: np.random.Generator, n_clusters: int) -> dict[str, Interval]:
        x, y = encoders(rng, n_clusters, share)
        found = {}
        for measure in ("debiased_linear_cka", "standardised_linear_cka", "mutual_knn"):
            matrix = layer_similarity(
                [x], [y], clusters_of(n_clusters), measure=measure, n_permutations=0
            )
            found[measure] = of_matrix(matrix)
        return found

    return draw


def of_matrix(matrix: LayerMatrix) -> Interval:
    return matrix.values[0, 0], matrix.ci_low[0, 0], matrix.ci_high[0, 0]


def difference(teachers_share: float, controls_share: float) -> Draw:
    """A teacher and a control that hear so much of what the student hears."""

    def draw(rng: np.random.Generator, n_clusters: int) -> dict[str, Interval]:
        a, b = maps()
        heard = parts(rng, n_clusters, N_FACTORS)

        def other(share: float) -> np.ndarray:
            own = np.sqrt(1 - share**2) * parts(rng, n_clusters, N_FACTORS)
            return (share * heard + own) @ b + parts(rng, n_clusters, DIM)

        student = heard @ a + parts(rng, n_clusters, DIM)
        found = jackknife_difference(
            *(
                layer_similarity(
                    [student], [other(share)], clusters_of(n_clusters), n_permutations=0
                )
                for share in (teachers_share, controls_share)
            )
        )
        return {"difference of two CKA": (found.value, found.ci_low, found.ci_high)}

    return draw


def partial(rng: np.random.Generator, n_clusters: int) -> dict[str, Interval]:
    """B is near since half of it is A; A is near by itself."""
    first, second, new = (parts(rng, n_clusters, DIM) for _ in range(3))
    teachers = {"a": first, "b": np.hstack([first, second]) / np.sqrt(2)}
    found = partial_cka(np.hstack([first, new]) / np.sqrt(2), teachers, clusters_of(n_clusters))
    return {f"partial CKA: {n}": (one.value, one.ci_low, one.ci_high) for n, one in found.items()}


@cache
def partial_truths() -> dict[str, float]:
    """Products of student, a, b in the population: squares of covariances."""
    cosines = np.array([[0.5, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.5]])
    scale = np.sqrt(np.diag(cosines))
    inverse = np.linalg.inv(cosines / np.outer(scale, scale))
    return {
        f"partial CKA: {name}": float(-inverse[0, i] / np.sqrt(inverse[0, 0] * inverse[i, i]))
        for i, name in enumerate("ab", start=1)
    }


def shares(rng: np.random.Generator, n_clusters: int) -> dict[str, Interval]:
    """.5 of a, .3 of b, .2 new, nothing of c."""
    a, b, c, new = (parts(rng, n_clusters, 8, 0.3) for _ in range(4))
    student = np.hstack([np.sqrt(0.5) * a, np.sqrt(0.3) * b, np.sqrt(0.2) * new])
    found = attribute(student, {"a": a, "b": b, "c": c}, clusters_of(n_clusters), n_permutations=0)
    rows = {
        f"attribution: {n}": (found.shares[n], found.ci_low[n], found.ci_high[n]) for n in "abc"
    }
    return {**rows, "attribution: new": (found.novel, found.novel_ci_low, found.novel_ci_high)}


def variance(rng: np.random.Generator, n_clusters: int) -> dict[str, Interval]:
    """.30 only of a, .20 only of b, .30 of both, .20 new, nothing of c."""
    a, b, both, new, c = (parts(rng, n_clusters, 8, 0.3) for _ in range(5))
    blocks = zip((0.3, 0.2, 0.3, 0.2), (a, b, both, new), strict=True)
    student = np.hstack([np.sqrt(share) * x for share, x in blocks])
    teachers = {"a": np.hstack([a, both]), "b": np.hstack([b, both]), "c": c}
    found = partition_variance(student, teachers, clusters_of(n_clusters))
    return {
        f"variance: {name}": (one.value, one.ci_low, one.ci_high)
        for name, one in {"total": found.total, **found.unique}.items()
    }


def right(rng: np.random.Generator, n_clusters: int, mean: float) -> np.ndarray:
    """Which clips a probe gets right, with a skill for each cluster."""
    skill = rng.beta(12 * mean, 12 * (1 - mean), size=n_clusters)[clusters_of(n_clusters)]
    return np.asarray(rng.random(len(skill)) < skill)


def predictions(rng: np.random.Generator, n_clusters: int) -> dict[str, Interval]:
    clusters = clusters_of(n_clusters)
    a, b = right(rng, n_clusters, 0.7), right(rng, n_clusters, 0.6)
    teacher, own = right(rng, n_clusters, 0.7), right(rng, n_clusters, 0.7)
    student = np.where(rng.random(len(own)) < 0.5, teacher, own)
    kappa = error_consistency(student, teacher, clusters, n_resamples=400)
    probes = paired_difference(a, b, np.ones(len(a), bool), clusters, n_resamples=400)
    one = np.where(clusters % 2 == 0, right(rng, n_clusters, 0.8), right(rng, n_clusters, 0.6))
    gap = group_gap(one, clusters % 2, clusters, n_permutations=19, n_resamples=400)
    return {
        "kappa": (kappa.kappa, kappa.ci_low, kappa.ci_high),
        "difference of two probes": (probes.value, probes.ci_low, probes.ci_high),
        "gap of two groups": (gap.gap, gap.ci_low, gap.ci_high),
    }


def bias(rng: np.random.Generator, n_clusters: int) -> dict[str, Interval]:
    clusters = clusters_of(n_clusters)
    x = rng.normal(size=(len(clusters), DIM))
    moved = rng.exponential(size=len(x)) * rng.lognormal(-0.125, 0.5, n_clusters)[clusters]
    change = sensitivity(np.sqrt(moved)[None], clusters, spread(x, np.arange(len(x)) % 4, clusters))
    low, high, _ = change.limits()
    classes = np.arange(len(x)) % 3
    hit = right(rng, n_clusters, 0.7)
    probe = evaluate_predictions(np.where(hit, classes, (classes + 1) % 3), classes, clusters)
    near = centred_neighbours(
        parts(rng, n_clusters, DIM) + 2 * np.eye(3, DIM)[classes], 10, clusters
    )
    purity = neighbour_interval(label_matches(near, classes), near, clusters)
    return {
        "accuracy of a probe": (probe.value, probe.ci_low, probe.ci_high),
        "displacement": (float(change.displacement[0]), float(low[0]), float(high[0])),
        "share of neighbours of the class": (purity.value, purity.ci_low, purity.ci_high),
        "association d": associated(rng, n_clusters),
    }


def associated(rng: np.random.Generator, n_clusters: int) -> Interval:
    """Two groups of speakers, one of which is drawn nearer to the first of two attributes."""
    targets = parts(rng, n_clusters, DIM)
    is_first = clusters_of(n_clusters) % 2 == 0
    targets[is_first, 0] += 0.8
    x = np.vstack([targets, *(sign * ATTRIBUTES for sign in (1, -1))])
    places = np.arange(len(x))
    n = len(targets)
    test = AssociationTest(
        name="t",
        x=places[:n][is_first],
        y=places[:n][~is_first],
        a=places[n : n + len(ATTRIBUTES)],
        b=places[n + len(ATTRIBUTES) :],
    )
    units = np.concatenate([clusters_of(n_clusters), n_clusters + np.arange(len(x) - n)])
    found = association(x, test, units, n_permutations=1)
    return found.d, found.ci_low, found.ci_high


ATTRIBUTES = np.random.default_rng(6).normal(size=(20, DIM)) + 3 * np.eye(1, DIM)


DRAWS: dict[str, Draw] = {
    "alike": similarity(1.0),
    "independent": similarity(0.0),
    "nearer": difference(1.0, 0.5),
    "neither near": difference(0.0, 0.0),
    "partial": partial,
    "attribution": shares,
    "predictions": predictions,
    "bias": bias,
    "variance": variance,
}


def truths() -> dict[tuple[str, str], float]:
    """Population values by draw and quantity; what is not here is the mean of the estimates."""
    known = {
        ("nearer", "difference of two CKA"): cka_of(*covariances(1.0)) - cka_of(*covariances(0.5)),
        ("neither near", "difference of two CKA"): 0.0,
        ("predictions", "kappa"): 0.5,
        ("predictions", "difference of two probes"): 0.1,
        ("predictions", "gap of two groups"): 0.2,
        ("bias", "accuracy of a probe"): 0.7,
        ("bias", "displacement"): float(np.sqrt(1 / (2 * DIM))),
    }
    for name, share in (("alike", 1.0), ("independent", 0.0)):
        known[name, "debiased_linear_cka"] = cka_of(*covariances(share))
        known[name, "standardised_linear_cka"] = standardised_cka_of(*covariances(share))
    known |= {("partial", name): value for name, value in partial_truths().items()}
    planted = {"a": 0.5, "b": 0.3, "c": 0.0, "new": 0.2}
    return known | {("attribution", f"attribution: {n}"): v for n, v in planted.items()}


def simulate(state: Path, name: str, n_clusters: int, n_worlds: int, deadline: float) -> None:
    """Draws data sets, a block at a time, until there are enough or time is over."""
    for block in range(0, n_worlds, BLOCK):
        path = state / f"{name}-{n_clusters}-{block}.npz"
        if path.exists():
            continue
        if time.monotonic() > deadline:
            return
        rng = np.random.default_rng([block, n_clusters, *name.encode()])
        found = [DRAWS[name](rng, n_clusters) for _ in range(BLOCK)]
        arrays = {key: np.array([one[key] for one in found]) for key in found[0]}
        unfinished = path.with_suffix(".tmp.npz")
        np.savez(unfinished, **arrays)
        unfinished.rename(path)


def found_in(state: Path, name: str, n_clusters: int) -> dict[str, np.ndarray]:
    """Value, low and high of every data set `[data set, 3]`, by quantity."""
    paths = sorted(state.glob(f"{name}-{n_clusters}-[0-9]*.npz"))
    blocks = [dict(np.load(path)) for path in paths if not path.name.endswith(".tmp.npz")]
    return (
        {key: np.concatenate([one[key] for one in blocks]) for key in blocks[0]} if blocks else {}
    )


def table(state: Path) -> Iterator[str]:
    """One line for each quantity and number of clusters."""
    yield "| data | quantity | clusters | data sets | truth | mean | holds the truth | above 0 |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|"
    known = truths()
    for name in DRAWS:
        by_clusters = {n: found_in(state, name, n) for n in N_CLUSTERS}
        for key in next(iter(by_clusters.values())):
            for n_clusters, found in by_clusters.items():
                if key in found:
                    yield _line(name, key, n_clusters, found[key], known.get((name, key)))


def _line(name: str, key: str, n_clusters: int, rows: np.ndarray, known: float | None) -> str:
    value, low, high = rows[np.isfinite(rows[:, 1])].T
    head = f"| {name} | {key} | {n_clusters} | {len(rows)} |"
    if len(value) < 0.9 * len(rows):
        return f"{head} | | no interval | |"
    truth = value.mean() if known is None else known
    holds = np.mean((low <= truth) & (truth <= high))
    source = " (mean)" if known is None else ""
    return (
        f"{head} {truth:.3f}{source} | {value.mean():.3f} | {holds:.1%} | {np.mean(low > 0):.1%} |"
    )


def main() -> None:
    """Draws what is missing and writes the table."""
    state = Path(sys.argv[1])
    state.mkdir(parents=True, exist_ok=True)
    n_worlds = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    deadline = time.monotonic() + 60 * float(sys.argv[3]) if len(sys.argv) > 3 else np.inf
    for so_far in range(BLOCK, n_worlds + BLOCK, 4 * BLOCK):
        for name in DRAWS:
            for n_clusters in N_CLUSTERS:
                simulate(state, name, n_clusters, min(so_far + 3 * BLOCK, n_worlds), deadline)
    lines = [
        "# How often intervals hold the population value, by the number of clusters",
        "",
        (
            f"Clusters of {PER_CLUSTER} clips. 95% intervals; 92 to 98% is what is asked of them. "
            "Written by `python -m tests.core.similarity.simulate_intervals STATE`. The worlds stand "
            "in the script. Where the truth is a mean, the quantity is defined by the number of "
            "clips."
        ),
        "",
        *table(state),
        "",
    ]
    RESULTS.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
