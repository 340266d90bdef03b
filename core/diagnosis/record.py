"""A diagnosis as it is kept: tables of ``workspace.duckdb``, and the document of ``--json``.

A table ``diagnosis_<panel>`` for each panel, ``diagnosis_drivers`` for the clips behind
cells, ``diagnosis_verdicts`` and ``diagnosis_runs``. Rows belong to a student and a selection; the
same diagnosis again replaces them, all in one transaction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.storage.contents import table_names
from usad_workbench.core.storage.schema import quote
from usad_workbench.core.storage.workspace import Workspace

PREFIX = "diagnosis_"
KEY = {"student": "VARCHAR", "selection": "VARCHAR"}
DRIVERS = {
    "panel": "VARCHAR",
    "cell": "VARCHAR",
    "clip_id": "VARCHAR",
    "influence": "DOUBLE",
    "kind": "VARCHAR",
}
VERDICTS = {"question": "VARCHAR", "verdict": "VARCHAR", "rule": "VARCHAR", "evidence": "VARCHAR"}
RUNS = {"document": "VARCHAR"}
_ARROW = {
    "VARCHAR": pa.string(),
    "DOUBLE": pa.float64(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "BOOLEAN": pa.bool_(),
}


def store_diagnosis(workspace: Workspace, diagnosis: Diagnosis) -> None:
    """Writes panels, influential clips and verdicts, replacing those of the same diagnosis."""
    key = {"student": diagnosis.student, "selection": diagnosis.selection}
    with workspace.database.write() as connection:
        for name, panel in diagnosis.panels.items():
            _replace(connection, name, panel.columns, panel.rows, key)
            clips = [
                {"panel": name, "cell": d.cell, "clip_id": clip, "influence": value, "kind": d.kind}
                for d in panel.drivers
                for clip, value in zip(d.clip_ids, d.influence.tolist(), strict=True)
            ]
            _replace(connection, "drivers", DRIVERS, clips, key | {"panel": name})
        rows = [
            asdict(verdict) | {"evidence": json.dumps(verdict.evidence, ensure_ascii=False)}
            for verdict in diagnosis.verdicts
        ]
        _replace(connection, "verdicts", VERDICTS, rows, key)
        head = _head(diagnosis) | {
            "panels": list(diagnosis.panels),
            "rules": diagnosis.rules_text,
        }
        document = json.dumps(head, ensure_ascii=False)
        _replace(connection, "runs", RUNS, [{"document": document}], key)


def diagnosis_document(diagnosis: Diagnosis) -> dict[str, Any]:
    """The JSON document of ``usad diagnose``; panels that were not asked for are missing."""
    panels = {name: [dict(row) for row in panel.rows] for name, panel in diagnosis.panels.items()}
    verdicts = [asdict(verdict) for verdict in diagnosis.verdicts]
    document = _head(diagnosis) | {"verdicts": verdicts} | panels
    if "similarity" in diagnosis.panels and not diagnosis.selection:
        document["nearest"] = [asdict(row) for row in diagnosis.nearest]
    return document


def _head(diagnosis: Diagnosis) -> dict[str, Any]:
    """What is said of a diagnosis beside its panels and what follows from them."""
    left_out = ("panels", "verdicts", "rules_text", "nearest")
    return {
        field.name: getattr(diagnosis, field.name)
        for field in fields(diagnosis)
        if field.name not in left_out
    }


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


def _replace(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    columns: Mapping[str, str],
    rows: Sequence[Mapping[str, Any]],
    key: Mapping[str, str],
) -> None:
    """Replaces the rows of one key; a table of an older shape is made anew."""
    table = quote(PREFIX + name)
    full = KEY | dict(columns)
    known = connection.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = ? "
        "ORDER BY ordinal_position",
        [PREFIX + name],
    ).fetchall()
    if known and [row[0] for row in known] != list(full):
        connection.execute(f"DROP TABLE {table}")
    declared = ", ".join(f"{quote(column)} {kind}" for column, kind in full.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({declared})")
    condition = " AND ".join(f"{quote(column)} = ?" for column in key)
    connection.execute(f"DELETE FROM {table} WHERE {condition}", list(key.values()))
    if rows:
        whole = [dict(key) | dict(row) for row in rows]
        columns_of = [
            pa.array([_value(row.get(column)) for row in whole], type=_arrow_type(kind))
            for column, kind in full.items()
        ]
        connection.register("new_rows", pa.table(columns_of, names=list(full)))
        connection.execute(f"INSERT INTO {table} SELECT * FROM new_rows")
        connection.unregister("new_rows")


def _arrow_type(kind: str) -> pa.DataType:
    """The Arrow type behind an SQL type of a panel's columns."""
    if kind.endswith("[]"):
        return pa.list_(_arrow_type(kind.removesuffix("[]")))
    if kind == "MAP(VARCHAR, DOUBLE)":
        return pa.map_(pa.string(), pa.float64())
    return _ARROW[kind]


def _value(value: Any) -> Any:
    """A value as a table takes it: what is not finite is missing."""
    if isinstance(value, Mapping):
        return [(str(name), _number(one)) for name, one in value.items()]
    if isinstance(value, (list, tuple)):
        return [_number(one) for one in value]
    return _number(value)


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


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
