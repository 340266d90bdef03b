"""Probes: what a simple classifier reads out of each encoder."""

import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.panels import page, table
from usad_workbench.workbench.panels.legend import role_legend
from usad_workbench.workbench.presenters import probes
from usad_workbench.workbench.presenters.encoders import roles_of
from usad_workbench.workbench.presenters.figures import QUIET


def view() -> None:
    page.head(
        "Probes",
        "How much of each task a simple classifier reads out of frozen embeddings.",
    )
    protocols = probes.protocols(state.sql)
    if not protocols:
        page.empty(
            "No probe has been run yet. A probe is a small classifier that is trained on the "
            "vectors of one layer and judged on clips of other speakers, tracks or recordings.",
            page.command("evaluate"),
        )
        return
    left, _ = st.columns(2)
    with left:
        protocol = page.choose(
            "Protocol", protocols, key="probes.protocol",
            show=lambda p: probes.PROTOCOL_WORDS.get(p, p),
        )  # fmt: skip
    rows = probes.probe_rows(state.sql, protocol)
    roles = probes.roles_with_systems(roles_of(state.sql))
    st.caption(f"{probes.PROTOCOL_HELP.get(protocol, '')} {probes.probe_words(rows)}")
    role_legend(set(rows["encoder"].map(roles)))
    st.plotly_chart(
        probes.probe_figure(rows, roles), key="probes.chart", theme=None, config=QUIET,
        alt="Value of each encoder with its interval, one panel per task.",
    )  # fmt: skip
    page.section("As a table")
    table.show(probes.probe_table(rows, roles))


if __name__ == "__main__":
    view()
