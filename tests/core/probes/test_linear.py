import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from usad_workbench.core.probes import LinearProbe
from usad_workbench.core.probes.blocks import scaled_features
from usad_workbench.core.probes.linear import PENALTIES, _principal_axes, fit_path


@pytest.mark.parametrize(("n", "d", "n_classes"), [(120, 8, 2), (150, 30, 5), (80, 200, 3)])
def test_weights_are_those_of_scikit_learn(n, d, n_classes):
    rng = np.random.default_rng(d)
    labels = np.arange(n) % n_classes
    x = rng.normal(size=(n, d)) * rng.exponential(size=d) + 3
    x[:, :n_classes] += 1.5 * np.eye(n_classes)[labels]
    features = scaled_features(x, np.arange(n))
    axes = _principal_axes(features)
    path = fit_path(features @ axes, labels, PENALTIES)
    for penalty, (weights, intercept) in zip(PENALTIES[:4], path, strict=False):
        peer = LogisticRegression(C=1 / (penalty * n), max_iter=10_000, tol=1e-9)
        peer.fit(features, labels)
        ours = features @ axes @ weights + intercept
        theirs = peer.decision_function(features)
        if n_classes == 2:  # one column there; ours are the two halves of it
            ours = ours[:, 1] - ours[:, 0]
            peer.C *= 2
            theirs = peer.fit(features, labels).decision_function(features)
        else:
            ours = ours - ours.mean(axis=1, keepdims=True)
            theirs = theirs - theirs.mean(axis=1, keepdims=True)
        assert np.abs(ours - theirs).max() < 0.02 * np.abs(theirs).max()


def test_features_use_the_statistics_of_the_training_rows_only():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 4))
    train = np.arange(30)
    changed = x.copy()
    changed[30:] = 1e6
    first = scaled_features(x, train)
    np.testing.assert_allclose(first[train], scaled_features(changed, train)[train])
    np.testing.assert_allclose(first[train].mean(axis=0), 0, atol=1e-12)
    assert np.mean(np.sum(first[train] ** 2, axis=1)) == pytest.approx(1)


def test_constant_dims_and_one_class():
    rng = np.random.default_rng(2)
    labels = np.arange(40) % 2
    x = np.hstack([rng.normal(size=(40, 2)) + 5 * labels[:, None], np.full((40, 1), 0.1)])
    train, test = np.arange(30), np.arange(30, 40)
    probe = LinearProbe(x, labels)
    assert probe.predict(train, test).shape == (len(PENALTIES), 10)
    np.testing.assert_array_equal(probe.predict(train, test)[1], labels[test])
    ones = np.flatnonzero(labels == 1)
    assert set(probe.predict(ones, test).ravel()) == {1}
    nothing = LinearProbe(np.ones((40, 2)), labels).predict(train, test)
    assert nothing.shape == (len(PENALTIES), 10)


def test_blocks_count_alike_whatever_their_norm():
    rng = np.random.default_rng(3)
    labels = np.arange(120) % 3
    told = rng.normal(size=(120, 6)) + 2 * np.eye(3, 6)[labels]
    noise = rng.normal(size=(120, 30))
    train, test = np.arange(90), np.arange(90, 120)
    plain = LinearProbe([told, noise], labels).predict(train, test)
    loud = LinearProbe([told, 1e4 * noise], labels).predict(train, test)
    assert np.mean(plain == loud) > 0.99
