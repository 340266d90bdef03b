"""Prints the values of fairlearn 0.15.0 that ``test_subgroups.py`` holds frozen.

Not a test dependency: `pip install fairlearn==0.15.0` in an environment of its own.
"""

import sys

import numpy as np
from fairlearn.metrics import MetricFrame, equalized_odds_difference
from sklearn.metrics import accuracy_score

rng = np.random.default_rng(5)
labels, groups = rng.integers(2, size=300), np.arange(300) % 3
flip = rng.random(300) < np.array([0.1, 0.2, 0.3])[groups]
predicted = np.where(flip, 1 - labels, labels)
frame = MetricFrame(
    metrics=accuracy_score, y_true=labels, y_pred=predicted, sensitive_features=groups
)
odds = equalized_odds_difference(labels, predicted, sensitive_features=groups)
sys.stdout.write(f"accuracy_gap {frame.difference()!r}\nodds_gap {odds!r}\n")
