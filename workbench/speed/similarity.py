"""The observed cube of similarities: student layers × teacher layers × domains."""

from importlib import import_module
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.similarity.cube import observed_cube
from usad_workbench.core.similarity.rsa import rsa_spearman
from usad_workbench.workbench.speed.measure import (
    Row,
    make_row,
    matmul_job,
    median_seconds,
    seconds_of,
)

DIM = 768
LARGE_CLIPS = 20_000
PEER_CLIPS = 5_000
RSA_CLIPS = 1_000
TOLERANCE = 1e-10
Layers = list[NDArray[np.float32]]


def bench_similarity_cube(
    n_layers: int = 13, n_large: int = LARGE_CLIPS, n_peer: int = PEER_CLIPS, dim: int = DIM
) -> list[Row]:
    """The cube's rate against a matrix product, and its time against Gram matrices.

    The peer computes each cell from two full Gram matrices, as the definition is written, on
    the same clips. It is timed on one teacher layer for each student layer and counted for all
    pairs, which cost it the same; these values must be equal to 1e-10.
    """
    product, operations = matmul_job("cpu", torch.float64)
    rows = [
        _rate(min(4, n_layers), n_large, dim, operations / median_seconds({"mm": product})["mm"])
    ]
    rows.append(_against_gram_matrices(n_layers, n_peer, dim))
    if find_spec("rsatoolbox") is not None:
        rows.append(_rsa(dim))
    return rows


def _rate(n_layers: int, n_clips: int, dim: int, peak: float) -> Row:
    student, teacher = _layers(n_layers, n_clips, dim)
    domains = np.arange(n_clips) % 4
    seconds = median_seconds({"cube": lambda: observed_cube(student, teacher, domains)}, 3)["cube"]
    # Each pair once; each layer with itself is symmetric, half of a product.
    operations = 2.0 * n_clips * dim**2 * (n_layers**2 + n_layers)
    return make_row(
        f"similarity-cube, {n_layers} × {n_layers} layers × 4 domains, {n_clips} clips × {dim}, "
        f"{seconds:.1f} s",
        operations / seconds / 1e9,
        "GFLOP/s",
        "float64 matrix product on this machine",
        peak / 1e9,
    )


def _against_gram_matrices(n_layers: int, n_clips: int, dim: int) -> Row:
    student, teacher = _layers(n_layers, n_clips, dim)
    one_domain = ["all"] * n_clips
    ours: list[NDArray[np.float64]] = []
    seconds = median_seconds(
        {"cube": lambda: ours.append(observed_cube(student, teacher, one_domain).values[0])}, 3
    )["cube"]
    literal = np.empty(n_layers)

    def fill() -> None:
        for i, (x, y) in enumerate(zip(student, teacher, strict=True)):
            literal[i] = gram_cka(x.astype(np.float64), y.astype(np.float64))

    peer_seconds = seconds_of(fill) * n_layers
    difference = float(np.abs(np.diag(ours[0]) - literal).max())
    if not difference <= TOLERANCE:
        raise DegenerateError(
            f"The cube and the definition differ by {difference:.1e}, expected at most {TOLERANCE}. "
            "This is an error of the program: report it with this machine's processor."
        )
    # Cubes per second, so that more is better for both.
    return make_row(
        f"similarity-cube, {n_layers} × {n_layers} layers, {n_clips} clips × {dim}, {seconds:.1f} s, "
        f"values equal to {difference:.0e}",
        1 / seconds,
        "1/s",
        f"NumPy, debiased CKA from full Gram matrices, {n_layers} pairs timed",
        1 / peer_seconds,
    )


def gram_cka(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Debiased CKA from full Gram matrices, as Székely and Rizzo 2014 write it.

    >>> x = np.random.default_rng(0).normal(size=(9, 3))
    >>> round(gram_cka(x, 2 * x), 9)
    1.0
    """
    a, b = _u_centred(x @ x.T), _u_centred(y @ y.T)
    return float(np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)))


def _u_centred(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    n = len(gram)
    np.fill_diagonal(gram, 0.0)
    means = gram.sum(axis=0) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    gram = gram - means[:, None] - means[None, :]
    np.fill_diagonal(gram, 0.0)
    return gram


def _rsa(dim: int) -> Row:
    data, rdm = import_module("rsatoolbox.data"), import_module("rsatoolbox.rdm")
    (x,), (y,) = _layers(1, RSA_CLIPS, dim)

    def peer() -> None:
        sides = [rdm.calc_rdm(data.Dataset(side)) for side in (x, y)]
        rdm.compare(*sides, method="spearman")

    times = median_seconds({"ours": lambda: rsa_spearman(x, y), "peer": peer}, 3)
    return make_row(
        f"RSA, {RSA_CLIPS} clips × {dim}",
        1 / times["ours"],
        "1/s",
        "rsatoolbox",
        1 / times["peer"],
    )


def _layers(n_layers: int, n_clips: int, dim: int) -> tuple[Layers, Layers]:
    """Two encoders whose layers share content."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((n_clips, dim), dtype=np.float32)
    sides = [
        [shared + rng.standard_normal((n_clips, dim), dtype=np.float32) for _ in range(n_layers)]
        for _ in range(2)
    ]
    return sides[0], sides[1]
