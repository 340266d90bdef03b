"""Numbers of segments, which are never given twice.

A command that embeds has looked numbers up before it stores the vectors: if clips are deleted
meanwhile and others come, none of them may stand under an old number.
"""

import duckdb

NEXT_SEGMENT = "next_segment_id"
"""The key of ``meta`` with the number of the next segment; files without it have lost no segment."""


def next_segment_id(connection: duckdb.DuckDBPyConnection) -> int:
    """A number above those of all segments that there are or were."""
    ((number,),) = connection.execute(
        "SELECT greatest((SELECT coalesce(max(segment_id) + 1, 0) FROM segments), "
        "coalesce((SELECT value::BIGINT FROM meta WHERE key = ?), 0))",
        [NEXT_SEGMENT],
    ).fetchall()
    return int(number)


def keep_segment_ids(connection: duckdb.DuckDBPyConnection) -> None:
    """Takes care that the numbers of today's segments are not given again; before any goes."""
    connection.execute(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)",
        [NEXT_SEGMENT, str(next_segment_id(connection))],
    )
