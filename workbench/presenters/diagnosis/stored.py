"""Diagnoses that a workspace holds: which there are, and the rows of their panels."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from usad_workbench.core.diagnosis.record import PREFIX, VerdictRow
from usad_workbench.core.diagnosis.suite import LISTED
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.core.similarity.significance import ALPHA
from usad_workbench.core.storage.contents import has_table, table_names
from usad_workbench.core.storage.rows import rows_of_frame
from usad_workbench.core.storage.schema import quote
from usad_workbench.core.storage.unseen_domains import unseen_domains
from usad_workbench.workbench.presenters.encoders import participant_roles
from usad_workbench.workbench.presenters.sql import Sql

NOT_PANELS = ("drivers", "verdicts", "runs")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredDiagnosis:
    """One stored diagnosis: a student on a selection of clips."""

    student: str
    selection: str
    """Empty for the whole workspace."""
    students: tuple[str, ...] = ()
    """The student, or the seeds of one recipe that inheritance is a claim about."""
    teachers: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """What to keep in mind with every number, each once."""
    panels: tuple[str, ...] | None = None
    """Those that the last diagnosis computed; None in files that do not say."""
    are_teachers_known: bool = True
    """Whether somebody said who taught the student; else default roles stood in."""
    alpha: float = ALPHA
    """The level at which its panels say that something stands out."""
    domains: tuple[str, ...] = ()
    unseen_domains: tuple[str, ...] = ()
    """Those of which no teacher of this diagnosis is."""

    @property
    def is_repeatable(self) -> bool:
        """Whether its selection is SQL, and so can be made again; lists of clips are not kept."""
        return not self.selection.endswith(LISTED)

    def is_of_last(self, panel: str) -> bool:
        """Whether the last diagnosis computed this panel; its rows may be of an earlier one."""
        return self.panels is None or panel in self.panels

    @property
    def roles(self) -> dict[str, str]:
        """Role of each encoder in this diagnosis, in the order of their colours."""
        return participant_roles(self.student, self.teachers, self.controls, self.baselines)


def _stored_diagnosis(student: str, selection: str, document: str) -> StoredDiagnosis:
    """A row of the table ``diagnosis_runs``; what an older file does not say has its default."""
    head = json.loads(document)
    panels = head.get("panels")
    return StoredDiagnosis(
        student=student,
        selection=selection,
        students=tuple(head.get("students", ())) or (student,),
        teachers=tuple(head.get("teachers", ())),
        controls=tuple(head.get("controls", ())),
        baselines=tuple(head.get("baselines", ())),
        warnings=tuple(dict.fromkeys(map(str, head.get("warnings", ())))),
        panels=None if panels is None else tuple(panels),
        are_teachers_known=bool(head.get("are_teachers_known", True)),
        alpha=float(head.get("alpha", ALPHA)),
        domains=tuple(head.get("domains", ())),
        unseen_domains=tuple(head.get("unseen_domains", ())),
    )


def alpha_for(sql: Sql, student: str) -> float:
    """The level of a student's diagnosis of the whole workspace; the shipped one where none."""
    whole = _whole_workspace(sql, student)
    return whole.alpha if whole else ALPHA


def unseen_for(sql: Sql, student: str) -> set[str]:
    """The domains that no teacher of a student is of, as its diagnosis of the whole workspace says.

    A diagnosis may name other teachers than the record. What it did not compare is as recorded.
    """
    whole, recorded = _whole_workspace(sql, student), unseen_domains(sql, student)
    if whole is None:
        return recorded
    return set(whole.unseen_domains) | (recorded - set(whole.domains))


def _whole_workspace(sql: Sql, student: str) -> StoredDiagnosis | None:
    found = (one for one in diagnoses(sql) if one.student == student and not one.selection)
    return next(found, None)


