"""An average of the weights over the steps."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """average = decay average + (1 - decay) weights after each step.

    It starts as the weights are at first. Not in the papers, so off by default; worth its
    memory where the learning rate stays high.
    """

    @torch.no_grad()
    def __init__(self, weights: Sequence[Tensor], decay: float) -> None:
        self._weights = list(weights)
        self.average = [weight.detach().clone() for weight in weights]
        self._update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights of the step that was just made."""
        self._update(self.average, self._weights, 0)
