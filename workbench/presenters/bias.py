"""Teachers beside controls and baselines: how near the student is to each, per domain."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from usad_workbench.workbench.presenters.colours import (
    GRID,
    INK,
    MUTED,
    ROLE_SYMBOLS,
    ROLES,
    domain_order,
    role_colour,
)
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import (
    count,
    hover,
    interval,
    is_known,
    measure_words,
    number,
    shorten,
)

CAUTION = (
    "Similar is not inherited. Encoders trained apart on the same kind of audio grow alike, so a "
    "teacher counts only as far as it is nearer than controls, encoders of the same domain that "
    "did not teach the student. Even then it is evidence, not proof."
)
MAX_PER_ROW = 3


def best_per_encoder(sql: Sql, student: str, measure: str) -> pd.DataFrame:
    """For each domain and encoder the layer pair with the largest value, and how many there were."""
    return sql(
        "SELECT t.*, n.n_pairs FROM teacher_similarity t JOIN "
        "(SELECT domain, teacher, max(value) AS value, count(*) AS n_pairs "
        "FROM teacher_similarity WHERE student = ? AND measure = ? AND isfinite(value) "
        "GROUP BY ALL) n USING (domain, teacher, value) "
        "WHERE t.student = ? AND t.measure = ? "
        "QUALIFY row_number() OVER (PARTITION BY t.domain, t.teacher "
        "ORDER BY t.student_layer, t.teacher_layer) = 1 ORDER BY domain, teacher",
        [student, measure, student, measure],
    )


def mean_over_domains(best: pd.DataFrame) -> pd.DataFrame:
    """Per encoder the plain mean of its best values, one per domain: domains weigh the same.

    Domains share no clusters, so their errors are independent and the half-widths of the
    intervals add in squares. No interval where one domain has none.
    """
    rows = []
    for encoder, found in best.groupby("teacher"):
        half = (found["ci_high"] - found["ci_low"]) / 2
        width = float(np.sqrt((half**2).sum()) / len(found)) if half.notna().all() else np.nan
        value = float(found["value"].mean())
        rows.append(
            {
                "encoder": encoder, "mean": value, "ci_low": value - width,
                "ci_high": value + width, "domains": len(found),
                "clips": int(found["n_clips"].sum()), "clusters": int(found["n_clusters"].sum()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows).sort_values("mean", ascending=False, ignore_index=True)


def encoder_order(best: pd.DataFrame, roles: Mapping[str, str]) -> list[str]:
    """Encoders by role, teachers first, and by name: the same in every panel."""
    rank = {role: i for i, role in enumerate(ROLES)}
    names = set(best["teacher"])
    return sorted(names, key=lambda n: (rank.get(roles.get(n, ""), len(rank)), n))


def dots(
    best: pd.DataFrame, roles: Mapping[str, str], unseen: frozenset[str], measure: str
) -> go.Figure:
    """One panel per domain: best value of each encoder with its interval and its null."""
    domains = domain_order(best["domain"])
    names = encoder_order(best, roles)
    n_columns = min(len(domains), MAX_PER_ROW if len(domains) != 4 else 2)
    n_rows = -(-len(domains) // n_columns)
    titles = [_title(best[best["domain"] == d], d, d in unseen) for d in domains]
    figure = make_subplots(
        rows=n_rows, cols=n_columns, subplot_titles=titles, shared_yaxes=True, shared_xaxes=False,
        horizontal_spacing=0.04, vertical_spacing=0.30 / n_rows,
    )  # fmt: skip
    for i, domain in enumerate(domains):
        rows = best[best["domain"] == domain]
        at = {"row": i // n_columns + 1, "col": i % n_columns + 1}
        figure.add_trace(_nulls(rows), **at)
        for role in ROLES:
            mine = rows[rows["teacher"].map(lambda n, role=role: roles.get(n) == role)]
            if len(mine):
                figure.add_trace(_dots_of(mine, role, domain), **at)
    _tidy(figure, best, names, measure)
    figure.update_layout(height=n_rows * (120 + 30 * len(names)) + 40)
    return figure


def _title(rows: pd.DataFrame, domain: str, is_unseen: bool) -> str:
    note = " · unseen: no teacher of this domain" if is_unseen else ""
    return (
        f"<b>{hover(domain, 24)}</b>{note}<br>{count(rows['n_clips'].max(), 'clip')}, "
        f"{count(rows['n_clusters'].max(), 'cluster')}"
    )


def _nulls(rows: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=rows["null_q95"], y=rows["teacher"].map(_short), mode="markers", hoverinfo="skip",
        name="null: 95% of permutations", legendgroup="null", showlegend=False,
        marker={"symbol": "line-ns", "size": 14, "line": {"width": 2, "color": MUTED}},
    )  # fmt: skip


def _dots_of(rows: pd.DataFrame, role: str, domain: str) -> go.Scatter:
    records = rows.to_dict("records")
    return go.Scatter(
        x=rows["value"], y=rows["teacher"].map(_short), mode="markers", name=role,
        legendgroup=role, showlegend=False,
        customdata=[
            [domain, row["teacher"], int(row["student_layer"]), int(row["teacher_layer"])]
            for row in records
        ],
        text=[dot_hover(row, role) for row in records], hovertemplate="%{text}<extra></extra>",
        marker={"symbol": ROLE_SYMBOLS.get(role, "circle"), "size": 11,
                "color": role_colour(role)},
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
        error_x={"type": "data", "symmetric": False, "thickness": 1.6, "width": 4,
                 "array": (rows["ci_high"] - rows["value"]).fillna(0),
                 "arrayminus": (rows["value"] - rows["ci_low"]).fillna(0),
                 "color": role_colour(role)},
    )  # fmt: skip


def _tidy(figure: go.Figure, best: pd.DataFrame, names: list[str], measure: str) -> None:
    low = min(0.0, float(np.nanmin([best["ci_low"].min(), best["value"].min()])))
    high = float(np.nanmax([best["ci_high"].max(), best["value"].max(), best["null_q95"].max()]))
    low, high = max(low, -0.5), min(high, 1.5)
    pad = 0.04 * (high - low)
    figure.update_xaxes(
        range=[low - pad, high + pad], gridcolor=GRID, zerolinecolor=GRID, color=MUTED,
        title={"text": hover(measure_words(measure)), "standoff": 4}, fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(
        categoryorder="array", categoryarray=[_short(n) for n in reversed(names)],
        range=[-0.6, len(names) - 0.4], gridcolor=GRID, automargin=True, fixedrange=True,
    )  # fmt: skip
    figure.update_layout(
        margin={"l": 8, "r": 8, "t": 56, "b": 48}, font={"color": INK, "size": 13},
        plot_bgcolor="#FFFFFF", dragmode=False, hoverlabel={"align": "left"},
    )  # fmt: skip
    figure.update_annotations(font_size=14)


def _short(name: str) -> str:
    return hover(shorten(name, 26))


def dot_hover(row: dict[str, Any], role: str) -> str:
    """What the pointer shows over a dot."""
    pairs = int(row["n_pairs"])
    return (
        f"<b>{hover(row['teacher'], 40)}</b> ({role})<br>"
        f"{number(row['value'])} {interval(row['ci_low'], row['ci_high'])}, "
        f"the largest of {count(pairs, 'layer pair')}<br>"
        f"student layer {row['student_layer']} × layer {row['teacher_layer']}<br>"
        f"null (95% of permutations) {number(row['null_q95'])}, p = {number(row['p_value'], 3)}<br>"
        f"n = {count(row['n_clips'], 'clip')}, {count(row['n_clusters'], 'cluster')}"
    )


def nearest_rows(sql: Sql, student: str, measure: str) -> pd.DataFrame:
    """The table ``nearest_teachers`` of one student and measure, domains in their order."""
    found = sql(
        "SELECT * FROM nearest_teachers WHERE student = ? AND measure = ?", [student, measure]
    )
    return found.set_index("domain").loc[domain_order(found["domain"])].reset_index()


def verdict(row: Mapping[str, Any]) -> str:
    """The comparison with the control in a few words; ``statement`` has them all."""
    if not is_known(row.get("control_value")):
        return "no control to compare with"
    low, high = row.get("difference_ci_low"), row.get("difference_ci_high")
    if not (is_known(low) and is_known(high)):
        return "not decided: the difference has no interval"
    if float(str(low)) > 0:
        return "nearer than its control"
    return "farther than its control" if float(str(high)) < 0 else "no nearer than its control"
