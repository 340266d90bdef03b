"""Two-dimensional maps from the neighbours that the index found.

UMAP is handed those neighbours (``precomputed_knn``): no second neighbour search, and
the map shows the geometry that retrieval uses. How faithful a map is, is measured and
stored with it: trustworthiness (Venna & Kaski 2001), 1 where every neighbour on the
map is one in the space.

UMAP starts from principal components. Its own start, eigenvectors of the neighbour graph,
does not end on graphs in pieces, as those of large collections are (100,000 vectors, 33
pieces). For 100,000 vectors of 384 values in 200 clusters the index takes 11 processor seconds
and their neighbours 164; the layout by this start was measured before at 44 s, with a
trustworthiness of 0.93.
"""

import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.similarity.collapsed import describe_collapse
from usad_workbench.core.storage.projection_tables import MapQuality, replace_map, stored_map
from usad_workbench.core.storage.workspace import Embeddings, FloatArray, Workspace
from usad_workbench.indexes.building import build_index
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.files import open_index

Method = Literal["umap", "pca"]
N_NEIGHBOURS = 15
"""umap-learn's default: local structure without breaking clusters apart."""
MIN_FOR_UMAP = 20
"""Fewer points have no neighbourhoods to speak of: they get PCA."""
MAX_JUDGED = 2000
"""Trustworthiness compares all pairs; more points are judged on a sample of this size."""
SEED = 0
GOOD_KINDS = ("flat", "ivf")
"""Kinds of index whose neighbours a map is made from: codes (ivfpq) and graphs miss some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectionReport:
    """A map and how faithful it is."""

    encoder: str
    layer: int
    pooling: str
    method: str
    """How it was made, which is not how it was asked for where ``reason`` says so."""
    n: int
    trustworthiness: float | None
    seconds: float
    is_new: bool
    reason: str = ""
    """Why it is another method's; empty where it is the one that was asked for."""


def project(
    workspace: Workspace,
    encoder: str | None = None,
    layers: int | Sequence[int] | None = None,
    *,
    method: Method = "umap",
    progress: Progress = no_progress,
) -> list[ProjectionReport]:
    """Computes and stores the maps of a workspace's spaces that are missing or behind.

    Args:
        workspace: Holds the embeddings; the coordinates go to its table ``projections``.
        encoder: All encoders by default.
        layers: All by default; negative counts from each encoder's deepest stored layer.
        method: ``umap`` keeps neighbours, ``pca`` what varies most.
        progress: Called after each map.

    Returns:
        One report per space in the order of ``Workspace.spaces``, those of complete maps too.

    Raises:
        UnknownNameError: an encoder without embeddings, or a layer that it does not have.
    """
    asked = (layers,) if isinstance(layers, int) else layers
    spaces = workspace.spaces()
    if encoder is not None:
        for layer in (-1,) if asked is None else asked:
            workspace.space_id(encoder, layer)
        spaces = spaces[spaces.encoder == encoder]
    if asked is not None:
        n_layers = spaces.groupby("encoder").layer.transform("max") + 1
        chosen = spaces[spaces.layer.isin(asked) | (spaces.layer - n_layers).isin(asked)]
        if chosen.empty and not spaces.empty:
            stored = ", ".join(str(layer) for layer in sorted(set(spaces.layer)))
            raise UnknownNameError(
                f"No encoder has the layers {list(asked)}, stored are {stored}. Embed them with "
                "`usad embed --layers`."
            )
        spaces = chosen
    reports = []
    for done, space in enumerate(spaces.itertuples(), start=1):
        reports.append(
            project_space(
                workspace, str(space.encoder), int(space.layer), str(space.pooling), method
            )
        )
        progress(done, len(spaces), f"project {method}")
    return reports


