"""Bias: what was decided, and every panel of the diagnosis down to the sound."""

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import layers, overview
from usad_workbench.workbench.presenters.diagnosis import nearest, stored
from usad_workbench.workbench.presenters.diagnosis.views import VIEWS
from usad_workbench.workbench.presenters.encoders import roles_for
from usad_workbench.workbench.presenters.names import encoder_names
from usad_workbench.workbench.presenters.text import (
    MEASURE_HELP,
    escape_markdown,
    measure_name,
    sentence,
)
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.between import show_between
from usad_workbench.workbench.widgets.cell import show_cell
from usad_workbench.workbench.widgets.clicks import custom_data
from usad_workbench.workbench.widgets.diagnose_again import show_diagnose
from usad_workbench.workbench.widgets.diagnosis import (
    choose_diagnosis,
    show_panel,
    show_verdicts,
    show_warnings,
)
from usad_workbench.workbench.widgets.findings import show_findings
from usad_workbench.workbench.widgets.legend import role_legend


def view() -> None:
    page.head(
        "Bias",
        "Is the student nearer to its teachers than to encoders that did not teach it? Domain by "
        "domain.",
    )
    show_diagnose()
    diagnosis = choose_diagnosis("bias")
    if diagnosis is None:
        if len(layers.compared(state.sql)):
            similarity()
        return
    show_findings(diagnosis)
    show_verdicts(diagnosis)
    show_warnings(diagnosis)
    names = list(dict.fromkeys([*stored.panel_names(state.sql), "similarity"]))
    name = page.choose(
        "Panel",
        names,
        key="bias.panel",
        default="inheritance",
        show=lambda one: VIEWS[one].title if one in VIEWS else one,
    )
    if name == "similarity" and not diagnosis.selection:
        similarity()
    else:
        show_panel(diagnosis, name, f"bias.{name}.{diagnosis.student}.{diagnosis.selection}")
        if name == "attribution":
            rows = stored.panel(state.sql, name, diagnosis)
            is_reliable = "is_reliable" not in rows or bool(rows["is_reliable"].fillna(False).any())
            show_between(diagnosis.student, is_reliable=is_reliable)


def similarity() -> None:
    """Whom the student is nearest to, beside what controls reach."""
    compared = layers.compared(state.sql)
    if compared.empty:
        page.not_compared()
        return
    left, right = st.columns(2)
    with left:
        students = sorted(compared["student"].unique())
        student = page.choose_encoder("Student", students, key="bias.student")
    measures = overview.measures(state.sql)
    with right:
        measure = page.choose("Measure", measures, key="bias.measure", show=measure_name)
    st.caption(MEASURE_HELP.get(measure, ""))
    st.info(nearest.CAUTION, icon=":material/info:")
    statements(student, measure)
    chart(student, measure)


def statements(student: str, measure: str) -> None:
    page.section("In words")
    rows = nearest.nearest_rows(state.sql, student, measure)
    if not rows:
        page.not_compared()
        return
    unseen = stored.unseen_for(state.sql, student)
    alpha = stored.alpha_for(state.sql, student)
    if student not in overview.students_on_record(state.sql):
        st.caption(f"{escape_markdown(student)}: {overview.NO_RECORD}.")
    for row in rows:
        with st.container(border=True):
            st.markdown(
                f"**{escape_markdown(row.domain)}**: {nearest.verdict(row, alpha)}"
                + (f" · {overview.UNSEEN}" if row.domain in unseen else "")
            )
            st.markdown(escape_markdown(sentence(row.statement)))


def chart(student: str, measure: str) -> None:
    page.section(
        "In numbers",
        "Each dot is an encoder at the pair of layers where the student is nearest to it, with "
        "its 95% interval; the grey tick is its null. Click a dot for the clips behind it.",
    )
    best = nearest.best_per_encoder(state.sql, student, measure)
    roles = roles_for(state.sql, student)
    unseen = frozenset(stored.unseen_for(state.sql, student))
    role_legend(set(best["teacher"].map(roles)))
    event = page.charts(
        nearest.dots(best, roles, unseen, measure, encoder_names(state.sql)),
        key=f"bias.chart.{student}.{measure}",
        on_select="rerun",
        selection_mode="points",
        alt="Best value of each encoder with its interval, one chart per domain.",
    )
    clicked = custom_data(event)
    if clicked:
        domain, teacher, student_layer, teacher_layer = clicked[-1]
        show_influential_clips(
            state.Cell(student, int(student_layer), teacher, int(teacher_layer), domain, measure)
        )
    means(best, roles)
    with st.expander("These numbers as a table"):
        table.show(
            best.assign(role=best["teacher"].map(roles)).rename(columns={"teacher": "encoder"})[
                [
                    "domain",
                    "encoder",
                    "role",
                    "value",
                    "ci_low",
                    "ci_high",
                    "null_q95",
                    "p_value",
                    "student_layer",
                    "teacher_layer",
                    "n_pairs",
                    "n_clips",
                    "n_clusters",
                ]
            ],
            file_name="bias.csv",
        )


def show_influential_clips(cell: state.Cell) -> None:
    with st.container(border=True):
        if st.button("All layers of this pair", icon=":material/grid_on:"):
            state.ask_cell(cell)
            st.switch_page("views/layers.py")
        show_cell(cell)


def means(best: pd.DataFrame, roles: dict[str, str]) -> None:
    page.section(
        "Mean over domains",
        "The plain mean of the values above: every domain weighs the same, clips are never pooled "
        "over domains.",
    )
    over_domains = nearest.mean_over_domains(best)
    over_domains.insert(1, "role", over_domains["encoder"].map(roles))
    table.show(over_domains)


if __name__ == "__main__":
    view()
