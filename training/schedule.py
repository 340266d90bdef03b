"""The learning rate over the steps."""


def learning_rate(step: int, *, peak: float, warmup_steps: int, n_steps: int) -> float:
    """Linear from 0 to the peak, then linear to 0 behind the last step.

    Steps count from 0. Source: USAD (arXiv 2506.18843), sec. IV-B and table II ("linear
    learning rate scheduler with warmup").

    >>> [learning_rate(s, peak=1.0, warmup_steps=2, n_steps=6) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return peak * (n_steps - step) / (n_steps - warmup_steps)
