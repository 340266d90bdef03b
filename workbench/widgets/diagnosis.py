"""A stored diagnosis on a page: its verdicts, one panel at a time, the clips behind a row."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import streamlit as st

from usad_workbench.core.diagnosis.verdicts import MISSING, Verdict
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.clips import segment_of, segments
from usad_workbench.workbench.presenters.diagnosis import plotly_figures, stored
from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis.findings import (
    describe_headline,
    findings,
    rank_of,
)
from usad_workbench.workbench.presenters.diagnosis.plan import describe_marks, plan_figure
from usad_workbench.workbench.presenters.diagnosis.verdicts import (
    describe_number,
    describe_question,
    is_open,
    meaning,
)
from usad_workbench.workbench.presenters.diagnosis.views import PanelView, views_of
from usad_workbench.workbench.presenters.encoders import student_of
from usad_workbench.workbench.presenters.headings import heading
from usad_workbench.workbench.presenters.names import describe_panel_cell, encoder_names, short_name
from usad_workbench.workbench.presenters.numbers import count, number, signed
from usad_workbench.workbench.presenters.text import MEASURE_NAMES, escape_markdown, shorten
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.clicks import custom_data
from usad_workbench.workbench.widgets.decide import show_missing
from usad_workbench.workbench.widgets.legend import role_legend
from usad_workbench.workbench.widgets.player import segment_card

N_CLIPS = 6


def choose_diagnosis(key: str, student: str | None = None) -> stored.StoredDiagnosis | None:
    """The diagnosis to show; says how to make one where there is none."""
    diagnoses = [
        diagnosis
        for diagnosis in stored.diagnoses(state.sql)
        if student in (None, diagnosis.student)
    ]
    if not diagnoses and not page.is_comparable():
        return None
    if not diagnoses:
        page.empty(
            "Not diagnosed yet: no verdicts and no panels are stored.",
            page.command("diagnose", "--student", student or student_of(state.sql) or "STUDENT"),
        )
        return None
    first = says_most(diagnoses)
    left, right = st.columns(2)
    with left:
        students = list(dict.fromkeys(diagnosis.student for diagnosis in diagnoses))
        chosen = student or page.choose_encoder(
            "Diagnosed student",
            students,
            key=f"{key}.diagnosed",
            default=first.student if first else None,
        )
    by_selection = {one.selection: one for one in diagnoses if one.student == chosen}
    with right:
        selection = page.choose(
            "Clips",
            list(by_selection),
            key=f"{key}.selection",
            show=lambda words: shorten(words, 90) or "all clips that every encoder has",
        )
    diagnosis = by_selection[selection]
    if not diagnosis.are_teachers_known:
        st.caption(
            f":material/warning: Who taught {escape_markdown(diagnosis.student)} is not known: encoders with the "
            "role teacher stand in. Name its teachers with --teachers."
        )
    return diagnosis


def says_most(
    diagnoses: Sequence[stored.StoredDiagnosis],
) -> stored.StoredDiagnosis | None:
    """The diagnosis that says most about inheritance, to open with; none where there is none."""

    def rank(diagnosis: stored.StoredDiagnosis) -> int:
        of = [v for v in stored.verdicts(state.sql, diagnosis) if v.question == "inherited"]
        return rank_of(of[0].verdict) if of else rank_of("not testable")

    return min(diagnoses, key=rank, default=None)


def show_warnings(diagnosis: stored.StoredDiagnosis) -> None:
    """What to keep in mind with every number, folded."""
    if diagnosis.warnings:
        with st.expander(count(len(diagnosis.warnings), "warning"), icon=":material/warning:"):
            st.markdown(
                "\n".join(f"- {escape_markdown(warning)}" for warning in diagnosis.warnings)
            )


def show_verdicts(diagnosis: stored.StoredDiagnosis) -> None:
    """One card per question, evidence and rule below it."""
    page.section("Verdicts", "Decided by rules that were fixed before any number was looked at.")
    verdicts = stored.verdicts(state.sql, diagnosis)
    if not verdicts:
        page.empty(
            "The last diagnosis did not compute the panels that the rules need, so nothing is "
            "decided.",
            page.command("diagnose", "--student", diagnosis.student),
        )
    rows = stored.panel(state.sql, "inheritance", diagnosis)
    headline = describe_headline(findings(rows)) if len(rows) else ""
    for i, verdict in enumerate(verdicts):
        if i % 2 == 0:
            columns = st.columns(2)
        with columns[i % 2], st.container(border=True, height="stretch"):
            _verdict(verdict, diagnosis, describe_number(verdict, headline))


def _verdict(verdict: Verdict, diagnosis: stored.StoredDiagnosis, number: str) -> None:
    answer = verdict.verdict
    st.caption(describe_question(verdict.question))
    colour = "orange" if is_open(answer) else "blue"
    st.markdown(f"#### :{colour}[{escape_markdown(answer[:1].upper() + answer[1:])}]")
    st.markdown(meaning(answer))
    if number:
        st.markdown(escape_markdown(number))
    show_missing(verdict, diagnosis)
    with st.expander("Evidence and rule"):
        told = {name: of for name, of in verdict.evidence.items() if name != MISSING}
        st.markdown("\n".join(_evidence(told)))
        st.caption(escape_markdown(verdict.rule))


def _evidence(values: Mapping[str, object], depth: int = 0) -> list[str]:
    lines = []
    for name, value in values.items():
        head = f"{'    ' * depth}- {escape_markdown(name)}: "
        if isinstance(value, Mapping):
            lines += [head, *_evidence(value, depth + 1)]
        else:
            lines.append(head + escape_markdown(value))
    return lines


def show_panel(
    diagnosis: stored.StoredDiagnosis,
    name: str,
    key: str,
    *,
    before: Callable[[pd.DataFrame], None] | None = None,
) -> None:
    """One panel: question, figure, table; a click on either opens the clips behind it.

    ``before`` draws what a page has of its own above the figure, from the chosen rows.
    """
    frame = stored.panel(state.sql, name, diagnosis)
    if frame.empty:
        page.empty(
            f"The panel {escape_markdown(name)} has no row for this student and these clips.",
            page.command("diagnose", "--student", diagnosis.student, "--panels", name),
        )
        return
    view = _choose_view(name, frame, key, diagnosis.alpha)
    page.section(view.title, view.reading)
    if not diagnosis.is_of_last(name):
        st.caption(
            ":material/history: From an earlier diagnosis: the last one did not compute this panel."
        )
    shown = _choose(panel_rows.of_view(frame, view), view, key)
    if before:
        before(shown)
    clicked = _figure(shown, view, diagnosis, key)
    position = _table(shown, key)
    for line in panel_rows.reason_lines(shown):
        st.caption(escape_markdown(line))
    picked = clicked if clicked is not None else position
    if picked is None:
        st.caption("Click a mark or a row for the clips behind it.")
    elif picked in frame.index:
        show_influential_clips(diagnosis, name, frame, view, picked)


def _choose_view(name: str, frame: pd.DataFrame, key: str, alpha: float) -> PanelView:
    """One way of showing the panel, where there are several."""
    views = {view.title: view for view in views_of(name, stored.sql_types(frame), alpha)}
    if len(views) == 1:
        return next(iter(views.values()))
    return views[page.choose("Shown", list(views), key=f"{key}.view")]


def _choose(frame: pd.DataFrame, view: PanelView, key: str) -> pd.DataFrame:
    """The rows of the chosen measure and the like: one at a time is drawn."""
    choices = panel_rows.choices_of(frame, view)
    if not choices:
        return frame
    picked, names = {}, encoder_names(state.sql)
    for column, (name, values) in zip(
        st.columns(max(2, len(choices))), choices.items(), strict=False
    ):
        with column:
            picked[name] = page.choose(
                heading(name).capitalize(),
                values,
                key=f"{key}.{view.title}.{name}",
                show=lambda value: describe_choice(value, names),
            )
    return panel_rows.chosen(frame, picked)


def describe_choice(value: str, names: Mapping[str, str]) -> str:
    """A value of a column to choose from: encoders and measures as people call them."""
    return MEASURE_NAMES.get(value) or short_name(value, names)


def _figure(
    rows: pd.DataFrame, view: PanelView, diagnosis: stored.StoredDiagnosis, key: str
) -> int | None:
    """Draws the rows; the index of the one that was clicked."""
    plan = plan_figure(rows, view, diagnosis.roles, encoder_names(state.sql))
    if plan.kind == "none" and view.figure in ("dots", "curves"):
        st.caption("No row has a number; the table says why.")
    if plan.kind not in ("dots", "curves", "shares"):
        return None
    if plan.kind == "dots":
        role_legend(set(plan.drawn["role"]))
    event = page.charts(
        plotly_figures.draw(plan),
        key=f"{key}.{view.title}.chart",
        on_select="rerun",
        selection_mode="points",
        alt=f"{view.title}: {view.axis}, with 95% intervals.",
    )
    st.caption(describe_marks(plan, diagnosis.alpha))
    clicked = custom_data(event)
    return int(clicked[-1][0]) if clicked else None


def _table(frame: pd.DataFrame, key: str) -> int | None:
    """The rows as a table; the index of the one that was clicked."""
    shown = panel_rows.visible(frame)
    position = table.pick_any(shown.map(_flat), key=f"{key}.table")
    return None if position is None else int(shown.index[position])


def _flat(value: object) -> object:
    """Shares and lists as words: a table cell holds one value."""
    if isinstance(value, Mapping):
        names = encoder_names(state.sql)
        shares = value.items()
        return ", ".join(f"{short_name(name, names)} {number(share)}" for name, share in shares)
    if isinstance(value, (list, tuple, np.ndarray)):
        return ", ".join(map(str, value))
    return value


def show_influential_clips(
    diagnosis: stored.StoredDiagnosis, name: str, frame: pd.DataFrame, view: PanelView, picked: int
) -> None:
    """The clips that drive one row, with their sound."""
    row, names = frame.loc[picked].to_dict(), encoder_names(state.sql)
    in_short = {column: names.get(str(value), value) for column, value in row.items()}
    lines = panel_rows.row_lines(in_short, view, panel_rows.key_columns(frame, view))
    with st.container(border=True):
        st.subheader(f"Behind {escape_markdown(lines[0])}", anchor=False)
        st.markdown(escape_markdown("; ".join(lines[1:])))
        cells = stored.cells_of(state.sql, diagnosis, name)
        of_row = panel_rows.cells_of_rows([row], cells)[0]
        if not of_row:
            st.caption(
                "No clips are stored for this row: its number does not rest on single clips."
            )
            return
        cell = of_row[0]
        if len(of_row) > 1:
            cell = page.choose(
                "Cell",
                of_row,
                key=f"behind.{name}",
                show=lambda cell: describe_panel_cell(cell, names),
            )
        clips = stored.clips_of(state.sql, diagnosis, name, cell)
        for kind, of_kind in clips.groupby("kind", sort=False):
            _both_ends(str(kind), of_kind)


def _both_ends(kind: str, clips: pd.DataFrame) -> None:
    n = min(N_CLIPS, -(-len(clips) // 2))
    st.caption(
        f"Influence of a clip: {escape_markdown(panel_rows.INFLUENCE.get(kind, kind))}. "
        f"{n} of {len(clips):,} stored clips at each end."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Most**")
        _cards(clips.head(n), key=f"{kind}.most")
    with right:
        st.markdown("**Least**")
        _cards(clips.iloc[max(n, len(clips) - n) :].iloc[::-1], key=f"{kind}.least")


def _cards(side: pd.DataFrame, key: str) -> None:
    rows = segments(state.sql, side["segment_id"].tolist())
    for value, (_, row) in zip(side["influence"], rows.iterrows(), strict=True):
        segment_card(segment_of(row.to_dict()), f"**{escape_markdown(signed(value))}**", key)
