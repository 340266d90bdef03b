"""Layers: every student layer against every layer of another encoder, per domain."""

import pandas as pd
import streamlit as st

from usad_workbench.core.diagnosis.gain import MAX_CLIPS
from usad_workbench.core.diagnosis.rules import MIN_CLIPS
from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import gains, layers
from usad_workbench.workbench.presenters.colours import domain_order
from usad_workbench.workbench.presenters.diagnosis import stored
from usad_workbench.workbench.presenters.diagnosis.views import VIEWS
from usad_workbench.workbench.presenters.encoders import embedded, roles_for
from usad_workbench.workbench.presenters.figures import QUIET
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.text import MEASURE_HELP, measure_name
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.cell import show_cell
from usad_workbench.workbench.widgets.clicks import custom_data
from usad_workbench.workbench.widgets.diagnosis import choose_diagnosis, show_panel, show_warnings
from usad_workbench.workbench.widgets.picture import MEASURE, gain_rows

PER_ROW = 4
LAYER_PANELS = ("inheritance", "attribution", "variance", "partial")


def view() -> None:
    page.head(
        "Layers",
        "Which student layer lies near which layer of another encoder, domain by domain. Click a "
        "cell for the clips behind it.",
    )
    compared = layers.compared(state.sql)
    if compared.empty:
        if not page.is_comparable():
            return
        page.not_compared()
    take_over(state.asked_cell())
    student, teacher, measure = choose(compared)
    rows = layers.similarity(state.sql, student, teacher, measure)
    if rows.empty:  # two that no diagnosis has compared
        found = gain_rows(student, [teacher], "")
        if found is None:
            return
        rows = layers.computed_here(found, teacher)
        if rows.empty:
            st.caption(f"No domain has {MIN_CLIPS} clips of which both have vectors.")
            return
    domain, student_layer, teacher_layer = open_cell(rows)
    shown = less_untrained(rows, student, teacher, measure)
    maps(shown, student, teacher, measure, (domain, student_layer, teacher_layer))
    detail(rows, student, teacher, measure)
    with st.expander(f"All {len(shown):,} cells as a table"):
        table.show(shown[list(layers.TABLE_COLUMNS)], file_name="layers.csv")
    along(student)


def along(student: str) -> None:
    """What the diagnosis found layer by layer."""
    page.section(
        "Along the student's layers",
        "Each layer beside each teacher: nearer than controls, fitted as a mixture, predicted by a map.",
    )
    diagnosis = choose_diagnosis("layers.diagnosis", student)
    if diagnosis is None:
        return
    show_warnings(diagnosis)
    names = [name for name in LAYER_PANELS if name in stored.panel_names(state.sql)]
    if not names:
        page.empty("The panels along layers were not computed.", page.command("diagnose"))
        return
    name = page.choose("Panel", names, key="layers.panel", show=lambda one: VIEWS[one].title)
    show_panel(diagnosis, name, f"layers.{name}.{diagnosis.student}.{diagnosis.selection}")


def take_over(cell: state.Cell | None) -> None:
    """Puts the choice of another page into this page's lists."""
    if cell is None:
        return
    st.session_state["layers.student"] = cell.student
    st.session_state["layers.teacher"] = cell.teacher
    st.session_state["layers.measure"] = cell.measure
    set_cell(cell.domain, cell.student_layer, cell.teacher_layer)


def set_cell(domain: str, student_layer: int, teacher_layer: int) -> None:
    st.session_state["layers.domain"] = domain
    st.session_state["layers.student_layer"] = student_layer
    st.session_state["layers.teacher_layer"] = teacher_layer


def choose(compared: pd.DataFrame) -> tuple[str, str, str]:
    columns = st.columns(3)
    with columns[0]:
        students = sorted({*compared["student"], *gains.students(state.sql)})
        student = page.choose_encoder("Student", students, key="layers.student")
    of_student = compared[compared["student"] == student]
    roles = roles_for(state.sql, student)
    stored_pairs = set(of_student["teacher"])
    here = [name for name in embedded(state.sql) if name not in stored_pairs]
    names = [name for name in roles if name in stored_pairs or name in here]
    with columns[1]:
        teacher = page.choose_encoder(
            "Compared with",
            names,
            key="layers.teacher",
            roles=roles,
            default=layers.nearest(state.sql, student)
            or next((name for name in names if roles[name] == "teacher"), None),
        )
    measures = sorted(of_student[of_student["teacher"] == teacher]["measure"]) or [MEASURE]
    with columns[2]:
        measure = page.choose("Measure", measures, key="layers.measure", show=measure_name)
    st.caption(MEASURE_HELP.get(measure, ""))
    return student, teacher, measure


