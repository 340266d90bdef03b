"""Which labels are taken for which, and where two systems are right apart from each other."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from usad_workbench.core.storage.schema import quote
from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import RAMP, scale
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import escape_plotly

MAX_LABELS = 20
"""More stand in no readable picture: those of most clips are shown."""
SIDES = {
    (True, False): "only the first is right",
    (False, True): "only the second is right",
    (True, True): "both are right",
    (False, False): "both are wrong",
}


def predicted_tasks(sql: Sql, protocol: str) -> list[str]:
    """Tasks of which predictions are stored clip by clip."""
    rows = sql(
        "SELECT DISTINCT task FROM predictions JOIN tasks USING (task) WHERE protocol = ? ORDER BY 1",
        [protocol],
    )
    return [str(task) for task in rows["task"]]


def systems(sql: Sql, task: str, protocol: str) -> list[str]:
    """Encoders and systems with predictions of a task."""
    rows = sql(
        "SELECT DISTINCT encoder FROM predictions WHERE task = ? AND protocol = ? ORDER BY 1",
        [task, protocol],
    )
    return [str(name) for name in rows["encoder"]]


def predictions(sql: Sql, system: str, task: str, protocol: str) -> pd.DataFrame:
    """What a system said of each clip, under the first seed of the folds.

    Columns ``clip_id, segment_id, actual, predicted, correct``.
    """
    columns = sql("SELECT label_column FROM tasks WHERE task = ?", [task])
    label = quote(str(columns["label_column"].iloc[0]))
    return sql(
        "SELECT p.clip_id, min(s.segment_id) AS segment_id, "
        f"any_value(CAST(c.{label} AS VARCHAR)) AS actual, any_value(p.predicted) AS predicted, "
        "any_value(p.correct) AS correct FROM predictions p JOIN clips c USING (clip_id) "
        "JOIN segments s USING (clip_id) WHERE p.encoder = ? AND p.task = ? AND p.protocol = ? "
        "AND p.seed = (SELECT min(seed) FROM predictions WHERE encoder = ? AND task = ? "
        "AND protocol = ?) GROUP BY p.clip_id ORDER BY p.clip_id",
        [system, task, protocol] * 2,
    )


def confusion(rows: pd.DataFrame) -> pd.DataFrame:
    """Clips of each actual label (row) by predicted label (column), most frequent labels first.

    >>> rows = pd.DataFrame({"actual": ["a", "a", "b"], "predicted": ["a", "b", "b"]})
    >>> confusion(rows).to_numpy().tolist()
    [[1, 1], [0, 1]]
    """
    order = rows["actual"].value_counts().index[:MAX_LABELS]
    table = pd.crosstab(rows["actual"], rows["predicted"])
    return table.reindex(index=order, columns=order, fill_value=0)


def cells_of(table: pd.DataFrame) -> dict[tuple[str, str], int]:
    """The cells that have clips: those that are wrong before those that are right, by their clips.

    >>> cells_of(pd.DataFrame([[5, 1], [0, 7]], index=["a", "b"], columns=["a", "b"]))
    {('a', 'b'): 1, ('b', 'b'): 7, ('a', 'a'): 5}
    """
    counts = {
        (str(actual), str(predicted)): int(n)
        for (actual, predicted), n in table.stack().items()
        if n
    }
    ordered = sorted(counts, key=lambda cell: (cell[0] == cell[1], -counts[cell], cell))
    return {cell: counts[cell] for cell in ordered}


def describe_cell(cell: tuple[str, str], n: int) -> str:
    """A cell in words.

    >>> describe_cell(("dog", "wolf"), 3)
    'dog taken for wolf: 3 clips'
    """
    return f"{cell[0]} taken for {cell[1]}: {count(n, 'clip')}"


def confusion_figure(
    table: pd.DataFrame, marked: tuple[str, str] | None = None, *, is_dark: bool = False
) -> go.Figure:
    """The matrix, actual labels downwards; the shade is the share of the row, the text the count.

    An invisible marker lies on every cell and carries (actual, predicted).
    """
    shares = table.div(table.sum(axis=1).clip(lower=1), axis=0)
    names = [escape_plotly(name, 24) for name in table.index]
    places = range(len(table))
    cells = [(i, j) for i in places for j in places if table.iloc[i, j]]
    figure = go.Figure(
        [
            go.Heatmap(
                z=shares.to_numpy(),
                text=table.astype(str).where(table > 0, "").to_numpy(),
                texttemplate="%{text}",
                colorscale=scale(RAMP),
                zmin=0,
                zmax=1,
                showscale=False,
                xgap=1,
                ygap=1,
                hoverinfo="skip",
            ),
            figures.click_marks(
                [j for _, j in cells],
                [i for i, _ in cells],
                [[str(table.index[i]), str(table.columns[j])] for i, j in cells],
                [
                    f"{names[i]} taken for {names[j]}: {count(int(table.iloc[i, j]), 'clip')} of "
                    f"{int(table.iloc[i].sum())}"
                    for i, j in cells
                ],
            ),
        ]
    )
    if marked is not None and marked[0] in table.index and marked[1] in table.columns:
        i, j = table.index.get_loc(marked[0]), table.columns.get_loc(marked[1])
        figures.frame_cell(figure, j, i, is_dark)
    ticks = {"tickvals": list(places), "ticktext": names, "showgrid": False, "automargin": True}
    figure.update_xaxes(figures.axis(title="predicted", range=[-0.5, len(table) - 0.5], **ticks))
    figure.update_yaxes(figures.axis(title="actual", range=[len(table) - 0.5, -0.5], **ticks))
    figure.update_layout(figures.layout(height=150 + 30 * len(table), showlegend=False))
    return figure


def apart(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Clips that both systems were tested on, with who is right: one of ``SIDES`` in ``side``."""
    both = first.merge(
        second[["clip_id", "predicted", "correct"]], on="clip_id", suffixes=("", "_second")
    )
    sides = [
        SIDES[bool(a), bool(b)]
        for a, b in zip(both["correct"], both["correct_second"], strict=True)
    ]
    return both.assign(side=sides)


def counts_of(both: pd.DataFrame) -> Mapping[str, int]:
    """How many clips each of ``SIDES`` has, in their order."""
    found = both["side"].value_counts()
    return {side: int(found.get(side, 0)) for side in SIDES.values()}
