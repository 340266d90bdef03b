"""Two-dimensional maps of spaces, stored with how they were made and how faithful they are.

A map belongs to its vectors and its settings. Maps of other settings stand beside each other,
each under the name of what is not usual in them; a map of other vectors is made again. ``neighbours`` lists nearest neighbours,
``layout`` makes coordinates of them, ``faithfulness`` judges the map.
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, get_args

import numpy as np

from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.similarity.collapsed import describe_collapse
from usad_workbench.core.storage.projection_tables import MapQuality, replace_map, stored_map
from usad_workbench.core.storage.workspace import Embeddings, FloatArray, Workspace
from usad_workbench.indexes.faithfulness import judge_map
from usad_workbench.indexes.layout import DEFAULT, UmapSettings, pca_of, umap_of
from usad_workbench.indexes.neighbours import find_neighbours

Method = Literal["umap", "pca"]
METHODS: tuple[Method, ...] = get_args(Method)
MIN_FOR_UMAP = 20
"""Fewer points have no neighbourhoods to speak of: they get PCA."""
CHANGED = "its vectors changed while the map was made, which is not stored: project it again"


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
    settings: dict[str, object] = field(default_factory=dict)
    """How it was made and what else was measured: see ``projection_quality`` in docs/maps.md."""
    reason: str = ""
    """Why it is another method's; empty where it is the one that was asked for."""


def project(
    workspace: Workspace,
    encoder: str | None = None,
    layers: int | Sequence[int] | None = None,
    *,
    method: Method = "umap",
    settings: UmapSettings = DEFAULT,
    progress: Progress = no_progress,
) -> list[ProjectionReport]:
    """Computes and stores the maps of a workspace's spaces that are missing or behind.

    Args:
        workspace: Holds the embeddings; the coordinates go to its table ``projections``.
        encoder: All encoders by default.
        layers: All by default; negative counts from each encoder's deepest stored layer.
        method: ``umap`` keeps neighbours, ``pca`` what varies most.
        settings: Of UMAP.
        progress: Called after each map, and within a map as ``project_space`` does.

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
                workspace,
                str(space.encoder),
                int(space.layer),
                str(space.pooling),
                method,
                settings,
                progress,
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
    settings: UmapSettings = DEFAULT,
    progress: Progress = no_progress,
) -> ProjectionReport:
    """Computes and stores the map of one space, unless there is one of its vectors and settings.

    Fewer than 20 vectors have no neighbourhoods to speak of: they get PCA whatever was asked
    for, and the report and what is stored call it so.

    Args:
        workspace: Holds the embeddings.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        method: ``umap`` or ``pca``.
        settings: Of UMAP.
        progress: Called within a map: reading, neighbours, each epoch of the layout, judging.

    Returns:
        How the map was made, its size, and how faithful it is (trustworthiness, 0 to 1).

    Raises:
        UnknownNameError: a space that is not there.
    """
    progress(0, 1, f"{encoder} layer {layer}: reading")
    stored = workspace.embeddings(encoder, layer, pooling)
    reason = why_pca(method, len(stored))
    flat = describe_collapse(stored.vectors)
    if flat:
        # UMAP would draw a cloud of chance; on the axes of PCA they are one point, as they are.
        reason = f"{encoder} layer {stored.space.layer} has collapsed, its vectors {flat}" + (
            ": made with pca" if method != "pca" else ""
        )
    asked: dict[str, object] = {"vectors_digest": stored.space.digest}
    name = "pca"
    if method == "umap" and not reason:
        asked |= asdict(settings)
        name = settings.name
    space = stored.space
    quality = stored_map(
        workspace, encoder=encoder, layer=space.layer, pooling=pooling, method=name
    )
    if quality is not None and _is_of(quality, len(stored), asked):
        return report_of(quality, is_new=False, reason=reason)
    quality, points = _make(stored, name, settings, asked, bool(flat), progress)
    # A map of other vectors is behind, and what is PCA now may stand there as UMAP.
    replaces = ("umap", settings.name) if reason else ()
    is_new = replace_map(workspace, quality, space, stored.segment_ids, points, replaces=replaces)
    return report_of(quality, is_new=is_new, reason=reason if is_new else CHANGED)


def _make(
    stored: Embeddings,
    method: str,
    settings: UmapSettings,
    asked: dict[str, object],
    is_flat: bool,
    progress: Progress,
) -> tuple[MapQuality, FloatArray]:
    """The map of one space, and what is known of it."""
    space = stored.space
    name = f"{space.encoder} layer {space.layer}"

    def of_space(done: int, total: int, what: str) -> None:
        progress(done, total, f"{name}: {what}")

    within = no_progress if progress is no_progress else of_space
    started = time.perf_counter()
    unit = normalise(stored.vectors)
    known = dict(asked)
    if method != "pca":
        near = unit if settings.metric == "cosine" else stored.vectors
        lists = find_neighbours(
            near, settings.n_neighbours, metric=settings.metric, progress=within
        )
        known |= {
            "neighbours": lists.method,
            "neighbour_recall": lists.recall,
            "neighbour_recall_n": lists.n_checked,
            "neighbours_s": time.perf_counter() - started,
        }
        points = umap_of(unit, lists, settings, within)
    else:
        points = np.zeros((len(unit), 2), np.float32) if is_flat else pca_of(unit)
    judged = None if is_flat else judge_map(unit, points, progress=within)
    if judged is not None:
        known |= {"judged_k": judged.k}
        for measure in ("trustworthiness", "continuity", "neighbours_kept"):
            share = getattr(judged, measure)
            known |= {
                measure: share.value,
                f"{measure}_ci_low": share.ci_low,
                f"{measure}_ci_high": share.ci_high,
            }
    quality = MapQuality(
        encoder=space.encoder,
        layer=space.layer,
        pooling=space.pooling,
        method=method,
        n=len(unit),
        trustworthiness=math.nan if judged is None else judged.trustworthiness.value,
        n_judged=0 if judged is None else judged.n_judged,
        seconds=time.perf_counter() - started,
        settings=json.dumps(known),
    )
    return quality, points


def _is_of(quality: MapQuality, n: int, asked: dict[str, object]) -> bool:
    """Whether a map is of so many vectors, of just these, and made with these settings."""
    # Maps that were made before there was a choice are of the cosine.
    known = {"metric": "cosine", **json.loads(quality.settings or "{}")}
    return quality.n == n and all(
        name in known and known[name] == value for name, value in asked.items()
    )


def report_of(quality: MapQuality, *, is_new: bool, reason: str) -> ProjectionReport:
    """What is known of a map, with whether it was made now and why it is not what was asked for."""
    return ProjectionReport(
        encoder=quality.encoder,
        layer=quality.layer,
        pooling=quality.pooling,
        method=quality.method,
        n=quality.n,
        trustworthiness=None if math.isnan(quality.trustworthiness) else quality.trustworthiness,
        seconds=quality.seconds,
        is_new=is_new,
        settings=json.loads(quality.settings or "{}"),
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
