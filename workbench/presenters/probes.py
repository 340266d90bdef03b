"""Frozen probes: what a simple classifier reads out of an encoder, task by task."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from usad_workbench.core.evaluation.tasks import MEANS
from usad_workbench.workbench.presenters.forest_plots import dot_facets, order_by_role, title_lines
from usad_workbench.workbench.presenters.numbers import (
    count,
    interval,
    is_missing,
    is_number,
    number,
)
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import escape_markdown, escape_plotly

PROTOCOL_HELP = {
    "knn": (
        "k-NN: a clip gets the label of its nearest neighbours, with nothing trained. It shows "
        "what the geometry has on offer."
    ),
    "linear": (
        "Linear: a logistic regression on frozen vectors. It shows what can be read out with a "
        "straight line."
    ),
}
PROTOCOL_NAMES = {"knn": "k-NN", "linear": "Linear"}
TEACHERS_TOGETHER = "teachers-concatenated"
COLUMNS = (
    "task",
    "encoder",
    "role",
    "layer",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "chance",
    "n_test",
    "n_classes",
    "n_groups",
    "n_clusters",
    "layer_selection",
    "transductive",
    "against",
    "difference",
    "difference_ci_low",
    "difference_ci_high",
    "reason",
)


def protocols(sql: Sql) -> list[str]:
    """Protocols that have results."""
    return list(sql("SELECT DISTINCT protocol FROM probes ORDER BY 1")["protocol"])


def probe_rows(sql: Sql, protocol: str) -> pd.DataFrame:
    """Results of one protocol; columns that nobody filled are left out."""
    rows = sql("SELECT * FROM probes WHERE protocol = ? ORDER BY task, encoder, layer", [protocol])
    return rows[[name for name in rows if rows[name].notna().any()]]


def task_order(rows: pd.DataFrame) -> list[str]:
    """Tasks by name, their means last."""
    return sorted(set(rows["task"]), key=lambda task: (task in MEANS, task))


def roles_with_systems(roles: Mapping[str, str]) -> dict[str, str]:
    """Roles, with the teachers side by side as one more teacher."""
    return {**roles, TEACHERS_TOGETHER: "teacher"}


def best_per_system(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per task and encoder: where several layers are stored, the largest value."""
    numbered = rows[rows["value"].notna()]
    return numbered.loc[numbered.groupby(["task", "encoder"])["value"].idxmax()].reset_index(
        drop=True
    )


def probe_figure(
    rows: pd.DataFrame, roles: Mapping[str, str], short: Mapping[str, str]
) -> go.Figure:
    """One facet per task: every encoder's value with its interval, and chance."""
    best = best_per_system(rows)
    records = best.to_dict("records")
    dots = pd.DataFrame(
        {
            "facet": best["task"],
            "name": best["encoder"],
            "value": best["value"],
            "ci_low": _column(best, "ci_low"),
            "ci_high": _column(best, "ci_high"),
            "reference": _column(best, "chance"),
            "role": [roles.get(r["encoder"], "encoder") for r in records],
            "text": [dot_hover(r) for r in records],
            "data": [[r["task"], r["encoder"]] for r in records],
        }
    )
    titles = {task: _title(best[best["task"] == task]) for task in task_order(best)}
    names = order_by_role(best["encoder"].tolist(), roles)
    return dot_facets(dots, titles, names, "value on held-out clips", short)


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    return rows[name] if name in rows else pd.Series(float("nan"), index=rows.index)


def _title(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    n = f"n = {count(rows['n_test'].max(), 'test clip')}"
    classes = rows["n_classes"].max() if "n_classes" in rows else None
    if is_number(classes):
        n += f", {count(float(str(classes)), 'class', 'classes')}"
    metric = str(first["metric"]).replace("_", " ")
    return f"{title_lines(first['task'])}<br>{escape_plotly(metric, 24)}<br>{n}"


def dot_hover(row: Mapping[str, Any]) -> str:
    """What the pointer shows over a dot."""
    chosen = f", layer {number(row.get('layer'), 0)}" if is_number(row.get("layer")) else ""
    selection = row.get("layer_selection")
    lines = [
        f"<b>{escape_plotly(row['encoder'], 90)}</b>{chosen}",
        " ".join(
            [
                escape_plotly(row["metric"]),
                number(row["value"]),
                interval(row.get("ci_low"), row.get("ci_high")),
            ]
        ),
        f"chance {number(row.get('chance'))}, n = {count(row['n_test'], 'test clip')}",
    ]
    if not is_missing(selection):
        lines.append(f"layer chosen {escape_plotly(selection)}")
    if is_number(row.get("difference")):
        lines.append(
            f"{number(row['difference'])} "
            f"{interval(row.get('difference_ci_low'), row.get('difference_ci_high'))} against "
            f"{escape_plotly(row.get('against'), 30)}"
        )
    if row.get("transductive") is True:
        lines.append("transductive: it saw the unlabelled test clips")
    if not is_missing(row.get("reason")) and row.get("reason"):
        lines.append(escape_plotly(row["reason"], 70))
    return "<br>".join(lines)


def describe_untested(rows: pd.DataFrame) -> list[str]:
    """The tasks that no probe could be asked, each with the reason.

    >>> describe_untested(pd.DataFrame({"task": ["a", "a"], "value": [None, None], "n_test": [0, 0],
    ...     "reason": ["not tested: one class", "not tested: one class"]}))
    ['a: not tested: one class']
    """
    if "n_test" not in rows:
        return []
    out = rows[(rows["n_test"] == 0) & rows["value"].isna()]
    return list(dict.fromkeys(f"{r.task}: {r.reason}" for r in out.itertuples()))


def probe_table(rows: pd.DataFrame, roles: Mapping[str, str]) -> pd.DataFrame:
    """The results as a table for people, tasks together, best encoder first."""
    rank = {task: i for i, task in enumerate(task_order(rows))}
    shown = rows.assign(
        role=rows["encoder"].map(lambda n: roles.get(n, "encoder")), _task=rows["task"].map(rank)
    ).sort_values(["_task", "value"], ascending=[True, False])
    return shown[[name for name in COLUMNS if name in shown]]


def describe_probe(rows: pd.DataFrame) -> str:
    """What the numbers are, in a sentence or two."""
    selection = rows["layer_selection"].dropna().unique() if "layer_selection" in rows else []
    words = "Bars are 95% intervals over clusters, the grey tick is chance. "
    if len(selection):
        words += f"The layer was chosen {escape_markdown(selection[0])}, so its luck is not in the value. "
    if "transductive" in rows and (rows["transductive"] == True).any():
        words += "Some probes are transductive: they saw the unlabelled test clips. "
    return words + "No clip is tested by a probe that was trained on a clip of its group."
