"""A collection as the benchmark of the app opens it: planted vectors, maps and a few sounds.

Every layer has its map, drawn and not computed: clusters of the planted vectors lie together,
and drift from layer to layer. A few clips have sound, each alone on a free spot of the map, so
that a click there hears it. Only the deepest layer has vectors of full width: those that are
searched.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.importing import find_sources, import_clips
from usad_workbench.core.storage.projection_tables import MapQuality, replace_map
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import update_index
from usad_workbench.workbench.speed.planted import FloatArray, Planted, plant, write_manifest
from usad_workbench.workbench.speed.storing import ENCODER, fill

METHOD = "planted"
N_LAYERS = 4
"""That have a map."""
NARROW = 8
"""Width of the layers that are not searched."""
N_SOUNDS = 8
SOUND_S, RATE_HZ = 1.0, 16_000
FREE = 0.05
"""Radius of the free spot around a sound; the map is 2 wide."""
INDEXED_FROM = 50_000


@dataclass(frozen=True, slots=True)
class Collection:
    """A workspace and the same points as a table for others."""

    n: int
    workspace: Path
    table: Path
    """Parquet: ``clip_id, path, domain, label`` and ``x0, y0`` to ``x3, y3``, one for each layer."""


def planted_collection(n: int, folder: Path) -> Collection:
    """A collection of n clips, kept in a folder: what is there is taken as it is."""
    made = Collection(n, folder / "workspace", folder / "points.parquet")
    if made.table.exists():
        return made
    planted = plant(n - N_SOUNDS)
    workspace = Workspace.create(made.workspace)
    sounds = _write_sounds(folder / "sounds")
    import_clips(workspace, find_sources(folder / "sounds"), domain="sound")
    write_manifest(planted, folder / "clips.parquet")
    import_clips_without_audio(workspace, folder / "clips.parquet")
    _fill(workspace, planted)
    maps = [_layout(planted, layer) for layer in range(N_LAYERS)]
    for layer, points in enumerate(maps):
        _store_map(workspace, layer, points)
    if n >= INDEXED_FROM:
        update_index(workspace, ENCODER, N_LAYERS - 1)
    _write_table(made.table, planted, sounds, maps)
    return made


def spots() -> list[tuple[float, float]]:
    """Where the sounds are: on a ring within the map."""
    angles = [2 * math.pi * i / N_SOUNDS for i in range(N_SOUNDS)]
    return [(0.6 * math.cos(angle), 0.6 * math.sin(angle)) for angle in angles]


def _layout(planted: Planted, layer: int) -> FloatArray:
    """Where the clips are on the map of a layer, shape [sound and clip, 2]."""
    rng = np.random.default_rng(7)
    centre = rng.uniform(-1, 1, size=(planted.n_clusters, 2))
    drift = rng.normal(scale=0.06, size=(planted.n_clusters, 2))
    size = rng.uniform(0.01, 0.04, size=(planted.n_clusters, 1))
    points = centre + layer * drift
    points = points[planted.cluster] + size[planted.cluster] * rng.normal(size=(planted.n, 2))
    for spot in np.array(spots()):
        away = points - spot
        far = np.linalg.norm(away, axis=1, keepdims=True)
        is_near = (far < FREE).ravel()
        points[is_near] = spot + away[is_near] / np.maximum(far[is_near], 1e-6) * FREE
    return np.concatenate([np.array(spots()), points]).astype(np.float32)


def _fill(workspace: Workspace, planted: Planted) -> None:
    wide = planted.vectors()
    wide = np.concatenate([wide[:N_SOUNDS], wide])  # what a sound is like is found beside it
    narrow = np.ascontiguousarray(wide[:, :NARROW])
    fill(workspace, {**dict.fromkeys(range(N_LAYERS - 1), narrow), N_LAYERS - 1: wide})


def _store_map(workspace: Workspace, layer: int, points: FloatArray) -> None:
    space = workspace.space(ENCODER, layer)
    ids = workspace.read("SELECT segment_id FROM segments ORDER BY segment_id").segment_id
    quality = MapQuality(
        encoder=ENCODER,
        layer=layer,
        pooling="mean",
        method=METHOD,
        n=len(points),
        trustworthiness=float("nan"),
        n_judged=0,
        seconds=0.0,
    )
    replace_map(workspace, quality, space, ids.to_numpy(np.int64), points)


def _write_sounds(folder: Path) -> list[Path]:
    """A tone each, of its own pitch."""
    folder.mkdir()
    time_s = np.arange(int(SOUND_S * RATE_HZ)) / RATE_HZ
    paths = [folder / f"tone{i}.wav" for i in range(N_SOUNDS)]
    for i, path in enumerate(paths):
        tone = 0.3 * np.sin(2 * np.pi * 220 * (i + 1) * time_s) * np.exp(-2 * time_s)
        soundfile.write(path, tone, RATE_HZ)
    return paths


def _write_table(path: Path, planted: Planted, sounds: list[Path], maps: list[FloatArray]) -> None:
    columns: dict[str, object] = {
        "clip_id": [*(one.stem for one in sounds), *planted.clip_ids],
        "path": [*map(str, sounds), *[""] * planted.n],
        "domain": ["sound"] * len(sounds) + planted.domain.tolist(),
        "label": ["tone"] * len(sounds) + [f"k{c:05}" for c in planted.cluster],
    }
    for layer, points in enumerate(maps):
        columns |= {f"x{layer}": points[:, 0], f"y{layer}": points[:, 1]}
    pq.write_table(pa.table(columns), path)
