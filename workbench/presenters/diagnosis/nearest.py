"""Teachers beside controls and baselines: how near the student is to each, per domain."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from usad_workbench.core.diagnosis.nearest import TABLE, NearestTeacherRow
from usad_workbench.core.diagnosis.verdicts import limit_at
from usad_workbench.core.similarity.resampling import MAX_JACKKNIFE_GROUPS
from usad_workbench.core.similarity.significance import ALPHA
from usad_workbench.core.storage.rows import rows_of_frame
from usad_workbench.workbench.presenters.colours import domain_order
from usad_workbench.workbench.presenters.forest_plots import dot_facets, order_by_role
from usad_workbench.workbench.presenters.numbers import (
    count,
    interval,
    number,
)
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import escape_plotly, measure_name

CAUTION = (
    "Similar is not inherited. Encoders trained apart on the same kind of audio grow alike, so a "
    "teacher counts only as far as it is nearer than controls, encoders of the same domain that "
    "did not teach the student. Even then it is evidence, not proof."
)


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
    for encoder, by_domain in best.groupby("teacher"):
        n_domains = len(by_domain)
        half = (by_domain["ci_high"] - by_domain["ci_low"]) / 2
        width = float(np.sqrt((half**2).sum()) / n_domains) if half.notna().all() else np.nan
        value = float(by_domain["value"].mean())
        rows.append(
            {
                "encoder": encoder,
                "mean": value,
                "ci_low": value - width,
                "ci_high": value + width,
                "domains": n_domains,
                "clips": int(by_domain["n_clips"].sum()),
                "clusters": int(by_domain["n_clusters"].sum()),
            }
        )
    return pd.DataFrame(rows).sort_values("mean", ascending=False, ignore_index=True)


def dots(
    best: pd.DataFrame,
    roles: Mapping[str, str],
    unseen: frozenset[str],
    measure: str,
    short: Mapping[str, str],
) -> go.Figure:
    """One facet per domain: best value of each encoder with its interval and its null."""
    records = best.to_dict("records")
    rows = pd.DataFrame(
        {
            "facet": best["domain"],
            "name": best["teacher"],
            "value": best["value"],
            "ci_low": best["ci_low"],
            "ci_high": best["ci_high"],
            "reference": best["null_q95"],
            "role": [roles.get(r["teacher"], "encoder") for r in records],
            "text": [dot_hover(r, roles.get(r["teacher"], "encoder")) for r in records],
            "data": [
                [r["domain"], r["teacher"], int(r["student_layer"]), int(r["teacher_layer"])]
                for r in records
            ],
        }
    )
    titles = {
        d: _title(best[best["domain"] == d], d, d in unseen) for d in domain_order(best["domain"])
    }
    names = order_by_role(best["teacher"].tolist(), roles)
    return dot_facets(rows, titles, names, measure_name(measure), short)


def _title(rows: pd.DataFrame, domain: str, is_unseen: bool) -> str:
    note = " · unseen: no teacher of this domain" if is_unseen else ""
    return (
        f"<b>{escape_plotly(domain, 24)}</b>{note}<br>{count(rows['n_clips'].max(), 'clip')}, "
        f"{count(rows['n_clusters'].max(), 'cluster')}"
    )


def dot_hover(row: dict[str, Any], role: str) -> str:
    """What the pointer shows over a dot."""
    pairs = int(row["n_pairs"])
    return (
        f"<b>{escape_plotly(row['teacher'], 90)}</b> ({role})<br>"
        f"{number(row['value'])} {interval(row['ci_low'], row['ci_high'])}, "
        f"the largest of {count(pairs, 'layer pair')}<br>"
        f"student layer {row['student_layer']} × layer {row['teacher_layer']}<br>"
        f"null (95% of permutations) {number(row['null_q95'])}, p = {number(row['p_value'], 3)}<br>"
        f"n = {count(row['n_clips'], 'clip')}, {count(row['n_clusters'], 'cluster')}"
    )


def nearest_rows(sql: Sql, student: str, measure: str) -> list[NearestTeacherRow]:
    """The table ``nearest_teachers`` of one student and measure, domains in their order."""
    frame = sql(
        "SELECT * FROM nearest_teachers WHERE student = ? AND measure = ?", [student, measure]
    )
    by_domain = {row.domain: row for row in rows_of_frame(frame, NearestTeacherRow, TABLE)}
    return [by_domain[domain] for domain in domain_order(by_domain)]


def verdict(row: NearestTeacherRow, alpha: float = ALPHA) -> str:
    """The comparison with the control in a few words; ``statement`` has them all.

    Args:
        row: Of one domain.
        alpha: Of the diagnosis.
    """
    if math.isnan(row.control_value):
        return "no control to compare with"
    if math.isnan(row.difference_ci_low + row.difference_ci_high):
        return "not decided: the difference has no interval"
    df = max(1, min(row.n_clusters or 2, MAX_JACKKNIFE_GROUPS) - 1)
    low, high = (
        limit_at(row.difference, limit, alpha, df)
        for limit in (row.difference_ci_low, row.difference_ci_high)
    )
    if low > 0:
        return "nearer than its control"
    return "farther than its control" if high < 0 else "not told apart from its control"
