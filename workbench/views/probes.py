"""Probes: what a simple classifier reads out of each layer."""

import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.panels import page, table
from usad_workbench.workbench.presenters import probes
from usad_workbench.workbench.presenters.encoders import roles_of


def view() -> None:
    page.head(
        "Probes",
        "How much of each task a simple classifier reads out of frozen embeddings, layer by layer.",
    )
    keys = probes.probe_keys(state.sql)
    if keys.empty:
        page.empty(
            "No probe has been run yet. A probe is a small classifier that is trained on the "
            "vectors of one layer and judged on clips of other speakers, tracks or recordings.",
            page.command("evaluate"),
        )
        return
    left, right = st.columns(2)
    with left:
        task = page.choose("Task", sorted(keys["task"].unique()), key="probes.task")
    protocols = sorted(keys[keys["task"] == task]["protocol"].unique())
    with right:
        protocol = page.choose("Protocol", protocols, key="probes.protocol")
    rows = probes.probe_rows(state.sql, task, protocol)
    st.caption(probes.probe_words(rows))
    st.plotly_chart(
        probes.layer_figure(rows, roles_of(state.sql)), key="probes.chart", theme=None,
        config={"displayModeBar": False}, alt="Value by depth of the layer for each encoder.",
    )  # fmt: skip
    page.section("Best layer of each encoder")
    columns = [name for name in probes.TABLE_COLUMNS if rows[name].notna().any()]
    table.show(probes.best_layers(rows)[columns])
    with st.expander(f"All {len(rows):,} results of this task"):
        table.show(rows[columns])


if __name__ == "__main__":
    view()
