"""A filled dot says that a row differs from no effect: the page's words promise it."""

import pandas as pd
import pytest

from usad_workbench.workbench.presenters.diagnosis.plan import plan_figure
from usad_workbench.workbench.presenters.diagnosis.plotly_figures import draw
from usad_workbench.workbench.presenters.diagnosis.views import VIEWS


@pytest.mark.parametrize(
    ("answers", "symbols"),
    [
        (["yes", "no"], ["circle", "circle-open"]),
        (["not testable", "undecided"], ["circle-open", "circle-open"]),
        (["no", "yes"], ["circle-open", "circle"]),
    ],
)
def test_only_what_was_shown_is_filled(answers: list[str], symbols: list[str]) -> None:
    rows = pd.DataFrame(
        {
            "teacher": ["a", "b"],
            "domain": "speech",
            "layer": 8,
            "teacher_layer": 4,
            "measure": "debiased_linear_cka",
            "form": "controls for the teacher",
            "excess": [0.2, 0.1],
            "ci_low": [0.1, 0.05],
            "ci_high": [0.3, 0.2],
            "q_value": [0.01, 0.01],
            "inherited": answers,
            "n_clips": 90,
            "n_clusters": 30,
        }
    )
    view = VIEWS["inheritance"]
    roles = {"a": "teacher", "b": "teacher"}
    figure = draw(plan_figure(rows, view, roles))
    drawn = next(trace for trace in figure.data if trace.name == "teacher")
    assert dict(zip(drawn.y, drawn.marker.symbol, strict=True)) == dict(
        zip("ab", symbols, strict=True)
    )
