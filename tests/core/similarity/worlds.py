"""Encoders that share content without copying, and some that copy."""

from dataclasses import dataclass

import numpy as np

from usad_workbench.core.similarity.excess import excess_similarity

N_FACTORS, DIM, PER_CLUSTER = 6, 16, 4


@dataclass(frozen=True)
class World:
    student: np.ndarray
    teacher: np.ndarray
    controls: list[np.ndarray]
    clusters: np.ndarray


def draw_world(
    rng: np.random.Generator,
    *,
    copied: float,
    n_controls: int,
    n_clusters: int = 30,
    spread: float = 0.1,
    loudness: float = 1.0,
) -> World:
    """Every encoder hears the same content through its own ears; the student may copy.

    Args:
        rng: Source of chance.
        copied: Share of the student's own part that is the teacher's own part.
        n_controls: Encoders drawn like the teacher, and like a student that copies nothing.
        n_clusters: Speakers, of four clips each.
        spread: Log standard deviation of how well encoders hear the content.
        loudness: Size of the content beside every encoder's own part.
    """
    clusters = np.repeat(np.arange(n_clusters), PER_CLUSTER)
    n = len(clusters)

    def factors() -> np.ndarray:
        of_cluster = rng.normal(size=(n_clusters, N_FACTORS))[clusters]
        return np.asarray(rng.normal(size=(n, N_FACTORS)) + of_cluster)

    def through_ears(what: np.ndarray, size: float = 1.0) -> np.ndarray:
        ears = np.linalg.qr(rng.normal(size=(DIM, N_FACTORS)))[0].T
        return np.asarray(size * what @ ears) + 0.3 * rng.normal(size=(n, DIM))

    def heard() -> np.ndarray:
        return through_ears(content, loudness * np.exp(spread * rng.normal()))

    content, own = factors(), factors()
    controls = [heard() + through_ears(factors()) for _ in range(n_controls)]
    kept = np.sqrt(copied) * own + np.sqrt(1 - copied) * factors()
    student = heard() + through_ears(kept)
    return World(student, heard() + through_ears(own), controls, clusters)


def rejection_rate(
    n_worlds: int,
    n_controls: int,
    *,
    slot: str,
    seed: int,
    copied: float = 0.0,
    measure: str = "debiased_linear_cka",
    spread: float = 0.1,
) -> float:
    """How often p is at most 0.05."""
    rng = np.random.default_rng(seed)
    p_values = []
    for _ in range(n_worlds):
        world = draw_world(rng, copied=copied, n_controls=n_controls, spread=spread)
        found = excess_similarity(
            world.student,
            world.teacher,
            world.controls,
            world.clusters,
            slot=slot,
            measure=measure,
        )
        p_values.append(found.p_value)
    return float(np.mean(np.asarray(p_values) <= 0.05))