def project_space(
    workspace: Workspace,
    encoder: str,
    layer: int,
    pooling: str = "mean",
    method: Method = "umap",
) -> ProjectionReport:
    """Computes and stores the map of one space, unless the one that is there is complete.

    Fewer than 20 vectors have no neighbourhoods to speak of: they get PCA whatever was asked
    for, and the report and what is stored call it so.

    Args:
        workspace: Holds the embeddings.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        method: ``umap`` or ``pca``.

    Returns:
        How the map was made, its size, and how faithful it is (trustworthiness, 0 to 1).

    Raises:
        UnknownNameError: a space that is not there.
    """
    stored = workspace.embeddings(encoder, layer, pooling)
    reason = why_pca(method, len(stored))
    flat = describe_collapse(stored.vectors)
    if flat:
        # UMAP would draw a cloud of chance; on the axes of PCA they are one point, as they are.
        reason = f"{encoder} layer {stored.space.layer} has collapsed, its vectors {flat}" + (
            ": made with pca" if method != "pca" else ""
        )
    method = "pca" if reason else method
    space = stored.space
    quality = stored_map(
        workspace, encoder=encoder, layer=space.layer, pooling=pooling, method=method
    )
    if quality is not None and quality.n == len(stored):
        return _report(quality, is_new=False, reason=reason)
    started = time.perf_counter()
    unit = normalise(stored.vectors)
    if method == "umap":
        index = _index_of(workspace, stored)
        points = umap_of(unit, *neighbours(index, unit, stored.segment_ids, N_NEIGHBOURS))
    else:
        points = np.zeros((len(unit), 2), np.float32) if flat else pca_of(unit)
    score, n_judged = (None, 0) if flat else faithfulness(unit, points)
    quality = MapQuality(
        encoder=encoder,
        layer=space.layer,
        pooling=pooling,
        method=method,
        n=len(unit),
        trustworthiness=math.nan if score is None else score,
        n_judged=n_judged,
        seconds=time.perf_counter() - started,
    )
    # A map of fewer vectors is behind, and what is PCA now may stand there as UMAP.
    replaces = ("umap",) if reason else ()
    replace_map(workspace, quality, stored.segment_ids, points, replaces=replaces)
    return _report(quality, is_new=True, reason=reason)


def _report(quality: MapQuality, *, is_new: bool, reason: str) -> ProjectionReport:
    return ProjectionReport(
        encoder=quality.encoder,
        layer=quality.layer,
        pooling=quality.pooling,
        method=quality.method,
        n=quality.n,
        trustworthiness=_finite(quality.trustworthiness),
        seconds=quality.seconds,
        is_new=is_new,
        reason=reason,
    )


def why_pca(method: Method, n: int) -> str:
    """Why so many vectors get PCA where another method was asked for; empty where they do not.

    >>> why_pca("umap", 12)
    'umap needs 20 vectors for neighbourhoods to speak of, there are 12: made with pca'
    """
    if method == "pca" or n >= MIN_FOR_UMAP:
        return ""
    return (
        f"{method} needs {MIN_FOR_UMAP} vectors for neighbourhoods to speak of, there are {n}: "
        "made with pca"
    )


def neighbours(
    index: VectorIndex, unit: FloatArray, segment_ids: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.int32], FloatArray]:
    """Rows of the k nearest of each row, itself first, and their cosine distances.

    An exact copy may come before the row itself, and an approximate index may miss it:
    the row is put first whatever was found, as UMAP expects.
    """
    k = min(k, len(unit))
    hits = index.candidates(unit, k)
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
    with warnings.catch_warnings():
        # Without Tensorflow it lacks a kind of map that is not made here, and says so.
        warnings.simplefilter("ignore", ImportWarning)
        import umap  # slow to import: it compiles

    model = umap.UMAP(
        n_neighbors=rows.shape[1],
        precomputed_knn=(rows, distances, None),
        metric="cosine",
        init="pca",
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


def _index_of(workspace: Workspace, stored: Embeddings) -> VectorIndex:
    """The space's own index where it finds what exact search finds, else one made for the map."""
    opened = open_index(workspace, stored.space)
    if opened.index is not None and not opened.is_behind and opened.index.kind in GOOD_KINDS:
        return opened.index
    return build_index(stored.segment_ids, stored.vectors).index


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
