import numpy as np
import pytest

from usad_workbench.core.probes import KnnProbe, knn


def literal(x, labels, train, test, k):
    """Centre with the training mean, cosine, votes, ties by sum of cosines."""
    centred = x - x[train].mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    out = []
    for row in test:
        cosine = unit[train] @ unit[row]
        near = np.argsort(-cosine, kind="stable")[:k]
        votes = {}
        for place in near:
            label = labels[train[place]]
            count, total = votes.get(label, (0, 0.0))
            votes[label] = (count + 1, total + cosine[place])
        out.append(max(votes, key=lambda label: votes[label]))
    return out


def test_against_the_literal_definition_far_from_the_origin():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, size=90)
    x = rng.normal(size=(90, 6)) + np.eye(4, 6)[labels] + 1000
    train, test = np.arange(60), np.arange(60, 90)
    for k in (1, 4, 10):
        found = KnnProbe(x, labels, k).predict(train, test)[0]
        assert found.tolist() == literal(x, labels, train, test, k)


def test_more_votes_than_training_rows():
    x = np.array([[1.0, 0.0], [0.9, 0.0], [-1.0, 0.0], [0.5, 0.0]])
    found = KnnProbe(x, np.array([1, 1, 0, 0]), 10).predict(np.array([0, 1, 2]), np.array([3]))
    assert found.tolist() == [[1]]


def test_a_tie_goes_to_the_nearer_class_then_to_the_first():
    train = np.arange(4)
    x = np.array([[1, 0.1], [1, -0.6], [1, 0.6], [-3, -0.1], [1.0, 0.5]])
    labels = np.array([2, 0, 1, 1, 0])
    near = KnnProbe(x, labels, 2).predict(train, np.array([4]))[0, 0]
    assert near == 1  # rows 2 and 0 vote, row 2 has the larger cosine
    zero = np.zeros((5, 2))
    assert KnnProbe(zero, labels, 4).predict(train[:3], np.array([4]))[0, 0] == 0


def test_blocks_count_alike_whatever_their_norm():
    rng = np.random.default_rng(1)
    labels = np.arange(200) % 2
    told = rng.normal(size=(200, 8)) + 3 * labels[:, None]
    noise = rng.normal(size=(200, 8))
    train, test = np.arange(120), np.arange(120, 200)
    plain = KnnProbe([told, noise], labels).predict(train, test)
    loud = KnnProbe([told, 1000 * noise], labels).predict(train, test)
    np.testing.assert_array_equal(plain, loud)
    assert np.mean(loud[0] == labels[test]) > 0.95
    swamped = KnnProbe(np.hstack([told, 1000 * noise]), labels).predict(train, test)
    assert np.mean(swamped[0] == labels[test]) < 0.75


def test_a_constant_block_is_left_out():
    rng = np.random.default_rng(2)
    labels = np.arange(40) % 2
    x = rng.normal(size=(40, 3)) + 4 * labels[:, None]
    train, test = np.arange(30), np.arange(30, 40)
    both = KnnProbe([x, np.ones((40, 2))], labels).predict(train, test)
    np.testing.assert_array_equal(both, KnnProbe(x, labels).predict(train, test))


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_does_not_matter(scale):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, size=50)
    x = rng.normal(size=(50, 4))
    train, test = np.arange(30), np.arange(30, 50)
    np.testing.assert_array_equal(
        KnnProbe(scale * x, labels).predict(train, test), KnnProbe(x, labels).predict(train, test)
    )


def test_blocks_of_rows_change_nothing(monkeypatch):
    rng = np.random.default_rng(4)
    x, labels = rng.normal(size=(90, 5)).astype(np.float32), rng.integers(0, 3, 90)
    train, test = np.arange(60), np.arange(60, 90)
    whole = KnnProbe(x, labels).predict(train, test)
    seen = []
    counted = knn.top_columns

    def top_columns(score, k):
        seen.append(score.shape)
        return counted(score, k)

    monkeypatch.setattr(knn, "BLOCK_ROWS", 7)
    monkeypatch.setattr(knn, "top_columns", top_columns)
    np.testing.assert_array_equal(KnnProbe(x, labels).predict(train, test), whole)
    assert max(seen) == (7, 60) and len(seen) == 5
