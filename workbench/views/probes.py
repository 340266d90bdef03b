"""Probes: what a simple classifier reads out of each encoder."""

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import data, probes
from usad_workbench.workbench.presenters.diagnosis import marks as panel_marks
from usad_workbench.workbench.presenters.diagnosis import plotly_figures, stored
from usad_workbench.workbench.presenters.diagnosis.views import view_of
from usad_workbench.workbench.presenters.encoders import roles_of
from usad_workbench.workbench.presenters.names import encoder_names
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.behind import show_tasks_behind
from usad_workbench.workbench.widgets.confusion import show_confusion
from usad_workbench.workbench.widgets.diagnosis import choose_diagnosis, show_panel, show_warnings
from usad_workbench.workbench.widgets.legend import role_legend
from usad_workbench.workbench.widgets.through_layers import show_through_layers

COSTS = {
    "n_params": "parameters in use",
    "n_params_resident": "parameters in memory",
    "flops_per_s": "operations per second of audio",
    "rtf": "seconds of computing per second of audio",
    "embedding_bytes": "bytes per embedding",
}


def view() -> None:
    page.head(
        "Probes",
        "How much of each task a simple classifier reads out of frozen embeddings.",
    )
    probed()
    routing()


def routing() -> None:
    """Systems with cost beside accuracy, from the diagnosis."""
    diagnosis = choose_diagnosis("probes.diagnosis")
    if diagnosis is None:
        return
    show_warnings(diagnosis)

    def against_cost(rows: pd.DataFrame) -> None:
        costs = [name for name in COSTS if name in rows and rows[name].notna().any()]
        view = view_of("routing", stored.sql_types(rows))
        drawn = panel_marks.marks(rows, view, diagnosis.roles)
        if not costs or drawn.empty:
            return
        cost = page.choose("Cost", costs, key="probes.cost", show=lambda one: COSTS[one])
        page.charts(
            plotly_figures.cost_figure(drawn, rows[cost], COSTS[cost]),
            key="probes.routing",
            alt="Value of each system against its cost, per task.",
        )

    show_panel(
        diagnosis,
        "routing",
        f"probes.routing.{diagnosis.student}.{diagnosis.selection}",
        before=against_cost,
    )


def probed() -> None:
    """Values of every encoder on every task."""
    show_tasks_behind()
    protocols = probes.protocols(state.sql)
    if not protocols:
        page.empty(
            "No probe has been run yet. A probe is a small classifier that is trained on the "
            "vectors of one layer and judged on clips of other speakers, tracks or recordings.",
            page.command("evaluate"),
        )
        if data.tasks(state.sql).empty:
            page.empty(
                f"It needs tasks first. {data.NO_TASKS}", page.command("import", *data.TASKS)
            )
        return
    left, _ = st.columns(2)
    with left:
        protocol = page.choose(
            "Protocol",
            protocols,
            key="probes.protocol",
            show=lambda p: probes.PROTOCOL_NAMES.get(p, p),
        )
    rows = probes.probe_rows(state.sql, protocol)
    roles = probes.roles_with_systems(roles_of(state.sql))
    st.caption(f"{probes.PROTOCOL_HELP.get(protocol, '')} {probes.describe_probe(rows)}")
    for words in probes.describe_untested(rows):
        st.caption(f":material/block: {escape_markdown(words)}")
    if rows["value"].notna().any():
        role_legend(set(rows["encoder"].map(roles)))
        page.charts(
            probes.probe_figure(rows, roles, encoder_names(state.sql)),
            key="probes.chart",
            alt="Value of each encoder with its interval, one chart per task.",
        )
    show_through_layers(protocol)
    show_confusion(protocol)
    page.section("As a table")
    table.show(probes.probe_table(rows, roles), file_name="probes.csv")


if __name__ == "__main__":
    view()
