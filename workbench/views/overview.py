"""Overview: what is in the workspace, and what was found."""

import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import overview
from usad_workbench.workbench.presenters.colours import ROLE_HELP
from usad_workbench.workbench.presenters.diagnosis import stored
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import escape_markdown, measure_name
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.diagnosis import says_most
from usad_workbench.workbench.widgets.findings import show_findings


def view() -> None:
    page.head("Overview", "What is in this workspace, and what was found in it.")
    totals = overview.totals(state.sql)
    if not totals.n_clips:
        page.empty("There are no clips yet.", page.command("import", "FOLDER"))
        return
    st.markdown(overview.describe_totals(totals))
    domain_metrics()
    taken()
    findings()
    encoders()
    collections(totals.n_failures)


def domain_metrics() -> None:
    domains = overview.domains(state.sql)
    for row, column in zip(domains.itertuples(), st.columns(len(domains)), strict=True):
        with column:
            st.metric(
                escape_markdown(row.domain),
                f"{row.clips:,} clips",
                delta=f"{row.minutes:.1f} min, {row.clusters:,} clusters",
                delta_color="off",
                delta_arrow="off",
                border=True,
            )


def taken() -> None:
    """What was inherited, of the diagnosis that says most."""
    diagnosis = says_most(stored.diagnoses(state.sql))
    if diagnosis is None:
        return
    show_findings(diagnosis, with_clips=False)
    if st.button("The clips behind it, on the page Bias", icon=":material/balance:"):
        st.switch_page("views/bias.py")


def findings() -> None:
    page.section(
        "Which teacher is the student nearest to?",
        "Per domain, at the pair of layers where the two are nearest. Cluster: one speaker, "
        "track or recording. The page Bias has the charts and the comparison with controls.",
    )
    measures = overview.measures(state.sql)
    headlines = overview.headlines(state.sql, measures[0]) if measures else []
    if not headlines:
        page.not_compared()
        return
    for headline in headlines:
        with st.container(border=True):
            head = [
                f"**{escape_markdown(headline.domain)}**",
                f"**{escape_markdown(headline.student)}**",
            ]
            st.markdown(
                f"{' · '.join([*head, *headline.notes])}  \n{escape_markdown(headline.statement)}"
            )
    st.caption(f"Measure: {measure_name(measures[0])}. Similar is not inherited: see Bias.")


def encoders() -> None:
    page.section("Encoders")
    rows = overview.encoder_rows(state.sql)
    if rows.empty:
        page.is_embedded()
        return
    for words in overview.describe_teachers(state.sql):
        st.markdown(escape_markdown(words))
    table.show(rows, is_raw=True, file_name="encoders.csv")
    for note in overview.licence_notes(state.sql):
        st.caption(f":material/gavel: {escape_markdown(note)}")
    used = [role for role in ROLE_HELP if role in set(rows["role"])]
    st.caption(" · ".join(f"{role}: {ROLE_HELP[role]}" for role in used))


def collections(n_failures: int) -> None:
    page.section("Collections")
    table.show(overview.collections(state.sql), file_name="collections.csv")
    if n_failures:
        st.caption(
            f"{count(n_failures, 'file or segment', 'files or segments')} could not be used; the "
            "page Data names each with its reason."
        )


if __name__ == "__main__":
    view()
