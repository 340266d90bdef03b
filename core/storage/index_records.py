"""The table ``indexes``: which file is the index of a space.

A file takes its name in the transaction that notes it, so a file that no row names belongs to no
living command.
"""

from collections.abc import Callable
from dataclasses import dataclass

from usad_workbench.core.storage.row_types import BigInt
from usad_workbench.core.storage.rows import read_rows, write_rows
from usad_workbench.core.storage.workspace import Space, Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexRecord:
    """The index of a space: a row of ``indexes``."""

    space_id: int
    kind: str
    n: BigInt
    """Vectors in it."""
    file: str
    """Relative to the folder of the workspace."""
    file_sha256: str
    recall_at_10: float
    """Share of the 10 nearest that it finds; NaN until it is measured."""
    ms_per_query: float
    """NaN until it is measured."""
    bytes: BigInt
    """Size of the file."""
    vectors_digest: str | None
    """The digest of the vectors that it was built from; none where an old version wrote it."""
    metric: str | None = None
    """``cosine``, ``inner_product`` or ``l2``; none where a version wrote it that had cosine only."""
    settings: str | None = None
    """JSON of what was chosen for it and why."""


def index_record(workspace: Workspace, space_id: int) -> IndexRecord | None:
    """What the workspace lists as the index of a space, where it lists one."""
    records = read_rows(workspace, IndexRecord, "indexes", key={"space_id": space_id})
    return records[0] if records else None


def listed_index_files(workspace: Workspace) -> list[str]:
    """The index files that belong to a space, relative to the folder of the workspace."""
    return [str(file) for file in workspace.read("SELECT file FROM indexes").file]


def note_index(
    workspace: Workspace, space: Space, record: IndexRecord, name_file: Callable[[], object]
) -> list[str] | None:
    """Lists the index of a space, unless its vectors have changed since it was built.

    Args:
        workspace: Where to.
        space: As it was when the index was built.
        record: Of the index.
        name_file: Gives the file its name, within the transaction.

    Returns:
        The files that were listed for this space before; none where nothing was noted.
    """
    with workspace.database.write() as connection:
        stored = connection.execute(
            "SELECT digest FROM spaces WHERE space_id = ?", [space.space_id]
        ).fetchone()
        if stored != (space.digest,):
            return None
        files = connection.execute(
            "SELECT file FROM indexes WHERE space_id = ?", [space.space_id]
        ).fetchall()
        write_rows(connection, "indexes", IndexRecord, [record], key={"space_id": space.space_id})
        name_file()
    return [file for (file,) in files]


def set_index_quality(
    workspace: Workspace, space_id: int, *, recall_at_10: float, ms_per_query: float
) -> None:
    """Notes how many of the nearest an index finds, and how fast."""
    with workspace.database.write() as connection:
        connection.execute(
            "UPDATE indexes SET recall_at_10 = ?, ms_per_query = ? WHERE space_id = ?",
            [recall_at_10, ms_per_query, space_id],
        )
