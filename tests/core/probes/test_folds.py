import numpy as np
import pytest

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.probes import grouped_folds
from usad_workbench.core.probes.folds import codes_of, thin_training


def test_no_group_is_on_both_sides_and_every_clip_is_tested_once():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 23, size=200)
    labels = rng.integers(0, 4, size=200)
    for seed in range(4):
        folds = grouped_folds(labels, groups, 5, seed)
        assert len(folds) == 5
        assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(200))
        for fold in folds:
            assert not set(groups[fold.train]) & set(groups[fold.test])
            assert len(fold.train) + len(fold.test) == 200
            assert len(fold.unseen) == 0


def test_classes_are_even_where_groups_allow():
    labels = np.repeat([0, 1], [80, 20])
    folds = grouped_folds(labels, np.arange(100) // 2, 5)
    assert [int(labels[fold.test].sum()) for fold in folds] == [4] * 5


def test_seed_decides():
    labels, groups = np.arange(60) % 3, np.arange(60) // 3
    first, again, other = (grouped_folds(labels, groups, 4, seed) for seed in (1, 1, 2))
    same = [np.array_equal(a.test, b.test) for a, b in zip(first, again, strict=True)]
    differ = [np.array_equal(a.test, b.test) for a, b in zip(first, other, strict=True)]
    assert all(same)
    assert not all(differ)


def test_a_class_of_one_group_is_reported_as_unseen():
    labels = ["a"] * 10 + ["b"] * 10 + ["c"] * 3
    groups = [*range(20), 99, 99, 99]
    folds = grouped_folds(labels, groups, 5)
    assert sorted(np.concatenate([fold.unseen for fold in folds])) == [20, 21, 22]


def test_few_groups_and_rare_classes():
    folds = grouped_folds(["a", "b", "a", "b", "a", "b"], [1, 1, 2, 2, 3, 3], 5)
    assert len(folds) == 3
    alone = grouped_folds(["a", "b", "c", "d"], [1, 2, 3, 4], 5)
    assert sum(len(fold.unseen) for fold in alone) == 4


def test_wrong_input_is_refused():
    with pytest.raises(DegenerateError, match="one group"):
        grouped_folds(["a", "b"], [1, 1])
    with pytest.raises(ShapeError, match="one label and one group"):
        grouped_folds(["a", "b"], [1, 2, 3])
    with pytest.raises(ShapeError, match="at least 2 folds"):
        grouped_folds(["a", "b"], [1, 2], n_folds=1)
    with pytest.raises(ShapeError, match="1 clips have no label"):
        codes_of(["a", None], "label")
    with pytest.raises(ShapeError, match="row 1"):
        codes_of(np.array([1.0, np.nan]), "label")
    with pytest.raises(ShapeError, match="shape"):
        codes_of(np.ones((2, 2), dtype=int), "label")


def test_thinned_training_keeps_the_share_of_every_class():
    labels = np.repeat([0, 1, 2], [600, 300, 3])
    train = np.flatnonzero(np.arange(903) % 3 > 0)
    kept = thin_training(train, labels, 100, seed=1)
    assert set(kept) <= set(train) and (np.diff(kept) > 0).all()
    assert np.bincount(labels[kept]).tolist() == [67, 34, 1]
    assert thin_training(train, labels, 100, seed=1).tolist() == kept.tolist()
    assert thin_training(train, labels, 100, seed=2).tolist() != kept.tolist()
    assert thin_training(train, labels, len(train)) is train
