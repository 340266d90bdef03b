"""Overview: what is in the workspace, and what was found."""

from collections.abc import Sequence

import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters import overview
from usad_workbench.workbench.presenters.colours import ROLE_HELP
from usad_workbench.workbench.presenters.diagnosis import findings, stored
from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis.findings import Finding
from usad_workbench.workbench.presenters.encoders import student_of
from usad_workbench.workbench.presenters.names import encoder_names, short_name
from usad_workbench.workbench.presenters.numbers import count
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page, table
from usad_workbench.workbench.widgets.diagnosis import says_most
from usad_workbench.workbench.widgets.findings import PANEL, show_answers
from usad_workbench.workbench.widgets.hear import show_trios
from usad_workbench.workbench.widgets.picture import show_picture

PURPOSE = "What was found in this workspace, how sure it is, and how it sounds."
N_HEARD = 3


def view() -> None:
    totals = overview.totals(state.sql)
    if not totals.n_clips:
        page.head("Overview", PURPOSE)
        page.empty("There are no clips yet.", page.command("import", "FOLDER"))
        return
    diagnosis = says_most(stored.diagnoses(state.sql))
    rows = None if diagnosis is None else stored.panel(state.sql, PANEL, diagnosis)
    found = [] if rows is None or rows.empty else findings.findings(rows)
    if diagnosis is None or not found:
        page.head("Overview", PURPOSE)
        if page.is_comparable():
            show_picture()
            page.empty(
                "Similar is not inherited: no diagnosis has compared it with peers and placebos yet.",
                page.command("diagnose", "--student", student_of(state.sql) or "STUDENT"),
            )
    else:
        proof(diagnosis, found, totals)
    st.divider()
    page.section("In this workspace", overview.describe_totals(totals))
    domain_metrics()
    encoders()
    collections(totals.n_failures)


def proof(
    diagnosis: stored.StoredDiagnosis, found: Sequence[Finding], totals: overview.Totals
) -> None:
    """The first screen: the finding in one sentence, its picture, its sounds and the other answers."""
    page.unseen_head("Overview")
    said(diagnosis, found, totals)
    clips = driving_clips(diagnosis, found[0])
    picture, sounds = st.columns([7, 3]) if clips else (st.container(), None)
    with picture, st.container(border=True, height="stretch", gap="small"):
        show_picture()
    if sounds:
        with sounds, st.container(border=True, height="stretch", gap="small"):
            hear(diagnosis, found[0], clips)
    show_answers(found)
    elsewhere = findings.describe_elsewhere(found)
    if elsewhere:
        st.caption(escape_markdown(elsewhere))


def said(
    diagnosis: stored.StoredDiagnosis, found: Sequence[Finding], totals: overview.Totals
) -> None:
    """The finding in one sentence, and its number in the next."""
    student = short_name(diagnosis.student, encoder_names(state.sql))
    seeds = count(len(diagnosis.students) - 1, "other seed")
    of = f"{student} and {seeds} of its recipe" if len(diagnosis.students) > 1 else student
    about = (state.workspace().folder.name, overview.short_totals(totals), f"student: {of}")
    st.caption(escape_markdown(" · ".join(about)))
    words, button = st.columns([5, 1], vertical_alignment="center")
    with words:
        st.header(escape_markdown(findings.headline(found, encoder_names(state.sql))), anchor=False)
        st.markdown(escape_markdown(findings.describe_headline(found)))
    with button:
        if st.button("How sure?", icon=":material/balance:", width="stretch"):
            st.switch_page("views/bias.py")


def driving_clips(diagnosis: stored.StoredDiagnosis, first: Finding) -> list[int]:
    """The segments of the clips that drive a finding, the largest influence first."""
    if not first.is_found or "teacher_layer" not in first.row:  # stored before it was noted
        return []
    cells = panel_rows.cells_of_rows([first.row], stored.cells_of(state.sql, diagnosis, PANEL))[0]
    if not cells:
        return []
    clips = stored.clips_of(state.sql, diagnosis, PANEL, cells[0])
    return [int(one) for one in clips["segment_id"].drop_duplicates()]


def hear(diagnosis: stored.StoredDiagnosis, first: Finding, clips: Sequence[int]) -> None:
    """The clips that drive the finding, beside what student and teacher find nearest to each."""
    teacher = short_name(first.teacher, encoder_names(state.sql))
    page.section(
        "Hear it",
        "What drives the number, each beside the nearest other clip to the student and to "
        f"{escape_markdown(teacher)}.",
    )
    layers = {
        diagnosis.student: int(first.row["layer"]),
        first.teacher: int(first.row["teacher_layer"]),
    }
    show_trios(clips, N_HEARD, layers, ("student", teacher))


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
