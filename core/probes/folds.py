"""Folds that never split a group, so that no clip is tested with its sibling in training.

With random folds a probe recognises the speaker, not the label: 0.9 where the truth is 0.5.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from usad_workbench.core.errors import DegenerateError, ShapeError

Codes = NDArray[np.intp]
"""A class, group or row number for each clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fold:
    """One split: row numbers of the two sides, in rising order."""

    train: Codes
    test: Codes
    unseen: Codes
    """The test rows whose class no training row has: they cannot be right."""


def grouped_folds(
    labels: Sequence[Any] | NDArray[Any],
    groups: Sequence[Any] | NDArray[Any],
    n_folds: int = 5,
    seed: int = 0,
) -> list[Fold]:
    """Folds with whole groups on one side and classes as even as groups allow.

    With fewer groups than folds there are as many folds as groups. Every clip is tested
    exactly once.

    Args:
        labels: Class of each clip.
        groups: Group of each clip (speaker, recording, or what the task asks for).
        n_folds: How many splits.
        seed: The same seed gives the same folds.

    Raises:
        ShapeError: other numbers of labels and groups, no clips, or fewer than 2 folds.
        DegenerateError: only one group.

    Source: scikit-learn's StratifiedGroupKFold.

    >>> folds = grouped_folds(list("abab"), [1, 1, 2, 2], n_folds=2)
    >>> sorted(fold.test.tolist() for fold in folds)
    [[0, 1], [2, 3]]
    """
    classes, members = codes_of(labels, "label"), codes_of(groups, "group")
    if len(classes) != len(members) or len(classes) == 0 or n_folds < 2:
        raise ShapeError(
            f"There are {len(classes)} labels, {len(members)} groups and {n_folds} folds, expected "
            "one label and one group for each clip and at least 2 folds."
        )
    n_groups = int(members.max()) + 1
    if n_groups < 2:
        raise DegenerateError(
            "All clips belong to one group, expected at least 2: nothing could be tested on "
            "a group that was not trained on. Choose another group column or add clips."
        )
    packed = _packed(classes), _packed(members)
    number = np.frombuffer(_fold_numbers(*packed, min(n_folds, n_groups), seed), dtype=np.uint16)
    folds = []
    for fold in np.unique(number):
        train, test = np.flatnonzero(number != fold), np.flatnonzero(number == fold)
        unseen = test[~np.isin(classes[test], classes[train])]
        folds.append(Fold(train=train, test=test, unseen=unseen))
    return folds


def thin_training(train: Codes, labels: Codes, max_clips: int, seed: int = 0) -> Codes:
    """At most about ``max_clips`` training rows: the same share of every class, at least one row.

    Rows and not whole groups are drawn: training takes many groups better than whole ones, and
    what keeps a test honest, groups on one side, holds for any part of the training rows.

    Args:
        train: Training rows, ascending.
        labels: Class number of each clip.
        max_clips: Each class may go over its share by less than one row.
        seed: Decides which rows stay.

    >>> thin_training(np.arange(6), np.array([0, 0, 0, 0, 1, 1]), 3).size
    3
    """
    if len(train) <= max_clips:
        return train
    classes = labels[train]
    order = np.random.default_rng(seed).permutation(len(train))
    by_class = order[np.argsort(classes[order], kind="stable")]
    sizes = np.bincount(classes)
    place = np.arange(len(train)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    kept = place < np.ceil(sizes[classes[by_class]] * (max_clips / len(train)))
    return np.sort(train[by_class[kept]])


def codes_of(ids: Sequence[Any] | NDArray[Any], what: str) -> Codes:
    """Numbers 0, 1, ... for labels or groups, by rising id.

    Raises:
        ShapeError: a missing id, or more than one axis.

    >>> codes_of(["b", "a", "b"], "label").tolist()
    [1, 0, 1]
    """
    array = np.asarray(ids)
    if array.dtype.kind not in "iub":
        missing = [row for row, item in enumerate(ids) if _is_missing(item)]
        if missing:
            raise ShapeError(
                f"{len(missing)} clips have no {what} (first: row {missing[0]}), expected one for "
                "each clip. Leave these clips out of the task."
            )
        array = np.asarray([str(item) for item in ids], dtype=np.str_)
    if array.ndim != 1:
        raise ShapeError(f"The {what}s have shape {array.shape}, expected one for each clip.")
    return np.unique(array, return_inverse=True)[1].astype(np.intp)


def _is_missing(item: Any) -> bool:
    return item is None or (isinstance(item, float) and math.isnan(item))


_Packed = tuple[str, bytes]
"""Numbers in their smallest type and as bytes: what a cache can know them by."""


def _packed(codes: Codes) -> _Packed:
    small = codes.astype(np.min_scalar_type(int(codes.max())))
    return small.dtype.str, small.tobytes()


# Many encoders and layers are probed on the same clips; a split costs more than a k-NN probe.
@lru_cache(maxsize=256)
def _fold_numbers(classes: _Packed, members: _Packed, n_folds: int, seed: int) -> bytes:
    """The fold in which each row is tested, as uint16."""
    labels, groups = (np.frombuffer(b, dtype=t).astype(np.intp) for t, b in (classes, members))
    # scikit-learn refuses more folds than the largest class has members.
    n_folds = max(2, min(n_folds, int(np.bincount(labels).max())))
    number = np.zeros(len(labels), dtype=np.uint16)
    if np.bincount(labels).max() < 2:
        return (groups % n_folds).astype(np.uint16).tobytes()
    splitter = StratifiedGroupKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class with fewer members than folds is counted in ``Fold.unseen`` instead.
        warnings.simplefilter("ignore", UserWarning)
        for fold, (_, test) in enumerate(splitter.split(labels[:, None], labels, groups)):
            number[test] = fold
    return number.tobytes()
