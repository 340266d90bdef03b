"""Neighbours that share the corpus because of it, or only because of their labels."""

import numpy as np
import pytest

from usad_workbench.core.bias.factors import categorical, continuous
from usad_workbench.core.bias.neighbourhoods import centred_neighbours
from usad_workbench.core.bias.shortcuts import neighbour_attribute
from usad_workbench.core.errors import DegenerateError, ShapeError


def clips(seed: int, by_corpus: float, by_label: float):  # type: ignore[no-untyped-def]
    """48 clusters of 4; the corpus goes with the label in three of four clusters."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(48), 4)
    label = np.arange(48) % 2
    corpus = np.where(rng.random(48) < 0.75, label, 1 - label)
    x = 0.5 * rng.normal(size=(48, 8))[unit] + 0.5 * rng.normal(size=(192, 8))
    x[:, 0] += by_label * label[unit]
    x[:, 1] += by_corpus * corpus[unit]
    return centred_neighbours(x, 10, unit), label[unit], corpus[unit], unit


def test_corpus_beyond_the_label_is_found() -> None:
    near, label, corpus, unit = clips(0, 4.0, 4.0)
    found = neighbour_attribute(near, categorical(corpus), unit, label)
    assert found.p_value < 0.01
    assert found.ci_low > 0
    assert found.influence.mean() == pytest.approx(found.excess)


def test_corpus_by_the_label_alone_is_no_shortcut() -> None:
    near, label, corpus, unit = clips(1, 0.0, 4.0)
    found = neighbour_attribute(near, categorical(corpus), unit, label)
    assert abs(found.excess) < 0.05
    naive = neighbour_attribute(near, categorical(corpus), unit)
    assert naive.excess > 0.05  # without labels content passes for a shortcut


def test_loudness_that_varies_in_clusters() -> None:
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(30), 6)
    loud = rng.normal(size=180)
    x = rng.normal(size=(180, 6))
    x[:, 0] += 5 * loud
    found = neighbour_attribute(centred_neighbours(x, 10, unit), continuous(loud), unit)
    assert found.excess > 0.4
    assert found.p_value < 0.01
    other = neighbour_attribute(
        centred_neighbours(x, 10, unit), continuous(rng.normal(size=180)), unit
    )
    assert abs(other.excess) < 0.1


def test_degenerate_input_is_named() -> None:
    near = np.array([[1], [0], [0], [0]])
    with pytest.raises(DegenerateError):
        neighbour_attribute(near, categorical(list("aabb")), [0, 1, 2, 3], list("wxyz"))
    with pytest.raises(ShapeError):
        neighbour_attribute(near, categorical(list("aab")), [0, 1, 2, 3])
