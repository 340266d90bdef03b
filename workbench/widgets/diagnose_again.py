"""A diagnosis from the page: of a student, on a selection, beside another; in the background."""

import tempfile
from pathlib import Path

import streamlit as st

from usad_workbench.core.diagnosis.panels import PANELS
from usad_workbench.core.diagnosis.run import diagnose
from usad_workbench.core.progress import Progress
from usad_workbench.core.storage.annotations import tag_counts
from usad_workbench.workbench import jobs, state
from usad_workbench.workbench.presenters import gains
from usad_workbench.workbench.presenters.clips import tagged
from usad_workbench.workbench.presenters.diagnosis.views import VIEWS
from usad_workbench.workbench.presenters.encoders import student_of
from usad_workbench.workbench.report import write_report
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.job import await_result

ASKED = "diagnosis.asked"
NOBODY = "nobody"
ANY = "any"


def show_diagnose() -> None:
    """What to compute, a button, and while it is computed its progress; its report at the end."""
    students = gains.students(state.sql)
    if not students or not page.is_comparable():
        return
    with st.expander("Compute a diagnosis here", icon=":material/play_arrow:"):
        left, middle, right, last = st.columns(4)
        with left:
            first = student_of(state.sql) or students[0]
            student = page.choose_encoder("Student", students, key="again.student", default=first)
        with middle:
            others = [NOBODY, *(one for one in students if one != student)]
            compare = page.choose("Compared with", others, key="again.compare")
        with right:
            where = st.text_input(
                "Clips (SQL, empty: all)", key="again.where", placeholder="domain = 'sound'"
            ).strip()
        with last:
            tags = [ANY, *tag_counts(state.workspace())]
            tag = page.choose("Of a tag", tags, key="again.tag", note="A selection of the map.")
        if tag != ANY:
            where = " AND ".join(filter(None, (where and f"({where})", tagged(tag))))
        names = [kind.name for kind in PANELS]
        panels = st.multiselect(
            "Panels",
            names,
            key="again.panels",
            placeholder="all",
            format_func=lambda name: VIEWS[name].title if name in VIEWS else name,
        )
        if st.button("Compute", type="primary"):
            asked = (student, compare, where, tuple(panels))
            st.session_state[ASKED] = asked
            jobs.forget(_key(asked))
        if ASKED in st.session_state:
            _follow(st.session_state[ASKED])


def _key(asked: tuple[str, str, str, tuple[str, ...]]) -> tuple[object, ...]:
    return ("diagnose", str(state.workspace().folder), *asked)


def _follow(asked: tuple[str, str, str, tuple[str, ...]]) -> None:
    student, compare, where, panels = asked
    workspace = state.workspace()

    def work(progress: Progress) -> bytes:
        found = diagnose(
            workspace,
            student,
            where=where,
            panels=list(panels) or None,
            compare=None if compare == NOBODY else compare,
            n_processes=1,  # memory stays that of one panel, and a step can be cancelled
            progress=progress,
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.html"
            write_report(path, found, found.verdicts, found.rules_text, workspace)
            return path.read_bytes()

    report = await_result(_key(asked), f"Diagnosing {student}", work)
    if report is not None:
        st.success("It is stored, and stands on this page.")
        st.download_button(
            "Download the report",
            report,
            "report.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
        )
