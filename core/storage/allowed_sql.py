"""Which SQL of people is run: one statement that reads, or one condition."""

import json
from collections.abc import Mapping
from typing import Any

import duckdb


def allowed_statement(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """A single statement that reads."""
    statements = duckdb.extract_statements(text)
    if len(statements) != 1:
        raise Refused(f"{len(statements)} statements were found. {SINGLE}")
    if statements[0].type not in READING:
        raise Refused(f"A statement of the kind {statements[0].type.name} was found. {SINGLE}")
    return statements[0].query


def allowed_condition(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """The query for the clips of a condition, which must be one expression.

    ``true) UNION SELECT (1`` closes the bracket that it stands in: then the query that comes
    of it has more parts than a table and a condition.
    """
    query = f"SELECT clip_id FROM clips WHERE ({text}\n)"
    ((serialised,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    tree = json.loads(serialised)
    if tree.get("error"):
        raise Refused(f"The condition {text!r} was not understood: {tree.get('error_message')}")
    if len(tree["statements"]) != 1 or not _is_plain(tree["statements"][0]["node"]):
        raise Refused(f"{text!r} is more than a condition. {CONDITION}")
    return f"{query} ORDER BY clip_id"


def _is_plain(node: Mapping[str, Any]) -> bool:
    """Whether a query is a table with a condition and nothing else."""
    return (
        node["type"] == "SELECT_NODE"
        and node["from_table"]["type"] == "BASE_TABLE"
        and node["where_clause"] is not None
        and not node["cte_map"]["map"]
        and not any(node[part] for part in ("modifiers", "group_expressions", "group_sets"))
        and not any(node[part] for part in ("having", "sample", "qualify"))
        and node["aggregate_handling"] == "STANDARD_HANDLING"
    )


READING = (
    duckdb.StatementType.SELECT,
    duckdb.StatementType.EXPLAIN,
    duckdb.StatementType.MULTI,  # PIVOT, which is a SELECT after a look at the values
)


SINGLE = (
    "One statement that reads is expected: SELECT, FROM, WITH, VALUES, PIVOT, DESCRIBE, "
    "SUMMARIZE, SHOW or EXPLAIN."
)


CONDITION = (
    "One SQL condition on the columns of `clips` is expected, such as domain = 'speech' AND "
    "duration_s > 1."
)


class Refused(Exception):
    """Text that is not what was asked for."""
