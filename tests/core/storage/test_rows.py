"""Typed rows: SQL types from annotations, one writer and one reader."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.row_types import BigInt, Float32, columns_of, declared_columns
from usad_workbench.core.storage.rows import read_rows, replace_rows, rows_of_frame, write_rows
from usad_workbench.core.storage.workspace import Workspace

KEY = {"student": "s", "selection": ""}


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything:
    """A field of every kind that a column holds."""

    domain: str
    answer: Literal["yes", "no"]
    layer: int
    n: BigInt
    x: Float32
    value: float
    is_matched: bool | None
    note: str | None = None
    count: int | None = None
    shares: Mapping[str, float]
    layers: tuple[int, ...]
    teachers: list[str]
    influence: Sequence[float]


@dataclass(frozen=True, slots=True)
class Score:
    """A small row."""

    clip_id: str
    value: float


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path)


def everything(**changes: object) -> Everything:
    values: dict[str, object] = {
        "domain": "speech",
        "answer": "yes",
        "layer": -1,
        "n": 2**40,
        "x": 0.5,
        "value": 0.1,
        "is_matched": True,
        "note": "a",
        "count": 3,
        "shares": {"a": 0.25, "b": 0.75},
        "layers": (1, 2),
        "teachers": ("a", "b"),
        "influence": (0.5, 1.5),
    }
    return Everything(**(values | changes))  # type: ignore[arg-type]


def write(workspace: Workspace, row_type: type, rows: Sequence[object], **key: str) -> None:
    with workspace.database.write() as connection:
        write_rows(connection, "things", row_type, rows, key=key or KEY)


def test_types_come_from_the_annotations() -> None:
    assert [(column.name, column.sql_type) for column in columns_of(Everything)] == [
        ("domain", "VARCHAR"),
        ("answer", "VARCHAR"),
        ("layer", "INTEGER"),
        ("n", "BIGINT"),
        ("x", "FLOAT"),
        ("value", "DOUBLE"),
        ("is_matched", "BOOLEAN"),
        ("note", "VARCHAR"),
        ("count", "INTEGER"),
        ("shares", "MAP(VARCHAR, DOUBLE)"),
        ("layers", "INTEGER[]"),
        ("teachers", "VARCHAR[]"),
        ("influence", "DOUBLE[]"),
    ]
    assert declared_columns(Score) == "clip_id VARCHAR, value DOUBLE"


def test_what_is_written_is_read(workspace: Workspace) -> None:
    rows = [
        everything(),
        everything(domain="music", is_matched=None, note=None, count=None, shares={}, layers=()),
    ]
    write(workspace, Everything, rows)
    assert read_rows(workspace, Everything, "things", key=KEY) == rows
    table = workspace.read("DESCRIBE things")
    stored = dict(zip(table.column_name, table.column_type, strict=True))
    assert list(stored)[:3] == ["student", "selection", "domain"]
    assert (stored["n"], stored["x"], stored["shares"]) == (
        "BIGINT",
        "FLOAT",
        "MAP(VARCHAR, DOUBLE)",
    )


def test_what_is_not_finite_is_null_in_the_file_and_nan_in_a_row(workspace: Workspace) -> None:
    row = everything(
        value=math.inf, shares={"a": math.nan, "b": 1.0}, influence=(1.0, math.nan), x=np.float32(2)
    )
    write(workspace, Everything, [row])
    stored = workspace.read("SELECT value IS NULL AS a, influence[2] IS NULL AS b FROM things")
    assert stored.values.tolist() == [[True, True]]
    (read,) = read_rows(workspace, Everything, "things")
    assert math.isnan(read.value) and math.isnan(read.shares["a"]) and read.shares["b"] == 1.0
    assert read.influence[0] == 1.0 and math.isnan(read.influence[1])


def test_rows_replace_those_of_the_same_key_alone(workspace: Workspace) -> None:
    for student in ("s", "t"):
        write(workspace, Score, [Score("a", 1.0), Score("b", 2.0)], student=student)
    write(workspace, Score, [Score("c", 3.0)], student="s")
    assert read_rows(workspace, Score, "things", key={"student": "s"}) == [Score("c", 3.0)]
    assert len(read_rows(workspace, Score, "things", key={"student": "t"})) == 2
    write(workspace, Score, [], student="t")
    assert read_rows(workspace, Score, "things", key={"student": "t"}) == []


def test_rows_replace_those_that_agree_in_some_columns(workspace: Workspace) -> None:
    with workspace.database.write() as connection:
        for value in (1.0, 2.0):
            rows = [Score("a", value), Score(f"only {value:.0f}", value)]
            replace_rows(connection, "things", Score, rows, by=("clip_id",))
        replace_rows(connection, "things", Score, [], by=("clip_id",))
    assert read_rows(workspace, Score, "things", order_by=("clip_id",)) == [
        Score("a", 2.0),
        Score("only 1", 1.0),
        Score("only 2", 2.0),
    ]


def test_a_table_that_is_not_there_has_no_rows(workspace: Workspace) -> None:
    assert read_rows(workspace, Score, "nothing") == []


def test_a_table_of_an_older_shape_reads_with_defaults_and_is_made_anew(
    workspace: Workspace,
) -> None:
    @dataclass(frozen=True, slots=True)
    class Longer:
        clip_id: str
        value: float
        error: float
        note: str | None
        kind: str = "plain"

    write(workspace, Score, [Score("a", 1.0)])
    (row,) = read_rows(workspace, Longer, "things")
    assert math.isnan(row.error) and row.note is None and row.kind == "plain"
    write(workspace, Longer, [row])
    assert list(workspace.read("SELECT * FROM things").columns)[2:] == [
        "clip_id",
        "value",
        "error",
        "note",
        "kind",
    ]


def test_null_in_a_field_that_takes_none_is_an_error_with_words(workspace: Workspace) -> None:
    write(workspace, Score, [Score("a", 1.0)])
    with workspace.database.write() as connection:
        connection.execute("UPDATE things SET clip_id = NULL")
    with pytest.raises(StoreError, match="things has no clip_id in a row, expected"):
        read_rows(workspace, Score, "things")


@pytest.mark.parametrize(
    "annotation",
    [
        object,
        dict[str, str],
        tuple[int, str],
        list[list[float]],
        int | str,
        str | int | None,
        Literal[1, "a"],
        bytes,
    ],
)
def test_other_annotations_are_refused_with_words(annotation: object) -> None:
    row = dataclass(type("Odd", (), {"__annotations__": {"thing": annotation}}))
    with pytest.raises(StoreError, match=r"The field thing of Odd is .* expected str, bool"):
        columns_of(row)


def test_what_is_no_dataclass_is_refused() -> None:
    with pytest.raises(StoreError, match="Found int as the row of a table"):
        columns_of(int)


def test_the_answer_of_a_query_becomes_the_rows_of_its_table(workspace: Workspace) -> None:
    """Also where a gap makes floats of whole numbers."""
    written = [everything(), everything(count=None, value=math.nan, note=None), everything(count=3)]
    with workspace.database.write() as connection:
        write_rows(connection, "everything", Everything, written, key=KEY)
    frame = workspace.read("SELECT *, 1 AS another FROM everything")
    made = rows_of_frame(frame, Everything, "everything")
    assert [str(row) for row in made] == [
        str(row) for row in read_rows(workspace, Everything, "everything")
    ]
    assert [type(row.count) for row in made][1:] == [type(None), int]
    with pytest.raises(StoreError, match="has no domain"):
        rows_of_frame(frame.assign(domain=None), Everything, "everything")
