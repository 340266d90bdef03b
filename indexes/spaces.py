"""Index files of a workspace: built, brought up to date, and searched.

``indexes/space_<id>.faiss`` beside the database holds the vectors of one space; the
table ``indexes`` says what is in it. Where the file is missing or behind the table,
search compares with every stored vector instead: slower, never wrong.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from usad_workbench.core.hashing import sha256_of_file
from usad_workbench.core.storage.workspace import FloatArray, SearchHits, Workspace
from usad_workbench.indexes.faiss_index import Kind, VectorIndex

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexReport:
    """An index as it now is."""

    encoder: str
    layer: int
    pooling: str
    kind: str
    n: int
    bytes: int
    is_new: bool
    """Whether anything was built or added."""


def index_path(workspace: Workspace, space_id: int) -> Path:
    """The file of a space's index."""
    return workspace.folder / "indexes" / f"space_{space_id}.faiss"


def update_index(
    workspace: Workspace, encoder: str, layer: int, pooling: str = "mean", kind: Kind = "auto"
) -> IndexReport:
    """Builds the index of a space, or adds the vectors that it misses."""
    space_id = workspace.space_id(encoder, layer, pooling)
    path = index_path(workspace, space_id)
    row = workspace.read(
        "SELECT s.n, i.n AS n_indexed, i.kind, i.bytes FROM spaces s "
        "LEFT JOIN indexes i USING (space_id) WHERE space_id = ?",
        [space_id],
    ).iloc[0]
    same_kind = kind == "auto" or row.kind == kind
    if path.is_file() and same_kind and row.n_indexed == row.n:
        return IndexReport(
            encoder=encoder, layer=layer, pooling=pooling, kind=str(row.kind), n=int(row.n),
            bytes=int(row.bytes), is_new=False,
        )  # fmt: skip
    stored = workspace.embeddings(encoder, layer, pooling)
    old = open_index(workspace, space_id) if same_kind else None
    if old is not None and kind == "auto" and len(stored) <= 2 * len(old):
        missing = ~np.isin(stored.segment_ids, old.ids())
        old.add(stored.vectors[missing], stored.segment_ids[missing])
        index = old
    else:  # an index that doubles is built anew: its lists were trained on too little
        index = VectorIndex.build(stored.vectors, stored.segment_ids, kind)
    index.save(path)
    _note(workspace, space_id, index, path)
    return IndexReport(
        encoder=encoder, layer=layer, pooling=pooling, kind=index.kind, n=len(index),
        bytes=path.stat().st_size, is_new=True,
    )  # fmt: skip


def open_index(workspace: Workspace, space_id: int) -> VectorIndex | None:
    """The index of a space, or none if there is no file that the table vouches for."""
    found = workspace.read("SELECT kind, n FROM indexes WHERE space_id = ?", [space_id])
    path = index_path(workspace, space_id)
    if found.empty or not path.is_file():
        return None
    index = VectorIndex.load(path, str(found.kind[0]))
    return index if len(index) == int(found.n[0]) else None


def search(
    workspace: Workspace,
    vector: FloatArray,
    encoder: str,
    layer: int,
    *,
    pooling: str = "mean",
    k: int = 10,
    where: str | None = None,
) -> SearchHits:
    """The k segments nearest to a vector by cosine, best first.

    Args:
        workspace: Where to search.
        vector: Shape [dim], of the same encoder, layer and pooling.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        k: How many.
        where: SQL condition on the columns of ``clips``.

    Raises:
        ShapeError: a vector of another width.
        UnknownNameError: a space that is not there.
        QueryError: a condition that is not SQL.
    """
    space_id = workspace.space_id(encoder, layer, pooling)
    n = int(workspace.read("SELECT n FROM spaces WHERE space_id = ?", [space_id]).n[0])
    index = open_index(workspace, space_id)
    among = None
    if where:
        among = workspace.embeddings(encoder, layer, pooling, where).segment_ids
    if index is None or len(index) != n:
        logger.info(
            "The index of %s layer %d is missing or behind (%d vectors stored): comparing with "
            "every vector. `usad index` brings it up to date.", encoder, layer, n,
        )  # fmt: skip
        stored = workspace.embeddings(encoder, layer, pooling)
        index = VectorIndex.build(stored.vectors, stored.segment_ids, "flat")
    hits = index.search(np.asarray(vector, np.float32).reshape(1, -1), k, among)
    found = hits.ids[0] >= 0
    return SearchHits(segment_ids=hits.ids[0][found], scores=hits.scores[0][found])


def _note(workspace: Workspace, space_id: int, index: VectorIndex, path: Path) -> None:
    digest = sha256_of_file(path)
    with workspace.database.write() as connection:
        connection.execute("DELETE FROM indexes WHERE space_id = ?", [space_id])
        connection.execute(
            "INSERT INTO indexes (space_id, kind, n, file, file_sha256, bytes) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                space_id, index.kind, len(index), str(path.relative_to(workspace.folder)), digest,
                path.stat().st_size,
            ],
        )  # fmt: skip


def describe_hits(workspace: Workspace, hits: SearchHits) -> pd.DataFrame:
    """Hits with rank, score and the columns of their segments and clips, best first."""
    found = pa.table(
        {
            "rank": np.arange(1, len(hits.segment_ids) + 1),
            "segment_id": hits.segment_ids,
            "score": hits.scores,
        }
    )
    with workspace.database.read() as connection:
        connection.register("hits", found)
        return connection.execute(
            "SELECT h.rank, c.clip_id, h.segment_id, s.start_s, s.end_s, h.score, c.path, "
            "c.domain, c.label, c.dataset, c.cluster_id "
            "FROM hits h JOIN segments s USING (segment_id) JOIN clips c USING (clip_id) "
            "ORDER BY h.rank"
        ).df()
