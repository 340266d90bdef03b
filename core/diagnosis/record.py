"""A diagnosis as it is kept: tables of ``workspace.duckdb``, and the document of ``--json``.

A table ``diagnosis_<panel>`` for each panel, whose row's dataclass declares it;
``diagnosis_drivers`` for the clips behind cells, ``diagnosis_verdicts`` and ``diagnosis_runs``.
Rows belong to a student and a selection; the same diagnosis again replaces them, all in one
transaction.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

import pandas as pd

from usad_workbench.core.diagnosis.panel import Panel
from usad_workbench.core.diagnosis.suite import Diagnosis, panel_kinds
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.core.storage.contents import table_names
from usad_workbench.core.storage.rows import write_rows
from usad_workbench.core.storage.schema import quote
from usad_workbench.core.storage.told_recipes import told_recipes
from usad_workbench.core.storage.workspace import Workspace

PREFIX = "diagnosis_"


@dataclass(frozen=True, kw_only=True, slots=True)
class InfluentialClipRow:
    """A row of ``diagnosis_drivers``: a clip that moves one cell of a panel."""

    panel: str
    cell: str
    clip_id: str
    influence: float
    kind: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictRow:
    """A row of ``diagnosis_verdicts``; the evidence is JSON."""

    question: str
    verdict: str
    rule: str
    evidence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """A row of ``diagnosis_runs``: what is said of a whole diagnosis, as JSON."""

    document: str


def store_diagnosis(workspace: Workspace, diagnosis: Diagnosis) -> None:
    """Writes panels, influential clips and verdicts, replacing those of the same diagnosis."""
    key = {"student": diagnosis.student, "selection": diagnosis.selection}
    head = _head(diagnosis) | {"panels": list(diagnosis.panels), "rules": diagnosis.rules_text}
    run = RunRow(document=json.dumps(head, ensure_ascii=False))
    verdicts = [_verdict_row(verdict) for verdict in diagnosis.verdicts]
    with workspace.database.write() as connection:
        for name, panel in diagnosis.panels.items():
            write_rows(connection, PREFIX + name, panel.row_type, panel.rows, key=key)
            write_rows(
                connection,
                PREFIX + "drivers",
                InfluentialClipRow,
                list(_clip_rows(panel)),
                key=key | {"panel": name},
            )
        write_rows(connection, PREFIX + "verdicts", VerdictRow, verdicts, key=key)
        write_rows(connection, PREFIX + "runs", RunRow, [run], key=key)


def _clip_rows(panel: Panel) -> Iterator[InfluentialClipRow]:
    for clips in panel.influential:
        for clip_id, influence in zip(clips.clip_ids, clips.influence.tolist(), strict=True):
            yield InfluentialClipRow(
                panel=panel.name,
                cell=clips.cell,
                clip_id=clip_id,
                influence=influence,
                kind=clips.kind,
            )


def _verdict_row(verdict: Verdict) -> VerdictRow:
    return VerdictRow(
        question=verdict.question,
        verdict=verdict.verdict,
        rule=verdict.rule,
        evidence=json.dumps(verdict.evidence, ensure_ascii=False),
    )


def is_diagnosed(
    workspace: Workspace, students: Sequence[str], panels: Sequence[str] | None = None
) -> bool:
    """Whether a diagnosis of the whole workspace is stored that the same call would repeat.

    Args:
        workspace: Where it would be stored.
        students: One, or the seeds of one recipe.
        panels: Names; all where none.
    """
    if not workspace.has_table(PREFIX + "runs"):
        return False
    found = workspace.read(
        f"SELECT document FROM {PREFIX}runs WHERE student = ? AND selection = ''", [students[0]]
    )
    if found.empty:
        return False
    head = json.loads(found.document[0])
    spaces = workspace.spaces()
    weights = dict(zip(spaces.encoder, spaces.weights_sha256, strict=True))
    asked = {kind.name for kind in panel_kinds(panels)}
    of_then = head["provenance"]["weights_sha256"]
    return (
        head["students"] == list(students)
        and asked <= set(head["panels"])
        and all(weights.get(name) == was for name, was in of_then.items())
        and _would_stand_beside(workspace, students[0]) <= set(of_then)
    )


def _would_stand_beside(workspace: Workspace, student: str) -> set[str]:
    """Whom a diagnosis of a student looks at where nobody is named."""
    kept = workspace.encoders()
    others = set(kept.encoder[kept.role != "student"]) & set(workspace.embedded())
    alike = [one.students for one in told_recipes(workspace) if student in one.students]
    return others.union(*alike)


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, object]:
    """The JSON document of ``usad diagnose``; panels that were not asked for are missing."""
    panels = {name: panel.documents() for name, panel in diagnosis.panels.items()}
    verdicts = [asdict(verdict) for verdict in diagnosis.verdicts]
    document = _head(diagnosis) | {"verdicts": verdicts} | panels
    if "similarity" in diagnosis.panels and not diagnosis.selection:
        document["nearest"] = [asdict(row) for row in diagnosis.nearest]
    return document


def _head(diagnosis: Diagnosis) -> dict[str, object]:
    """What is said of a diagnosis beside its panels and what follows from them, as plain values."""
    left_out = ("panels", "verdicts", "rules_text", "nearest")
    head = {
        field.name: getattr(diagnosis, field.name)
        for field in fields(diagnosis)
        if field.name not in left_out
    }
    return head | {"provenance": asdict(diagnosis.provenance)}


def stored_panels(
    workspace: Workspace, student: str, selection: str = ""
) -> dict[str, pd.DataFrame]:
    """The stored tables of one diagnosis by panel; empty where there is none."""
    names = table_names(workspace.read, PREFIX)
    return {
        name.removeprefix(PREFIX): workspace.read(
            f"SELECT * FROM {quote(name)} WHERE student = ? AND selection = ?",
            [student, selection],
        )
        for name in names
    }


def stored_influential_clips(
    workspace: Workspace, student: str, panel: str, cell: str, selection: str = ""
) -> pd.DataFrame:
    """The clips that drive one cell: ``clip_id, influence, kind``, largest influence first."""
    if not workspace.has_table(PREFIX + "drivers"):
        return pd.DataFrame(columns=["clip_id", "influence", "kind"])
    return workspace.read(
        f"SELECT clip_id, influence, kind FROM {PREFIX}drivers WHERE student = ? AND "
        "selection = ? AND panel = ? AND cell = ? ORDER BY influence DESC, clip_id",
        [student, selection, panel, cell],
    )