def open_cell(rows: pd.DataFrame) -> tuple[str, int, int]:
    """The cell that is open: as chosen, else the best of the chosen or first domain."""
    domains = domain_order(rows["domain"])
    domain = st.session_state.get("layers.domain")
    domain = domain if domain in domains else domains[0]
    best = layers.best_rows(rows)
    top = best[best["domain"] == domain].iloc[0] if domain in set(best["domain"]) else rows.iloc[0]
    at = []
    for name in ("student_layer", "teacher_layer"):
        chosen = st.session_state.get(f"layers.{name}")
        if chosen is None or chosen not in set(rows[name]):
            chosen = top[name]
        at.append(int(chosen))
    return domain, at[0], at[1]


def less_untrained(rows: pd.DataFrame, student: str, teacher: str, measure: str) -> pd.DataFrame:
    """The rows, or on demand what is left of them beyond an untrained student."""
    baseline = gains.untrained(state.sql, student)
    if not baseline or teacher == baseline or measure != MEASURE:
        return rows
    if not st.toggle("Less the untrained student", key="layers.less"):
        return rows
    found = gain_rows(student, [teacher], baseline)
    return rows if found is None or found.empty else layers.less_untrained(found, teacher)


def maps(
    rows: pd.DataFrame, student: str, teacher: str, measure: str, marked: tuple[str, int, int]
) -> None:
    is_difference = "is_difference" in rows
    top = gains.largest(rows) if is_difference else layers.top_of_scale(state.sql, student, measure)
    domains = domain_order(rows["domain"])
    # One chart a domain: on a small screen they go below each other.
    for start in range(0, len(domains), PER_ROW):
        in_row = domains[start : start + PER_ROW]
        for domain, column in zip(in_row, st.columns(len(in_row)), strict=True):
            with column:
                one_map(rows[rows["domain"] == domain], (student, teacher, measure), top, marked)
    if "is_here" in rows:
        st.caption(
            f"Computed here, as no diagnosis has compared the two: at most {MAX_CLIPS} clips of a "
            "domain, in whole clusters, without a null. The value of a cell stands in the table with its 95% interval."
        )
        return
    if is_difference:
        st.caption(
            "Orange: nearer than the untrained student at the same pair of layers, blue: further. × "
            f"marks cells whose 95% interval holds 0. The scale ends at {top:g}."
        )
        return
    alpha = stored.alpha_for(state.sql, student)
    above, n = sum(layers.stand_out(rows)), int(rows["value"].notna().sum())
    st.caption(
        f"× marks cells that do not stand out from what the same clips give when exchanged within "
        f"their cluster (q at most {alpha:g} over the panel): {n - above} of {n}. One colour scale for all domains "
        f"and encoders of this measure: 0 is palest, {top:g} darkest."
    )


def one_map(
    rows: pd.DataFrame,
    pair: tuple[str, str, str],
    top: float,
    marked: tuple[str, int, int],
) -> None:
    """The map of one domain; ``pair`` names student, other encoder and measure."""
    student, teacher, measure = pair
    domain = str(rows["domain"].iloc[0])
    names = encoder_names(state.sql)
    figure = layers.heatmaps(
        rows,
        student=short_name(student, names),
        teacher=short_name(teacher, names),
        measure=measure,
        top=top,
        is_dark=page.is_dark(),
        marked=marked,
    )
    figure.update_coloraxes(showscale=False)
    key = f"layers.chart.{student}.{teacher}.{measure}.{domain}"

    def clicked() -> None:
        picked = custom_data(st.session_state[key])
        if picked:
            set_cell(str(picked[-1][0]), int(picked[-1][1]), int(picked[-1][2]))

    st.plotly_chart(
        figure,
        key=key,
        on_select=clicked,
        selection_mode="points",
        config=QUIET,
        alt=f"{domain}: similarity, student layers upwards, the other encoder's layers across.",
    )


def detail(rows: pd.DataFrame, student: str, teacher: str, measure: str) -> None:
    """The chosen cell; the best one of the first domain until somebody chooses."""
    at = open_cell(rows)
    page.section(
        "Behind a cell", "The cell with the frame. Any other: click it, or choose it here."
    )
    columns = st.columns(3)
    with columns[0]:
        domain = page.choose("Domain", domain_order(rows["domain"]), key="layers.domain")
    with columns[1]:
        student_layer = page.choose(
            "Student layer",
            sorted(rows["student_layer"].unique().tolist()),
            key="layers.student_layer",
            default=at[1],
        )
    with columns[2]:
        teacher_layer = page.choose(
            "Other encoder's layer",
            sorted(rows["teacher_layer"].unique().tolist()),
            key="layers.teacher_layer",
            default=at[2],
        )
    show_cell(state.Cell(student, student_layer, teacher, teacher_layer, domain, measure))


if __name__ == "__main__":
    view()
