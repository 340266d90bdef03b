"""The share of a similarity that a nuisance carries: planted, and by the definition of LEACE."""

import numpy as np
import pytest

from usad_workbench.core.bias.erasure import fit_leace
from usad_workbench.core.bias.factors import categorical, continuous
from usad_workbench.core.bias.nuisance_share import ErasedPair, carried_share
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import debiased_linear_cka

N_CLUSTERS, N_PER = 40, 6
N = N_CLUSTERS * N_PER
CLUSTERS = np.repeat(np.arange(N_CLUSTERS), N_PER)
SEX = CLUSTERS % 2


def sides(content: float, gender: float, seed: int = 0, dim: int = 10) -> list[np.ndarray]:
    """Two encoders with common content and gender, each through a turn of its own."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(N, 3)) * content
    both = np.column_stack([common, gender * (SEX - 0.5)])
    return [
        np.column_stack([both, 0.5 * rng.normal(size=(N, dim - 4))])
        @ np.linalg.qr(rng.normal(size=(dim, dim)))[0]
        for _ in range(2)
    ]


@pytest.mark.parametrize("dim", [10, 400])
def test_without_is_leace_on_the_same_clips(dim: int) -> None:
    x, _ = sides(1.0, 3.0, dim=dim)
    for factor in (categorical(SEX.tolist()), continuous(np.arange(N) ** 0.5)):
        concept = factor.columns(np.arange(N))
        erased = fit_leace(x, concept).apply(x)
        erased = erased - erased.mean(axis=0)
        ours = ErasedPair(x).without(concept)
        assert np.abs(ours @ ours.T - erased @ erased.T).max() < 1e-7 * np.abs(x @ x.T).max()


def test_the_share_is_what_was_planted() -> None:
    factor = categorical(SEX.tolist())
    bare = debiased_linear_cka(*sides(1.0, 0.0), CLUSTERS)
    for gender in (1.5, 4.0):
        x, y = sides(1.0, gender)
        found = carried_share(ErasedPair(x), ErasedPair(y), factor, CLUSTERS)
        assert found.similarity == pytest.approx(debiased_linear_cka(x, y, CLUSTERS))
        assert found.after == pytest.approx(bare, abs=0.03)
        expected = 1 - bare / found.similarity
        assert found.ci_low - 0.03 < expected < found.ci_high + 0.03
        assert found.share == pytest.approx(expected, abs=0.03)
    only, other = sides(0.0, 4.0)
    alone = carried_share(ErasedPair(only), ErasedPair(other), factor, CLUSTERS)
    assert alone.share == pytest.approx(1.0, abs=0.03)


def test_what_is_not_there_carries_no_more_than_chance() -> None:
    # LEACE takes a whole direction for labels that hardly lean on any.
    found = carried_share(
        *(ErasedPair(one) for one in sides(1.0, 0.0)), categorical(SEX.tolist()), CLUSTERS
    )
    assert abs(found.share - found.by_chance) < 0.06
    # As often in either sex: gender carries most of the similarity, this nothing.
    other = CLUSTERS // 2 % 2
    assert np.corrcoef(other, SEX)[0, 1] == 0
    found = carried_share(
        *(ErasedPair(one) for one in sides(1.0, 4.0)), categorical(other.tolist()), CLUSTERS
    )
    assert abs(found.share) < 0.05


def test_what_has_no_share_says_so() -> None:
    rng = np.random.default_rng(0)
    x, y = (ErasedPair(rng.normal(size=(N, 5))) for _ in range(2))
    factor = categorical(SEX.tolist())
    found = carried_share(x, y, factor, CLUSTERS)
    assert np.isnan(found.share)
    assert found.reason == "no share: the similarity is not above 0"
    one = [ErasedPair(side) for side in sides(1.0, 1.0)]
    few = carried_share(*one, factor, np.arange(N) % 4)
    assert np.isnan(few.ci_low)
    assert "clusters" in few.reason
    with pytest.raises(ShapeError, match="same clips"):
        carried_share(x, ErasedPair(rng.normal(size=(9, 5))), factor, CLUSTERS)
    with pytest.raises(DegenerateError):
        ErasedPair(np.ones((N, 3)))
