"""Every value stands at its own depth in the chart of its own task."""

import pytest

from usad_workbench.core.evaluation.layer_scores import LayerScore
from usad_workbench.workbench.presenters.layer_curves import curves, score_table


def score(task: str, encoder: str, layer: int, value: float) -> LayerScore:
    return LayerScore(
        task=task, encoder=encoder, layer=layer, value=value, ci_low=value - 0.1,
        ci_high=value + 0.2, chance=0.25, n_test=40, n_clusters=10,
    )  # fmt: skip


def test_curves_are_of_their_task_along_the_depth() -> None:
    scores = [
        score(task, encoder, layer, base + layer / 10)
        for task, base in (("digit", 0.1), ("drum", 0.4))
        for encoder, layers in (("s", (0, 4)), ("t", (0, 1, 2)))
        for layer in layers
    ]
    table = score_table(scores)
    assert table[table["encoder"] == "t"]["depth"].tolist() == [0, 0.5, 1] * 2
    figure = curves(table, {"s": "short"}, {"s": "student", "t": "teacher"})
    drawn = {(trace.xaxis, trace.name): (list(trace.x), list(trace.y)) for trace in figure.data}
    assert drawn["x", "short"] == ([0, 1], pytest.approx([0.1, 0.5]))
    assert drawn["x2", "t"] == ([0, 0.5, 1], pytest.approx([0.4, 0.5, 0.6]))
    first = figure.data[0]
    assert list(first.error_y.array) == pytest.approx([0.2, 0.2])
    assert list(first.error_y.arrayminus) == pytest.approx([0.1, 0.1])
    assert {shape.y0 for shape in figure.layout.shapes} == {0.25}
    titles = [one.text for one in figure.layout.annotations[:2]]
    assert titles == ["<b>digit</b><br>n = 40 test clips", "<b>drum</b><br>n = 40 test clips"]
