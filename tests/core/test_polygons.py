"""Points inside of polygons, against the even-odd rule over every point and every edge."""

import numpy as np
import numpy.typing as npt
import pytest

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.polygons import inside_polygon

Corners = list[tuple[float, float]]
SIDE = 65_534


def literal(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], corners: Corners
) -> npt.NDArray[np.bool_]:
    inside = np.zeros(len(x), dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if y0 != y1:
            meets = (y0 > y) != (y1 > y)
            inside ^= meets & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def drawn(kind: str, rng: np.random.Generator) -> Corners:
    n = int(rng.integers(3, 40))
    if kind == "crossing":
        corners = rng.random((n, 2))
    elif kind == "lasso":
        angle = np.sort(rng.random(n)) * 2 * np.pi
        radius = 0.1 + 0.4 * rng.random(n)
        corners = 0.5 + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    elif kind == "on the grid":
        corners = rng.integers(0, 40, (n, 2)) * 1600 / SIDE
    else:  # far smaller than what lies between most points
        corners = 0.5 + 0.001 * rng.standard_normal((n, 2))
    return [(float(x), float(y)) for x, y in corners]


@pytest.mark.parametrize("kind", ["crossing", "lasso", "on the grid", "tiny"])
@pytest.mark.parametrize("spacing", [1, 1600])
def test_every_point_is_where_even_and_odd_put_it(kind: str, spacing: int) -> None:
    rng = np.random.default_rng(spacing)
    n_inside = 0
    for _ in range(25):
        x, y = rng.integers(0, SIDE // spacing, (2, 3000)) * spacing / SIDE
        if kind == "tiny":
            x, y = 0.5 + (x - 0.5) / 200, 0.5 + (y - 0.5) / 200
        corners = drawn(kind, rng)
        found = inside_polygon(x, y, corners)
        np.testing.assert_array_equal(found, literal(x, y, corners))
        n_inside += found.sum()
    assert n_inside > 1000


def test_a_line_holds_nothing() -> None:
    points = np.linspace(0, 1, 101)
    assert not inside_polygon(points, points, [(0.5, 0), (0.5, 0.5), (0.5, 1)]).any()
    assert not inside_polygon(points, points, [(0, 0.5), (0.5, 0.5), (1, 0.5)]).any()
    assert len(inside_polygon(points[:0], points[:0], [(0, 0), (1, 0), (1, 1)])) == 0


@pytest.mark.parametrize("size", [1e-320, 1e-300, 1e-12, 1e-8, 1e8])
def test_polygons_may_be_as_small_and_as_large_as_numbers_are(size: float) -> None:
    rng = np.random.default_rng(0)
    x, y = np.concatenate([[[0.0], [0.0]], rng.random((2, 500)), size * rng.random((2, 500))], 1)
    corners = [(0.0, 0.0), (size, 0.0), (0.7 * size, 0.4 * size), (0.0, size)]
    found = inside_polygon(x, y, corners)
    np.testing.assert_array_equal(found, literal(x, y, corners))
    assert found[0]


@pytest.mark.parametrize(
    "corners",
    [
        [],
        [(0, 0), (1, 1)],
        [(0, 0), (1, 0), (float("nan"), 1)],
        [(0, 0), (1, 0), (1e300, 1)],
        [(-1e308, -1e308), (1e308, -1e308), (0, 1e308)],
        [(0, 0)] * 5000,
    ],
)
def test_what_is_no_polygon_is_refused(corners: Corners) -> None:
    with pytest.raises(ConfigError):
        inside_polygon(np.zeros(1), np.zeros(1), corners)