def panel_names(sql: Sql) -> list[str]:
    """Panels that have a table, in the order in which ``usad diagnose`` computes them."""
    from usad_workbench.core.diagnosis.panels import PANELS

    names = [name.removeprefix(PREFIX) for name in table_names(sql, PREFIX)]
    order = {kind.name: i for i, kind in enumerate(PANELS)}
    panels = [name for name in names if name not in NOT_PANELS]
    return sorted(panels, key=lambda name: (order.get(name, len(order)), name))


def diagnoses(sql: Sql) -> list[StoredDiagnosis]:
    """The stored diagnoses, whole workspaces first."""
    if not _has(sql, "runs"):
        return []
    rows = sql(f"SELECT * FROM {PREFIX}runs ORDER BY student, selection")
    return [
        _stored_diagnosis(student, selection, document)
        for student, selection, document in rows[["student", "selection", "document"]].to_numpy()
    ]


def verdicts(sql: Sql, diagnosis: StoredDiagnosis) -> list[Verdict]:
    """The verdicts of a diagnosis."""
    frame = _of(sql, "verdicts", diagnosis)
    return [
        Verdict(
            question=row.question,
            verdict=row.verdict,
            rule=row.rule,
            evidence=json.loads(row.evidence),
        )
        for row in rows_of_frame(frame, VerdictRow, PREFIX + "verdicts")
    ]


def panel(sql: Sql, name: str, diagnosis: StoredDiagnosis) -> pd.DataFrame:
    """The rows of one panel of a diagnosis, empty where there are none."""
    return _of(sql, name, diagnosis).drop(columns=["student", "selection"], errors="ignore")


def sql_types(frame: pd.DataFrame) -> dict[str, str]:
    """The columns of a stored panel with their SQL types, as far as views tell them apart."""
    return {str(name): _sql_type(frame[name]) for name in frame}


def _sql_type(values: pd.Series) -> str:
    if pd.api.types.is_float_dtype(values):
        return "DOUBLE"
    # A map or a list is no name that rows could be chosen by.
    return "VARCHAR" if values.map(pd.api.types.is_hashable).all() else "MAP"


def clips_of(sql: Sql, diagnosis: StoredDiagnosis, panel_name: str, cell: str) -> pd.DataFrame:
    """The clips that drive a cell, first segment of each, largest influence first.

    Columns ``clip_id, segment_id, influence, kind``; a clip may have several kinds.
    """
    if not _has(sql, "drivers"):
        return pd.DataFrame(columns=["clip_id", "segment_id", "influence", "kind"])
    return sql(
        "SELECT clip_id, min(segment_id) AS segment_id, any_value(influence) AS influence, "
        f"kind FROM {PREFIX}drivers JOIN segments_of_clips USING (clip_id) "
        "WHERE student = ? AND selection = ? AND panel = ? AND cell = ? "
        "GROUP BY clip_id, kind ORDER BY influence DESC, clip_id",
        [diagnosis.student, diagnosis.selection, panel_name, cell],
    )


def cells_of(sql: Sql, diagnosis: StoredDiagnosis, panel_name: str) -> Sequence[str]:
    """The cells of a panel that have clips stored."""
    if not _has(sql, "drivers"):
        return []
    rows = sql(
        f"SELECT DISTINCT cell FROM {PREFIX}drivers WHERE student = ? AND selection = ? "
        "AND panel = ? ORDER BY cell",
        [diagnosis.student, diagnosis.selection, panel_name],
    )
    return [str(cell) for cell in rows["cell"]]


def _of(sql: Sql, name: str, diagnosis: StoredDiagnosis) -> pd.DataFrame:
    if not _has(sql, name):
        return pd.DataFrame()
    return sql(
        f"SELECT * FROM {quote(PREFIX + name)} WHERE student = ? AND selection = ?",
        [diagnosis.student, diagnosis.selection],
    )


def _has(sql: Sql, name: str) -> bool:
    return has_table(sql, PREFIX + name)
