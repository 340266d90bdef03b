"""SQL and Arrow types of a table, from the annotations of the dataclass that is its row.

A row is a frozen dataclass whose fields are the columns, in order:

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Score:
        clip_id: str
        value: float            # NaN is stored as NULL and read as NaN
        layer: int | None       # None is stored as NULL
        n: BigInt               # BIGINT; a plain int is INTEGER
        shares: Mapping[str, float]
        teachers: tuple[str, ...]
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import (
    Annotated,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import pyarrow as pa

from usad_workbench.core.errors import StoreError


@dataclass(frozen=True, slots=True)
class SqlType:
    """Beside an annotation: the SQL type that is not the usual one for it."""

    name: str


BigInt = Annotated[int, SqlType("BIGINT")]
"""A whole number of 64 bits."""
Float32 = Annotated[float, SqlType("FLOAT")]
"""A number of 32 bits."""

_SQL: dict[object, str] = {str: "VARCHAR", bool: "BOOLEAN", int: "INTEGER", float: "DOUBLE"}
_ARROW: dict[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "INTEGER": pa.int32(),
    "BIGINT": pa.int64(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
}
_MAP = "MAP(VARCHAR, DOUBLE)"
_NONE = type(None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table, as a field of its row declares it."""

    name: str
    sql_type: str
    python_type: type
    """``str``, ``bool``, ``int``, ``float``, or ``tuple`` and ``dict`` of several values."""
    is_optional: bool
    """Whether the field may be ``None``."""

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type behind the SQL type."""
        if self.python_type is dict:
            return pa.map_(pa.string(), pa.float64())
        item = _ARROW[self.sql_type.removesuffix("[]")]
        return pa.list_(item) if self.python_type is tuple else item


def columns_of(row_type: type) -> tuple[Column, ...]:
    """The columns of the table whose rows are of a dataclass, in the order of its fields.

    Args:
        row_type: A dataclass with fields of ``str``, ``bool``, ``int``, ``float``, ``Literal`` of
            strings, these or ``None``, tuples, lists or sequences of them, and mappings from
            names to numbers.

    Raises:
        StoreError: no dataclass, or a field of another type.

    >>> @dataclass
    ... class Row:
    ...     encoder: str
    ...     layer: int | None
    ...     shares: Mapping[str, float]
    >>> [column.sql_type for column in columns_of(Row)]
    ['VARCHAR', 'INTEGER', 'MAP(VARCHAR, DOUBLE)']
    """
    if not is_dataclass(row_type):
        raise StoreError(
            f"Found {row_type.__name__} as the row of a table, expected a dataclass. Declare one "
            "whose fields are the columns."
        )
    hints = get_type_hints(row_type, include_extras=True)
    return tuple(_column(row_type, field.name, hints[field.name]) for field in fields(row_type))


def declared_columns(row_type: type) -> str:
    """The columns of a ``CREATE TABLE`` for rows of a dataclass.

    >>> @dataclass
    ... class Row:
    ...     clip_id: str
    ...     value: float
    >>> declared_columns(Row)
    'clip_id VARCHAR, value DOUBLE'
    """
    return ", ".join(f"{column.name} {column.sql_type}" for column in columns_of(row_type))


def _column(row_type: type, name: str, annotation: object) -> Column:
    annotation, is_optional = _without_none(annotation)
    column_types = _types_of(annotation)
    if column_types is None:
        raise StoreError(
            f"The field {name} of {row_type.__name__} is a {annotation}, expected str, bool, int, "
            "float, one of these or None, a sequence of these, or a mapping from str to float. "
            "Give the field one of these types."
        )
    sql_type, python_type = column_types
    return Column(name=name, sql_type=sql_type, python_type=python_type, is_optional=is_optional)


def _without_none(annotation: object) -> tuple[object, bool]:
    """An annotation without ``None`` in it, and whether it had one."""
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, False
    members = [member for member in get_args(annotation) if member is not _NONE]
    is_lone = len(members) == 1
    return (members[0] if is_lone else annotation), len(members) < len(get_args(annotation))


def _types_of(annotation: object) -> tuple[str, type] | None:
    """SQL and Python type; nothing where no column holds such values."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        given = [extra.name for extra in arguments[1:] if isinstance(extra, SqlType)]
        plain = _types_of(arguments[0])
        return (given[0], plain[1]) if given and plain else plain
    if origin is Literal:
        return ("VARCHAR", str) if all(isinstance(value, str) for value in arguments) else None
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return (_MAP, dict) if arguments == (str, float) else None
    if isinstance(origin, type) and issubclass(origin, Sequence):
        is_fixed = origin is tuple and arguments[1:] != (...,)
        item = None if is_fixed else _types_of(arguments[0])
        is_flat = item is not None and item[1] not in (tuple, dict)
        return (f"{item[0]}[]", tuple) if item is not None and is_flat else None
    if isinstance(annotation, type) and annotation in _SQL:
        return _SQL[annotation], annotation
    return None
