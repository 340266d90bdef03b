"""Tables are declared once, and written by nobody but storage."""

import re
from pathlib import Path

import pytest

import usad_workbench.core
from usad_workbench.core.diagnosis.nearest import NearestTeacherRow
from usad_workbench.core.storage.index_records import IndexRecord
from usad_workbench.core.storage.projection_tables import MapQuality
from usad_workbench.core.storage.row_types import columns_of
from usad_workbench.core.storage.schema import TABLES, declared_types
from usad_workbench.core.storage.scores import ClipPrediction, ProbeScore

PACKAGE = Path(usad_workbench.core.__file__).parents[1]
WRITES = re.compile(
    r"\b(INSERT (OR REPLACE )?INTO|DELETE FROM|CREATE (OR REPLACE )?(TEMP )?(TABLE|VIEW)|"
    r"DROP (TABLE|VIEW)|ALTER TABLE|UPDATE \w+ SET)\b"
)


@pytest.mark.parametrize(
    ("table", "row_type"),
    [
        ("indexes", IndexRecord),
        ("nearest_teachers", NearestTeacherRow),
        ("predictions", ClipPrediction),
        ("probes", ProbeScore),
        ("projection_quality", MapQuality),
    ],
)
def test_a_typed_row_has_the_columns_of_its_table(table: str, row_type: type) -> None:
    typed = {column.name: column.sql_type for column in columns_of(row_type)}
    assert typed == declared_types(table)


def test_types_of_columns_come_without_constraints() -> None:
    assert declared_types("tasks")["task"] == "VARCHAR"
    assert all(kind for table in TABLES for kind in declared_types(table).values())


def test_nobody_but_storage_writes_sql() -> None:
    sources = [
        path
        for folder in ("core", "training", "indexes", "workbench")
        for path in (PACKAGE / folder).rglob("*.py")
        # The peers of benchmarks write into databases of their own.
        if not {"storage", "speed"} & set(path.parts[len(PACKAGE.parts) :])
    ]
    assert len(sources) > 200
    writers = {path.name for path in sources if WRITES.search(path.read_text(encoding="utf-8"))}
    assert writers == set()
