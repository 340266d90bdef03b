"""Lists of neighbours: exact, or of a recall that is stated and true."""

import sys
from contextlib import redirect_stdout

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from tests.stored_vectors import clustered
from usad_workbench.core.cosine import normalise
from usad_workbench.core.progress import Progress
from usad_workbench.indexes import neighbours
from usad_workbench.indexes.neighbours import find_neighbours, recall_of


def _unit(n: int = 300) -> np.ndarray:
    return normalise(clustered(n, 16, 5)[0])


def _literal(unit: np.ndarray, k: int) -> list[set[int]]:
    scores = unit.astype(np.float64) @ unit.T.astype(np.float64)
    np.fill_diagonal(scores, np.inf)
    return [set(row) for row in np.argsort(-scores, axis=1)[:, :k].tolist()]


def test_few_vectors_get_their_literal_neighbours_itself_first() -> None:
    unit = _unit(120)
    found = find_neighbours(unit, 8)
    assert (found.method, found.recall, found.n_checked) == ("exact", 1.0, 120)
    assert [set(row) for row in found.rows.tolist()] == _literal(unit, 8)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(120))
    assert (np.diff(found.distances, axis=1) >= 0).all()
    expected = [1 - unit[i] @ unit[found.rows[i, 5]] for i in range(120)]
    np.testing.assert_allclose(found.distances[:, 5], expected, atol=1e-6)


@pytest.mark.parametrize("exact_up_to", [10_000, 0])
def test_euclidean_neighbours_are_those_of_scikit_learn(exact_up_to: int) -> None:
    vectors = clustered(400, 16, 5)[0] * np.linspace(0.2, 3, 400, dtype=np.float32)[:, None]
    found = find_neighbours(vectors, 8, metric="euclidean", exact_up_to=exact_up_to)
    distances, rows = NearestNeighbors(n_neighbors=8).fit(vectors).kneighbors(vectors)
    shared = [len({*a} & {*b}) / 8 for a, b in zip(found.rows.tolist(), rows.tolist(), strict=True)]
    assert np.mean(shared) > (0.999 if exact_up_to else 0.97)
    assert found.recall > (0.999 if exact_up_to else 0.97)
    near = np.array(shared) == 1
    np.testing.assert_allclose(found.distances[near], distances[near], atol=2e-3)
    cosine = find_neighbours(normalise(vectors), 8)
    assert (
        np.mean([{*a} == {*b} for a, b in zip(cosine.rows.tolist(), rows.tolist(), strict=True)])
        < 0.5
    )


def test_copies_do_not_take_a_row_s_own_place() -> None:
    unit = np.repeat(_unit(30), 20, axis=0)
    for descent in (
        None,
        lambda u, k, progress: np.argsort(-(u @ u.T), axis=1)[:, :k].astype(np.int32),
    ):
        with pytest.MonkeyPatch.context() as patch:
            if descent:
                patch.setattr(neighbours, "_descent", descent)
            found = find_neighbours(unit, 10, exact_up_to=0 if descent else 1000)
        np.testing.assert_array_equal(found.rows[:, 0], np.arange(600))
        np.testing.assert_allclose(found.distances, 0.0, atol=1e-6)
        assert all(len(set(row)) == 10 for row in found.rows.tolist())
        assert found.recall == 1.0  # any of the copies is a true neighbour


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_fewer_rows_than_neighbours(n: int) -> None:
    found = find_neighbours(_unit(5)[:n], 8)
    assert found.rows.shape == found.distances.shape == (n, n)


@pytest.mark.parametrize("n_wrong", [1, 2])
def test_the_recall_that_is_stated_is_the_literal_one(
    n_wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists within clusters are added only where NN-descent alone falls short."""
    unit, k = _unit(), 10
    true = _literal(unit, k)
    joined: list[int] = []

    def half(unit: np.ndarray, k: int, progress: Progress) -> np.ndarray:
        """True neighbours, of which the last are missing."""
        progress(1, 2, "pass")
        rows = np.argsort(-(unit @ unit.T), axis=1)[:, :10].astype(np.int32)
        rows[:, 10 - n_wrong :] = -1  # as NN-descent leaves what it has not filled
        return rows

    def one_more(unit: np.ndarray, rows: np.ndarray, progress: Progress) -> np.ndarray:
        joined.append(len(rows))
        rows[:, 8] = np.argsort(-(unit @ unit.T), axis=1)[:, 8]
        return rows

    monkeypatch.setattr(neighbours, "_descent", half)
    monkeypatch.setattr(neighbours, "_joined", one_more)
    seen: list[tuple[int, int]] = []
    found = find_neighbours(
        unit,
        k,
        exact_up_to=0,
        target_recall=0.85,
        progress=lambda done, total, what: seen.append((done, total)),
    )
    assert joined == ([300] if n_wrong == 2 else [])
    assert seen == [(100, 300), (150, 300), (1, 1)]
    shares = [len(set(row[1:]) & true[i] - {i}) / 9 for i, row in enumerate(found.rows.tolist())]
    assert found.method == "nn-descent" and found.n_checked == 300
    assert found.recall == pytest.approx(np.mean(shares)) and 0.85 < found.recall < 0.95


def test_recall_counts_what_is_found() -> None:
    unit = _unit(50)
    true = find_neighbours(unit, 6).rows[:, 1:]
    queries = np.arange(50)
    assert recall_of(unit, queries, true, true) == 1.0
    wrong = true.copy()
    wrong[:, 0] = queries[::-1]  # one of five
    shares = [len(set(w) & set(t)) / 5 for w, t in zip(wrong.tolist(), true.tolist(), strict=True)]
    assert recall_of(unit, queries, wrong, true) == pytest.approx(np.mean(shares))


def test_passes_are_counted_and_what_others_print_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """NN-descent prints word by word, as here; a word of another thread may come between."""
    seen: list[tuple[int, int]] = []
    printed = "Mon Building RP forest with 7 trees\n|NN| descent for 12 iterations\n|\t| 1| / |12\n"
    printed += "|from elsewhere\n|\t 2  /  12\n|\tStopping threshold met -- exiting after 2\n"
    with redirect_stdout(neighbours._Passes(lambda done, total, what: seen.append((done, total)))):
        for word in printed.split("|"):
            sys.stdout.write(word)
    assert seen == [(0, 12), (1, 12)]
    assert capsys.readouterr().out == "from elsewhere\n"


@pytest.mark.slow
def test_nn_descent_reaches_its_recall_and_repeats_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    unit = _unit(3000)
    unit[:40], unit[40:80] = 0.0, unit[40]
    found = find_neighbours(unit, 15, exact_up_to=0)
    true = _literal(unit[80:], 15)
    shares = [
        len(set((np.array(row[1:]) - 80).tolist()) & true[i]) / 14
        for i, row in enumerate(found.rows[80:].tolist())
    ]
    assert found.recall > 0.95 and found.recall == pytest.approx(np.mean(shares), abs=0.02)
    assert np.isfinite(found.distances).all()
    seen: list[tuple[int, int, str]] = []
    again = find_neighbours(unit, 15, exact_up_to=0, progress=lambda *call: seen.append(call))
    np.testing.assert_array_equal(found.rows, again.rows)
    assert len({done for done, _, what in seen if what == neighbours.DESCENT}) > 2
    assert capsys.readouterr().out == ""
