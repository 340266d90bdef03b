"""A diagnosis from the page: of a student, on a selection, beside another; in the background."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from usad_workbench.core.diagnosis.panels import PANELS
from usad_workbench.core.diagnosis.run import diagnose
from usad_workbench.core.evaluation.evaluate import evaluate
from usad_workbench.core.progress import Progress, part_of
from usad_workbench.core.storage.annotations import tag_counts
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench import jobs, state
from usad_workbench.workbench.presenters import gains
from usad_workbench.workbench.presenters.clips import tagged
from usad_workbench.workbench.presenters.diagnosis import stored
from usad_workbench.workbench.presenters.diagnosis.findings import describe_students
from usad_workbench.workbench.presenters.diagnosis.views import VIEWS
from usad_workbench.workbench.presenters.encoders import student_of
from usad_workbench.workbench.report import write_report
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.job import await_result

ASKED = "diagnosis.asked"
NOBODY = "nobody"
ANY = "any"


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedDiagnosis:
    """What somebody asked to be computed."""

    students: tuple[str, ...]
    """One, or the seeds of one recipe, of which inheritance is asked together."""
    teachers: tuple[str, ...] = ()
    """Those on record where empty."""
    compare: str | None = None
    where: str = ""
    panels: tuple[str, ...] = ()
    """All where empty."""
    evaluates: bool = False
    """Whether all encoders are evaluated on the workspace's tasks first."""

    def after_evaluation(self) -> "AskedDiagnosis":
        """The same behind ``usad evaluate``."""
        return replace(self, evaluates=True)

    def beside(self, other: str) -> "AskedDiagnosis":
        """The same compared with another student."""
        return replace(self, compare=other)


def once_more(diagnosis: stored.StoredDiagnosis) -> AskedDiagnosis:
    """What computes a stored diagnosis again, with every encoder that has come since."""
    return AskedDiagnosis(
        students=diagnosis.students,
        teachers=diagnosis.teachers if diagnosis.are_teachers_known else (),
        where=diagnosis.selection,
    )


def ask(asked: AskedDiagnosis) -> None:
    """Starts it, and draws the page anew, where its progress stands on top."""
    st.session_state[ASKED] = asked
    jobs.forget(_key(asked))
    st.rerun()


def show_diagnose() -> None:
    """What to compute and a button; of what was asked for its progress, and its report at the end."""
    students = gains.students(state.sql)
    if not students or not page.is_comparable():
        return
    with st.expander("Compute a diagnosis here", icon=":material/play_arrow:"):
        _form(students)
    if ASKED in st.session_state:
        _follow(st.session_state[ASKED])


def _form(students: list[str]) -> None:
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
    panels = st.multiselect(
        "Panels",
        [kind.name for kind in PANELS],
        key="again.panels",
        placeholder="all",
        format_func=lambda name: VIEWS[name].title if name in VIEWS else name,
    )
    asked = AskedDiagnosis(
        students=(student,),
        compare=None if compare == NOBODY else compare,
        where=where,
        panels=tuple(panels),
    )
    of_recipe = _seeds_of(student)
    if of_recipe and st.toggle(f"With the other seeds: {describe_students(of_recipe)}", value=True):
        asked = replace(asked, students=of_recipe)
    if st.button("Compute", type="primary"):
        ask(asked)


def _seeds_of(student: str) -> tuple[str, ...]:
    """The seeds that an earlier diagnosis of this student took together; empty where none did."""
    of_several = (one.students for one in stored.diagnoses(state.sql) if len(one.students) > 1)
    return next((group for group in of_several if group[0] == student), ())


def _key(asked: AskedDiagnosis) -> tuple[object, ...]:
    return ("diagnose", str(state.workspace().folder), asked)


def _follow(asked: AskedDiagnosis) -> None:
    workspace = state.workspace()

    def work(progress: Progress) -> bytes:
        return _compute(workspace, asked, progress)

    words = f"Diagnosing {describe_students(asked.students)}"
    report = await_result(_key(asked), words, work)
    if report is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.success("It is stored, and stands on this page.")
        st.download_button(
            "Download the report",
            report,
            "report.html",
            "text/html",
            icon=":material/download:",
            on_click="ignore",
        )


def _compute(workspace: Workspace, asked: AskedDiagnosis, progress: Progress) -> bytes:
    """The report of the diagnosis, which is stored then."""
    if asked.evaluates:
        evaluate(workspace, progress=part_of(progress, 0, 2))
        progress = part_of(progress, 1, 2)
    found = diagnose(
        workspace,
        asked.students,
        teachers=asked.teachers or None,
        where=asked.where,
        panels=asked.panels or None,
        compare=asked.compare,
        n_processes=1,  # memory stays that of one panel, and a step can be cancelled
        progress=progress,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        write_report(path, found, found.verdicts, found.rules_text, workspace)
        return path.read_bytes()
