"""Coverage and false positives over 1000 data sets; results in SIMULATIONS_inheritance.md.

The fast versions run with the measures: T21 in ``tests/numerics``.
"""

import pytest

from tests.core.similarity.simulate_inheritance import (
    MEASURES,
    pair_coverage,
    pair_false_positives,
)

pytestmark = pytest.mark.long

N_WORLDS = 1000
"""17 minutes in all on a core shared with other work; the rates below are those of this many."""


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURES)
def test_intervals_of_a_pair_cover(measure):
    assert 0.92 <= pair_coverage(measure, N_WORLDS) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("measure", MEASURES)
def test_false_positives_of_a_pair(measure):
    assert 0.03 <= pair_false_positives(measure, N_WORLDS) <= 0.07
