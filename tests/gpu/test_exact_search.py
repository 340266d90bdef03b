"""Exact search on an accelerator, or on the CPU where there is none."""

import numpy as np
import pytest
import torch

from usad_workbench.core.metrics import METRICS, Metric
from usad_workbench.indexes.torch_search import exact_search, neighbour_lists


@pytest.mark.parametrize("metric", METRICS)
def test_a_device_finds_what_the_cpu_finds(metric: Metric, device: torch.device) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3000, 48)).astype(np.float32)
    vectors[100:200] = vectors[7]
    vectors[[3, 2999]] = 0
    for way in (
        lambda d: neighbour_lists(vectors, 9, metric=metric, device=d),
        lambda d: exact_search(vectors, vectors[::50] + 1, 9, metric=metric, device=d),
    ):
        there, here = way(device), way("cpu")
        np.testing.assert_array_equal(there.ids, here.ids)
        np.testing.assert_allclose(there.scores, here.scores, rtol=2e-7)
