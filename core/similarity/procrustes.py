"""Angular Procrustes distance: how far one embedding is from a rotation of another."""

import math

import numpy as np

from usad_workbench.core.arrays import Vectors, centred_unit, check_aligned


def angular_procrustes_distance(x: Vectors, y: Vectors) -> float:
    """The angle between two centred embeddings after the best rotation of one.

    A metric. Like biased CKA it falls with dims over clips for unrelated embeddings:
    compare at equal clips and dims only.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.

    Returns:
        Radians: 0 for a rotation and scaling of the other, at most pi / 2.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: values that are not finite, or all clips of one side equal.

    Source: Williams et al. 2021 (arXiv:2110.14739), angular shape metric, alpha = 1.

    >>> x = np.random.default_rng(0).normal(size=(30, 4))
    >>> round(angular_procrustes_distance(x, 3 * x[:, ::-1] + 1), 6)
    0.0
    """
    x, y = check_aligned(x, y, min_clips=2)
    x, y = centred_unit(x, "x"), centred_unit(y, "y")
    scale = float(np.linalg.norm(x) * np.linalg.norm(y))
    nuclear = float(np.linalg.norm(x.T @ y, ord="nuc")) if _is_tall(x, y) else _reduced(x, y)
    cosine = min(1.0, nuclear / scale)
    # Near 1 the arc cosine loses half of the digits; rounding of the products is not an angle.
    return 0.0 if cosine > 1 - 1e-12 else math.acos(cosine)


def _is_tall(x: Vectors, y: Vectors) -> bool:
    return bool(min(x.shape[1], y.shape[1]) <= len(x))


def _reduced(x: Vectors, y: Vectors) -> float:
    """The nuclear norm of x'y with fewer clips than dims, from the factors over clips."""
    left, right = np.linalg.qr(x.T).R, np.linalg.qr(y.T).R
    return float(np.linalg.norm(left @ right.T, ord="nuc"))
