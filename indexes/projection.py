"""Two-dimensional maps from the neighbours that the index found.

UMAP is handed those neighbours (``precomputed_knn``): no second neighbour search, and
the map shows the geometry that retrieval uses. How faithful a map is, is measured and
stored with it: trustworthiness (Venna & Kaski 2001), 1 where every neighbour on the
map is one in the space.
"""

import time
import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from usad_workbench.core.storage.workspace import FloatArray, Workspace, normalise
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.spaces import open_index

Method = Literal["umap", "pca"]
N_NEIGHBOURS = 15
"""umap-learn's default: local structure without breaking clusters apart."""
MIN_FOR_UMAP = 20
"""Fewer points have no neighbourhoods to speak of: they get PCA."""
MAX_JUDGED = 2000
"""Trustworthiness compares all pairs; more points are judged on a sample of this size."""
SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectionReport:
    """A map and how faithful it is."""

    encoder: str
    layer: int
    pooling: str
    method: str
    n: int
    trustworthiness: float | None
    seconds: float
    is_new: bool


def project_space(
    workspace: Workspace,
    encoder: str,
    layer: int,
    pooling: str = "mean",
    method: Method = "umap",
) -> ProjectionReport:
    """Computes and stores the map of a space, unless the one that is there is complete."""
    space_id = workspace.space_id(encoder, layer, pooling)
    key = [encoder, layer, pooling, method]
    done = workspace.read(
        "SELECT q.n, q.trustworthiness, q.seconds FROM projection_quality q, spaces s "
        "WHERE q.encoder = ? AND q.layer = ? AND q.pooling = ? AND q.method = ? "
        "AND s.space_id = ? AND s.n = q.n",
        [*key, space_id],
    )
    if not done.empty:
        row = done.iloc[0]
        return ProjectionReport(
            encoder=encoder, layer=layer, pooling=pooling, method=method, n=int(row.n),
            trustworthiness=_known(row.trustworthiness), seconds=float(row.seconds), is_new=False,
        )  # fmt: skip
    started = time.perf_counter()
    stored = workspace.embeddings(encoder, layer, pooling)
    unit = normalise(stored.vectors)
    if method == "umap" and len(unit) >= MIN_FOR_UMAP:
        index = open_index(workspace, space_id)
        if index is None or len(index) != len(unit):
            index = VectorIndex.build(stored.vectors, stored.segment_ids)
        points = umap_of(unit, *neighbours(index, unit, stored.segment_ids, N_NEIGHBOURS))
    else:
        points = pca_of(unit)
    score, n_judged = faithfulness(unit, points)
    seconds = time.perf_counter() - started
    table = pa.table({"segment_id": stored.segment_ids, "x": points[:, 0], "y": points[:, 1]})
    with workspace.database.write() as connection:
        for name in ("projections", "projection_quality"):
            connection.execute(
                f"DELETE FROM {name} WHERE encoder = ? AND layer = ? AND pooling = ? "
                "AND method = ?", key,
            )  # fmt: skip
        connection.register("points", table)
        connection.execute(
            "INSERT INTO projections SELECT ?, ?, ?, ?, segment_id, x, y FROM points", key
        )
        connection.execute(
            "INSERT INTO projection_quality VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [*key, len(unit), score, n_judged, seconds],
        )
    return ProjectionReport(
        encoder=encoder, layer=layer, pooling=pooling, method=method, n=len(unit),
        trustworthiness=score, seconds=seconds, is_new=True,
    )  # fmt: skip


def neighbours(
    index: VectorIndex, unit: FloatArray, segment_ids: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.int32], FloatArray]:
    """Rows of the k nearest of each row, itself first, and their cosine distances.

    An exact copy may come before the row itself, and an approximate index may miss it:
    the row is put first whatever was found, as UMAP expects.
    """
    k = min(k, len(unit))
    hits = index.search(unit, k)
    rows = np.searchsorted(segment_ids, hits.ids).astype(np.int32)
    rows = np.clip(rows, 0, len(unit) - 1)
    distances = np.clip(1.0 - hits.scores, 0.0, 2.0).astype(np.float32)
    own = np.arange(len(unit), dtype=np.int32)[:, None]
    is_own = rows == own
    missing = ~is_own.any(axis=1)
    is_own[missing, -1] = True  # the farthest makes room
    order = np.argsort(~is_own, axis=1, kind="stable")
    rows, distances = np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)
    rows[:, 0], distances[:, 0] = own[:, 0], 0.0
    return rows, distances


def umap_of(unit: FloatArray, rows: npt.NDArray[np.int32], distances: FloatArray) -> FloatArray:
    """UMAP coordinates [point, 2] from given neighbours; the same input gives the same map."""
    import umap  # slow to import: it compiles

    model = umap.UMAP(
        n_neighbors=rows.shape[1],
        precomputed_knn=(rows, distances, None),
        metric="cosine",
        random_state=SEED,
        n_jobs=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the seed and disconnected points: both meant
        points: FloatArray = np.asarray(model.fit_transform(unit), dtype=np.float32)
    lost = ~np.isfinite(points).all(axis=1)  # UMAP gives NaN to points without neighbours
    points[lost] = np.nanmean(points, axis=0)
    return points


def pca_of(unit: FloatArray) -> FloatArray:
    """The first two principal components [point, 2]; zeros where there are fewer."""
    points = np.zeros((len(unit), 2), dtype=np.float32)
    n = min(2, *unit.shape, max(len(unit) - 1, 0))
    if n:
        points[:, :n] = PCA(n, random_state=SEED).fit_transform(unit)
    return points


def faithfulness(unit: FloatArray, points: FloatArray) -> tuple[float | None, int]:
    """Trustworthiness of a map at 10 neighbours and the number of points it was judged on."""
    n = min(len(unit), MAX_JUDGED)
    if n < MIN_FOR_UMAP + 2:
        return None, n
    rows = np.sort(np.random.default_rng(SEED).permutation(len(unit))[:n])
    score = trustworthiness(unit[rows], points[rows], n_neighbors=10, metric="cosine")
    return float(score), n


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
