"""Which student layer lies near which layer of another encoder, domain by domain."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.similarity import describe_level, is_significant, neighbour_overlap
from usad_workbench.core.similarity.layers import thin_clusters
from usad_workbench.core.similarity.significance import ALPHA
from usad_workbench.core.storage.joined_clusters import with_joined_clusters
from usad_workbench.core.storage.schema import literal
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import RAMP, diverging, domain_order, scale
from usad_workbench.workbench.presenters.diagnosis.stored import alpha_for
from usad_workbench.workbench.presenters.numbers import count, interval, is_number, number
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import escape_plotly, lines, measure_name

TABLE_COLUMNS = (
    "domain",
    "student_layer",
    "teacher_layer",
    "value",
    "ci_low",
    "ci_high",
    "null_q95",
    "p_value",
    "q_value",
    "n_clips",
    "n_clusters",
    "reason",
)
COLUMNS_PER_ROW = 4
AXIS = 20
"""Characters of a line under a map, where four stand side by side."""
N_FAITHFUL = 10
MAX_CLIPS = 3000
"""Neighbour lists of more clips than this take longer than a person waits for a click."""


def similarity(sql: Sql, student: str, teacher: str, measure: str) -> pd.DataFrame:
    """Rows of ``teacher_similarity`` for two encoders and one measure.

    With ``alpha``, the level at which a cell stands out: that of the student's diagnosis.
    """
    rows = sql(
        "SELECT * FROM teacher_similarity WHERE student = ? AND teacher = ? AND measure = ? "
        "ORDER BY domain, student_layer, teacher_layer",
        [student, teacher, measure],
    )
    return rows.assign(alpha=alpha_for(sql, student))


def compared(sql: Sql) -> pd.DataFrame:
    """Which students were compared with which encoders by which measures."""
    return sql("SELECT DISTINCT student, teacher, measure FROM teacher_similarity ORDER BY ALL")


def nearest(sql: Sql, student: str) -> str | None:
    """The teacher with the largest value of all: the one to look at first."""
    rows = sql(
        "SELECT teacher FROM nearest_teachers WHERE student = ? AND teacher IS NOT NULL "
        "ORDER BY measure, value DESC LIMIT 1",
        [student],
    )
    return None if rows.empty else str(rows["teacher"].iloc[0])


def top_of_scale(sql: Sql, student: str, measure: str) -> float:
    """The end of the colour scale: the largest value over all encoders and domains.

    One scale for all of them, so that maps of two teachers may be compared by eye.
    """
    rows = sql(
        "SELECT max(value) AS top FROM teacher_similarity WHERE student = ? AND measure = ? "
        "AND isfinite(value)",
        [student, measure],
    )
    top = rows["top"].iloc[0]
    return float(np.ceil(top * 20) / 20) if is_number(top) and top > 0 else 1.0


def stand_out(rows: pd.DataFrame) -> list[bool]:
    """Whether each cell stands out from its null; cells without a null do not."""
    return [bool(_is_out(row)) for row in rows.to_dict("records")]


def _is_out(row: Mapping[Any, Any]) -> bool | None:
    if row.get("is_here"):  # there is no null that it could be told from
        return True
    if row.get("is_difference"):
        return bool(row["ci_low"] > 0 or row["ci_high"] < 0)
    return is_significant(row, float(row.get("alpha", ALPHA)))


def best_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """The row of the largest value of each domain."""
    numbered = rows[rows["value"].notna()]
    best = numbered.loc[numbered.groupby("domain")["value"].idxmax()]
    return best.set_index("domain").loc[domain_order(best["domain"])].reset_index()


def less_untrained(gained: pd.DataFrame, teacher: str) -> pd.DataFrame:
    """Differences from the untrained student in the columns of ``similarity``.

    Args:
        gained: ``gains.gain_table``, of one student.
        teacher: Of the rows that come back.
    """
    rows = gained[(gained["kind"] == "pair") & (gained["teacher"] == teacher)]
    none = dict.fromkeys(("null_q95", "p_value", "q_value"), np.nan)
    return rows.assign(**none, is_difference=True)


def computed_here(gained: pd.DataFrame, teacher: str) -> pd.DataFrame:
    """Values of two encoders that no diagnosis compared, in the columns of ``similarity``.

    Args:
        gained: ``gains.gain_table`` of them with nothing subtracted.
        teacher: The other encoder.
    """
    return less_untrained(gained, teacher).drop(columns="is_difference").assign(is_here=True)


def heatmaps(
    rows: pd.DataFrame,
    *,
    student: str,
    teacher: str,
    measure: str,
    top: float,
    is_dark: bool = False,
    marked: tuple[str, int, int] | None = None,
) -> go.Figure:
    """One heat map per domain, all on one colour scale; × marks cells that do not stand out.

    A heat map takes no clicks in Streamlit, so an invisible marker lies on every cell and
    carries (domain, student layer, teacher layer).

    Args:
        rows: As ``similarity`` or ``less_untrained`` gives them.
        student: Its name on the axis.
        teacher: Likewise.
        measure: Of the values.
        top: The end of the colour scale.
        is_dark: Whether the page is.
        marked: Domain, student layer and teacher layer of the cell that is open.
    """
    is_difference = "is_difference" in rows
    domains = domain_order(rows["domain"])
    n_columns = min(len(domains), COLUMNS_PER_ROW)
    n_rows = -(-len(domains) // n_columns)
    across = lines(f"layer of {teacher}", AXIS, most=4)
    n_lines = across.count("<br>") + 1
    titles = [_title(rows[rows["domain"] == domain], domain) for domain in domains]
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=titles,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=(0.15 + 0.05 * n_lines) / n_rows,
    )
    for i, domain in enumerate(domains):
        at = {"row": i // n_columns + 1, "col": i % n_columns + 1}
        for trace in _panel(rows[rows["domain"] == domain], domain, top):
            figure.add_trace(trace, **at)
        figure.update_xaxes(title_text=across, **at)
        if marked is not None and marked[0] == domain:
            figures.frame_cell(figure, marked[2], marked[1], is_dark, **at)
        if at["col"] == 1:
            figure.update_yaxes(title_text=escape_plotly(f"layer of {student}", 30), **at)
    depth = rows["student_layer"].nunique()
    figure.update_layout(
        figures.layout(
            height=n_rows * (130 + 32 * max(depth, 5)),
            margin={"l": 60, "r": 8, "t": 64, "b": 38 + 18 * n_lines},
            showlegend=False,
            coloraxis=_colours(measure, top, is_difference, is_dark),
        )
    )
    # Else a narrow chart leaves room for the marks at its edges, down to layer -2.
    for column, update in (("teacher", figure.update_xaxes), ("student", figure.update_yaxes)):
        numbers = rows[f"{column}_layer"]
        ends = [numbers.min() - 0.5, numbers.max() + 0.5]
        update(figures.axis(dtick=1, showgrid=False, range=ends))
    figure.update_annotations(font_size=14)
    return figure


def _colours(measure: str, top: float, is_difference: bool, is_dark: bool) -> dict[str, object]:
    """One colour scale for all panels: from 0, or of differences around 0."""
    return {
        "colorscale": diverging(is_dark) if is_difference else scale(RAMP),
        "cmin": -top if is_difference else 0,
        "cmax": top,
        "colorbar": {
            "title": {
                "text": escape_plotly(measure_name(measure))
                + (", less untrained" if is_difference else ""),
                "side": "right",
                "font": {"size": 14},
            },
            "thickness": 12,
            "outlinewidth": 0,
        },
    }


def _title(rows: pd.DataFrame, domain: str) -> str:
    return (
        f"<b>{escape_plotly(domain, 24)}</b><br>{count(rows['n_clips'].max(), 'clip')}, "
        f"{count(rows['n_clusters'].max(), 'cluster')}"
    )


def _panel(rows: pd.DataFrame, domain: str, top: float) -> list[Any]:
    grid = rows.pivot(index="student_layer", columns="teacher_layer", values="value")
    texts = [cell_hover(row) for row in rows.to_dict("records")]
    above = stand_out(rows)
    inks = ["#FFFFFF" if value > 0.45 * top else "#44505E" for value in rows["value"]]
    return [
        go.Heatmap(
            z=grid.to_numpy(),
            x=grid.columns,
            y=grid.index,
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
            hoverinfo="skip",
        ),
        figures.click_marks(
            rows["teacher_layer"],
            rows["student_layer"],
            [
                [domain, int(s), int(t)]
                for s, t in zip(rows["student_layer"], rows["teacher_layer"], strict=True)
            ],
            texts,
            {
                "symbol": ["square" if a else "x-thin" for a in above],
                "size": [figures.CELL_PX if a else 10 for a in above],
                "line": {"width": [0 if a else 2 for a in above], "color": inks},
            },
        ),
    ]


def cell_hover(row: dict[str, Any]) -> str:
    """What the pointer shows over a cell: value, interval, null and n."""
    verdict = "stands out" if _is_out(row) else "does not stand out"
    reason = row.get("reason")
    if row.get("is_difference"):
        beside = (
            f"student {number(row['student_value'])}, untrained {number(row['baseline_value'])}"
        )
    else:
        beside = (
            f"null of this pair (95% of permutations) {number(row['null_q95'])}<br>over all pairs "
            f"p = {number(row['p_value'], 3)}, q = {number(row['q_value'], 3)}: {verdict}"
        )
    return (
        f"<b>student layer {row['student_layer']} × layer {row['teacher_layer']}</b><br>"
        f"{number(row['value'])} {interval(row['ci_low'], row['ci_high'])}<br>{beside}"
        f"<br>n = {count(row['n_clips'], 'clip')}, {count(row['n_clusters'], 'cluster')}"
        + (f"<br>{escape_plotly(reason, 70)}" if isinstance(reason, str) and reason else "")
    )


def describe_cell(row: dict[str, Any], measure: str) -> str:
    """A cell as a sentence."""
    is_out = _is_out(row)
    null = "No null was computed."
    if is_out is not None:
        null = (
            f"Exchanging clips within their clusters gives this pair of layers up to "
            f"{number(row['null_q95'])} (95%); counting all pairs that were looked at, this cell "
            f"{'stands out' if is_out else 'does not stand out'} from chance ({describe_level(row)})."
        )
    return (
        f"{measure_name(measure)} {number(row['value'])} "
        f"{interval(row['ci_low'], row['ci_high'])}, n = {count(row['n_clips'], 'clip')} from "
        f"{count(row['n_clusters'], 'cluster')}. {null}"
    )


def clip_faithfulness(
    workspace: Workspace,
    *,
    student: str,
    student_layer: int,
    teacher: str,
    teacher_layer: int,
    domain: str,
    k: int = 10,
) -> pd.DataFrame:
    """Per clip the share of nearest neighbours that both layers agree on, lowest first.

    Columns ``clip_id``, ``segment_id`` (the clip's first) and ``value``. Of a larger domain
    ``MAX_CLIPS`` clips in whole clusters are compared, the same ones each time: ``attrs`` has
    ``k``, and ``n_all``, the clips that both layers have.

    Raises:
        DegenerateError: fewer clips of other clusters than one neighbour needs.
    """
    where = f"domain = {literal(domain)}"
    left = _clip_vectors(workspace, student, student_layer, where)
    right = _clip_vectors(workspace, teacher, teacher_layer, where)
    both = left.index.intersection(right.index)
    clips = with_joined_clusters(workspace.clips(where))
    clusters = clips.set_index("clip_id")["cluster_id"].loc[both]
    n_all = len(both)
    if n_all > MAX_CLIPS:
        both = both[thin_clusters(clusters.tolist(), MAX_CLIPS)]
        clusters = clusters.loc[both]
    candidates = len(both) - int(clusters.value_counts().max()) if len(both) else 0
    k = min(k, candidates // 2)
    if k < 1:
        raise DegenerateError(
            f"{len(both)} clips of {domain} have vectors of both encoders, with {candidates} of "
            "other clusters to be neighbours; at least 2 are needed. Add clips or embed the rest."
        )
    values = neighbour_overlap(
        np.stack(list(left.loc[both, "vector"])),
        np.stack(list(right.loc[both, "vector"])),
        k=k,
        clusters=clusters.tolist(),
    )
    overlaps = pd.DataFrame(
        {"clip_id": both, "segment_id": left.loc[both, "segment_id"].to_numpy(), "value": values}
    )
    overlaps.attrs |= {"k": k, "n_all": n_all}
    return overlaps.sort_values(["value", "clip_id"], ignore_index=True)


def stored_faithfulness(
    sql: Sql,
    *,
    student: str,
    student_layer: int,
    teacher: str,
    teacher_layer: int,
    domain: str,
    measure: str,
) -> pd.DataFrame:
    """The same from ``clip_teacher_similarity``, empty where nothing is stored."""
    return sql(
        "SELECT clip_id, min(segment_id) AS segment_id, any_value(t.value) AS value "
        "FROM clip_teacher_similarity t JOIN segments_of_clips c USING (clip_id) "
        "WHERE t.student = ? AND t.student_layer = ? AND t.teacher = ? AND t.teacher_layer = ? "
        "AND c.domain = ? AND t.measure = ? GROUP BY clip_id ORDER BY value, clip_id",
        [student, student_layer, teacher, teacher_layer, domain, measure],
    )


def extremes(overlaps: pd.DataFrame, n: int = N_FAITHFUL) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The most and the least faithful clips, none of them in both lists."""
    n = min(n, len(overlaps) // 2)
    down = overlaps.sort_values(["value", "clip_id"], ascending=[False, True])
    return down.head(n).reset_index(drop=True), overlaps.head(n).reset_index(drop=True)


def describe_ties(overlaps: pd.DataFrame, side: pd.DataFrame) -> str:
    """How many clips share the last value of a list that has room for some of them; else empty.

    >>> of = pd.DataFrame({"value": [0.0, 0.0, 0.0, 0.5]})
    >>> describe_ties(of, of.head(2)), describe_ties(of, of.tail(1))
    ('2 of 3 clips tied at 0.00, by name', '')
    """
    if side.empty:
        return ""
    last = side["value"].iloc[-1]
    n_all, n_shown = int((overlaps["value"] == last).sum()), int((side["value"] == last).sum())
    if n_all == n_shown:
        return ""
    return f"{n_shown} of {n_all} clips tied at {number(last)}, by name"


def _clip_vectors(workspace: Workspace, encoder: str, layer: int, where: str) -> pd.DataFrame:
    """One vector per clip: the mean over its segments."""
    stored = workspace.embeddings(encoder, layer, where=where)
    ids, first, codes = np.unique(
        stored.clip_ids.astype(str), return_index=True, return_inverse=True
    )
    sums: npt.NDArray[np.float64] = np.zeros((len(ids), stored.vectors.shape[1]))
    np.add.at(sums, codes, stored.vectors)
    means: Sequence[npt.NDArray[np.float64]] = list(sums / np.bincount(codes)[:, None])
    return pd.DataFrame({"segment_id": stored.segment_ids[first], "vector": means}, index=ids)
