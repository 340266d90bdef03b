"""Overview: what is in the workspace, and what was found."""

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import overview
from usad_workbench.workbench.presenters.clips import segment_of, segments
from usad_workbench.workbench.presenters.colours import ROLE_HELP
from usad_workbench.workbench.presenters.diagnosis import findings, stored
from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.encoders import student_of
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.diagnosis import says_most
from usad_workbench.workbench.widgets.findings import PANEL, show_findings
from usad_workbench.workbench.widgets.hear import show_trio
from usad_workbench.workbench.widgets.picture import show_picture

N_HEARD = 3


def view() -> None:
    page.head("Overview", "What was found in this workspace, how sure it is, and how it sounds.")
    totals = overview.totals(state.sql)
    if not totals.n_clips:
        page.empty("There are no clips yet.", page.command("import", "FOLDER"))
        return
    diagnosis = says_most(stored.diagnoses(state.sql))
    found = pd.DataFrame() if diagnosis is None else stored.panel(state.sql, PANEL, diagnosis)
    if diagnosis is not None and len(found):
        said(diagnosis, found)
    if page.is_comparable():
        show_picture()
        if diagnosis is None or found.empty:
            student = student_of(state.sql) or "STUDENT"
            page.empty(
                "Similar is not inherited: no diagnosis has compared it with peers and placebos yet.",
                page.command("diagnose", "--student", student),
            )
    if diagnosis is not None and len(found):
        hear(diagnosis, found)
        show_findings(diagnosis, with_clips=False)
    st.divider()
    page.section("In this workspace", overview.describe_totals(totals))
    domain_metrics()
    encoders()
    collections(totals.n_failures)


def said(diagnosis: stored.StoredDiagnosis, rows: pd.DataFrame) -> None:
    """The finding in one sentence, and its number in the next."""
    listed = findings.findings(rows)
    words, button = st.columns([5, 1], vertical_alignment="center")
    with words:
        st.subheader(
            escape_markdown(findings.headline(listed, encoder_names(state.sql))), anchor=False
        )
        st.markdown(escape_markdown(findings.describe_headline(listed)))
    with button:
        if st.button("How sure?", icon=":material/balance:", width="stretch"):
            st.switch_page("views/bias.py")


def hear(diagnosis: stored.StoredDiagnosis, rows: pd.DataFrame) -> None:
    """The clips that drive the finding, beside what student and teacher find nearest to each."""
    first = findings.findings(rows)[0]
    if not first.is_found:
        return
    cells = panel_rows.cells_of_rows([first.row], stored.cells_of(state.sql, diagnosis, PANEL))[0]
    if not cells:
        return
    clips = stored.clips_of(state.sql, diagnosis, PANEL, cells[0]).head(N_HEARD)
    names = encoder_names(state.sql)
    page.section(
        "Hear it",
        f"The clips that drive it most, of {escape_markdown(first.domain)}, each beside the nearest "
        "sound of another recording: as the student hears it, and as "
        f"{escape_markdown(short_name(first.teacher, names))} does.",
    )
    layers = {
        diagnosis.student: int(first.row["layer"]),
        first.teacher: int(first.row["teacher_layer"]),
    }
    heard = segments(state.sql, clips["segment_id"].tolist())
    for (_, row), column in zip(heard.iterrows(), st.columns(N_HEARD), strict=False):
        with column:
            show_trio(segment_of(row.to_dict()), layers)


def domain_metrics() -> None:
    domains = overview.domains(state.sql)
    for row, column in zip(domains.itertuples(), st.columns(len(domains)), strict=True):
        with column:
            st.metric(
                escape_markdown(row.domain),
                count(row.clips, "clip"),
                delta=f"{row.minutes:.1f} min, {count(row.clusters, 'cluster')}",
                delta_color="off",
                delta_arrow="off",
                border=True,
            )


def encoders() -> None:
    page.section("Encoders")
    rows = overview.encoder_rows(state.sql)
    if rows.empty:
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
