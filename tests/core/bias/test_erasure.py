"""T16 and T17: what LEACE takes, what a fresh probe still finds, and the naive trap.

``LEACE_VALUES`` are of the package concept-erasure 0.2.4 (torch), made by
``reference_values.py``.
"""

import numpy as np
import pytest

from usad_workbench.core.bias._linear import class_scores
from usad_workbench.core.bias.erasure import (
    check_erasure,
    fit_leace,
    fit_random_eraser,
    indicators,
    reliance,
)
from usad_workbench.core.bias.factors import categorical
from usad_workbench.core.errors import DegenerateError, ShapeError

LEACE_VALUES = [
    [3.136773, 3.74429357, 0.05315198, -1.73538241, -6.31361287],
    [-7.36773526, 0.51854776, -4.13897893, 2.64264771, 3.49180656],
    [2.38467751, -0.16835185, 1.31741423, -0.91005704, -1.4160133],
]


def read(x, z, train, test) -> float:  # type: ignore[no-untyped-def]
    return float(np.mean(np.argmax(class_scores(x, z, 2, train, test), axis=1) == z[test]))


def planted(seed: int, n: int = 240, clips: int = 5, dim: int = 32):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(n), clips)
    z = rng.permutation(np.arange(n) % 2)[unit]
    x = 0.3 * rng.normal(size=(n, dim))[unit] + rng.normal(size=(n * clips, dim))
    x[:, :4] += 0.8 * (2 * z[:, None] - 1)
    return x @ rng.normal(size=(dim, dim)), z, unit


def test_values_are_those_of_concept_erasure() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5))
    z = rng.integers(0, 3, 40)
    eraser = fit_leace(x, indicators(z))
    assert eraser.rank == 2
    np.testing.assert_allclose(eraser.apply(x)[:3], LEACE_VALUES, atol=1e-8)


def test_no_covariance_is_left_and_held_out_clips_are_at_chance() -> None:
    x, z, unit = planted(0)
    train, test = np.flatnonzero(unit < 160), np.flatnonzero(unit >= 160)
    eraser = fit_leace(x[train], indicators(z[train]))
    erased = eraser.apply(x)
    covariance = (erased[train] - erased[train].mean(0)).T @ (z[train] - z[train].mean())
    assert np.abs(covariance / len(train)).max() < 1e-10
    assert read(x, z, train, test) > 0.85
    assert read(erased, z, train, test) <= 0.55
    other = fit_random_eraser(x[train], eraser.rank)
    assert abs(read(other.apply(x), z, train, test) - read(x, z, train, test)) < 0.05


def test_an_eraser_that_saw_the_test_clips_goes_below_chance() -> None:
    rng = np.random.default_rng(0)
    z = np.arange(80) % 2
    x = rng.normal(size=(80, 60)) + z[:, None]
    erased = fit_leace(x, indicators(z)).apply(x)
    rows = np.arange(80)
    parts = [rows[rows // 2 % 5 == fold] for fold in range(5)]
    cheated = np.mean([read(erased, z, np.setdiff1d(rows, part), part) for part in parts])
    assert cheated < 0.45
    assert check_erasure(x, categorical(z), rows).after > 0.45


def test_fresh_probe_finds_more_than_the_erasers_own() -> None:
    x, z, unit = planted(1)
    found = check_erasure(x, categorical(z), unit)
    assert found.before > 0.85
    assert 0.45 < found.after < 0.68  # erasure from half of the speakers is imperfect
    assert found.after_ci_low < found.after < found.after_ci_high


def test_variance_is_invisible_to_linear_readers_and_survives() -> None:
    rng = np.random.default_rng(0)
    z = np.repeat(np.arange(300) % 2, 4)
    x = rng.normal(size=(1200, 6)) * np.where(z, 2.5, 0.6)[:, None]
    factor, unit = categorical(z), np.repeat(np.arange(300), 4)
    linear = check_erasure(x, factor, unit)
    assert abs(linear.before - 0.5) < 0.08
    assert abs(linear.after - 0.5) < 0.08
    assert check_erasure(x, factor, unit, reader="mlp", n_folds=2).after > 0.7


def test_reliance_is_what_the_nuisance_gave_the_task() -> None:
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(120), 6)
    z = np.repeat(np.arange(120) % 2, 6)
    task = np.where(rng.random(720) < 0.8, z, 1 - z)
    x = rng.normal(size=(720, 12))
    x[:, 0] += 3 * z
    x[:, 1] += 1.0 * task
    nuisance, wanted = categorical(z), categorical(task)
    assert reliance(x, nuisance, wanted, unit).ci_low > 0.03
    unrelated = categorical(np.repeat(rng.permutation(np.arange(120) % 2), 6))
    assert abs(reliance(x, unrelated, wanted, unit).value) < 0.05


def test_degenerate_input_is_named() -> None:
    with pytest.raises(DegenerateError):
        fit_leace(np.ones((5, 2)), np.arange(5.0)[:, None])
    with pytest.raises(ShapeError):
        fit_leace(np.eye(5), np.arange(4.0)[:, None])
    with pytest.raises(DegenerateError):
        check_erasure(np.eye(4), categorical([0, 1, 0, 1]), [0, 0, 1, 1])
    with pytest.raises(ShapeError):
        fit_random_eraser(np.eye(3), 4)
