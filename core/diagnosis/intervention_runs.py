"""Changed clips through every encoder: how far each change moves each clip.

A sample of clips is cut to at most ``CUT_S``, changed in every way of ``INTERVENTIONS`` and
embedded beside its unchanged cut. Distances go into the table ``interventions`` one portion
of clips after the other, so that a killed run goes on and a second one has nothing to do.
Processes share the clips and not the encoders: each has one encoder in memory at a time,
and a slow encoder is everybody's.

Sample: 12 clips a domain from as many clusters, cut to 1 s. Whole clusters would be one
speaker of 24 clips, and no interval. The price of 20 changes is 21 embeddings of each clip.
"""

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.audio.reading import check_samples, read_audio, resample
from usad_workbench.core.clips import Clip, Samples
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import AudioError, ProvenanceError, UnknownNameError, UsadError
from usad_workbench.core.interventions import (
    INTERVENTIONS,
    apply_intervention,
    intervention_rng,
)
from usad_workbench.core.interventions.table import CHANGES_VERSION
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.parallel import process_pool
from usad_workbench.core.progress import Progress
from usad_workbench.core.storage.clip_audio import unchanged
from usad_workbench.core.storage.diagnosis_tables import replace_interventions, stored_interventions
from usad_workbench.core.storage.spaces import CODE_VERSION as EMBEDDING_VERSION
from usad_workbench.core.storage.spaces import stored_precision
from usad_workbench.core.storage.workspace import Workspace

CLIPS_PER_DOMAIN = 12
CUT_S = 1.0
PORTION_CLIPS = 6
"""Clips between two commits: 126 seconds of audio at most."""
CODE_VERSION = f"{EMBEDDING_VERSION}.{CHANGES_VERSION}"
NOT_MEASURED = "not measured: no audio or no encoder"
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class _MeasurementJob:
    """What one process does: some clips, all encoders."""

    folder: Path
    weights: Mapping[str, str]
    """Encoder to the hash of the weights that its stored vectors have."""
    layers: Mapping[str, tuple[int, ...]]
    clips: tuple[tuple[str, str], ...]
    """Clip id and path."""
    seed: int


@dataclass(kw_only=True, slots=True)
class Measured:
    """Distances of a sample of clips, by encoder."""

    clips: pd.DataFrame
    """The sample: rows of ``data.clips``."""
    distances: dict[tuple[str, int], Matrix]
    """Encoder and layer to `[intervention, clip]`, NaN where a clip could not be changed."""
    warnings: list[str]


def measure_interventions(
    data: DiagnosisData,
    progress: Progress,
    *,
    clips_per_domain: int = CLIPS_PER_DOMAIN,
    n_processes: int | None = None,
) -> Measured:
    """Distances of every encoder that can be loaded; what is stored already is not done again.

    Args:
        data: Its clips and encoders.
        progress: Called with portions done, of all encoders together.
        clips_per_domain: Size of the sample.
        n_processes: The number of cores by default; 1 works in this process.
    """
    workspace = data.workspace
    clips = draw_sample(data, clips_per_domain)
    spaces = workspace.spaces("mean")
    spaces = spaces[spaces.encoder.isin(data.encoders)]
    weights = {str(k): str(v) for k, v in spaces.groupby("encoder").weights_sha256.first().items()}
    with_audio, warnings = _with_audio(workspace, clips)
    stored = _stored(workspace, weights, clips, data.config.seed)
    todo = _pending(stored, list(weights), [one for one, _ in with_audio])
    if todo:
        missing = {one for ids in todo.values() for one in ids}
        job = _MeasurementJob(
            folder=workspace.folder,
            weights={name: weights[name] for name in todo},
            layers={name: tuple(data.layers(name)) for name in todo},
            clips=tuple(one for one in with_audio if one[0] in missing),
            seed=data.config.seed,
        )
        reasons = _run(job, n_processes or os.cpu_count() or 1, progress)
        warnings += [f"interventions: {name}: {why}" for name, why in reasons.items()]
        stored = _stored(workspace, weights, clips, data.config.seed)
    return Measured(clips=clips, distances=_matrices(stored, clips), warnings=warnings)


def _with_audio(
    workspace: Workspace, clips: pd.DataFrame
) -> tuple[list[tuple[str, str]], list[str]]:
    """Clip id and path of those that still have the audio of their import; why others do not."""
    readable, faults, n_without_audio = [], [], 0
    for clip_id, path, sha256 in clips[["clip_id", "path", "audio_sha256"]].itertuples(index=False):
        if not isinstance(path, str) or not workspace.audio_path(path).is_file():
            n_without_audio += 1
            continue
        try:
            unchanged(workspace.audio_path(path), sha256)
            readable.append((str(clip_id), path))
        except UsadError as error:
            faults.append(f"interventions: clip {clip_id}: {error}")
    if n_without_audio:
        faults.append(
            f"interventions: {n_without_audio} of {len(clips)} sampled clips have no audio"
        )
    return readable, faults


def draw_sample(data: DiagnosisData, clips_per_domain: int = CLIPS_PER_DOMAIN) -> pd.DataFrame:
    """Some clips of each domain, from as many clusters as possible; the seed decides which."""
    rng = np.random.default_rng(data.config.seed)
    samples = []
    for domain in data.domains:
        clips = data.clips.iloc[data.rows(domain)]
        clips = clips.iloc[rng.permutation(len(clips))]
        turn = clips.groupby("cluster_id", sort=False).cumcount()
        order = np.argsort(turn.to_numpy(), kind="stable")
        samples.append(clips.iloc[order[:clips_per_domain]])
    return pd.concat(samples, ignore_index=True) if samples else data.clips.iloc[:0]


def changed_clips(clip_id: str, clip: Clip, seed: int) -> list[Clip | None]:
    """The unchanged cut, then each change in the order of ``INTERVENTIONS``; none if it fails."""
    rate_hz = clip.sample_rate_hz
    changed: list[Clip | None] = [clip]
    for intervention in INTERVENTIONS:
        rng = intervention_rng(seed, intervention, clip_id)
        try:
            samples: Samples = apply_intervention(intervention, clip.samples, rate_hz, rng)
        except AudioError:
            changed.append(None)
            continue
        changed.append(Clip(samples=samples, sample_rate_hz=rate_hz, path=clip.path))
    return changed


def _run(job: _MeasurementJob, n_processes: int, progress: Progress) -> dict[str, str]:
    """Does the work; gives the encoders that could not take part, with why."""
    n_processes = max(1, min(n_processes, len(job.clips) // PORTION_CLIPS))
    total = sum(-(-len(job.clips[i::n_processes]) // PORTION_CLIPS) for i in range(n_processes))
    total *= len(job.weights)
    if n_processes == 1:
        return _measure(job, lambda done: progress(done, total, "interventions"))
    counter = multiprocessing.get_context("spawn").Value("i", 0)
    reasons: dict[str, str] = {}
    with process_pool(n_processes, _start_worker, (counter,)) as pool:
        shares = [pool.submit(_work, _share_of(job, i, n_processes)) for i in range(n_processes)]
        while wait(shares, _POLL_S).not_done:
            progress(min(counter.value, total), total, "interventions")
        for share in shares:
            reasons |= share.result()
    progress(total, total, "interventions")
    return reasons


def _share_of(job: _MeasurementJob, i: int, n: int) -> _MeasurementJob:
    return _MeasurementJob(
        folder=job.folder,
        weights=job.weights,
        layers=job.layers,
        clips=job.clips[i::n],
        seed=job.seed,
    )


_counter: "Synchronized[int] | None" = None
"""In a worker: portions done by all of them."""


def _start_worker(counter: "Synchronized[int]") -> None:
    # Here and below: torch loads where something is embedded, not for a diagnosis from the cache.
    import torch

    global _counter
    _counter = counter
    torch.set_num_threads(1)


def _work(job: _MeasurementJob) -> dict[str, str]:
    def count(done: int) -> None:
        if _counter is not None:
            with _counter.get_lock():
                _counter.value += 1

    return _measure(job, count)


def _measure(job: _MeasurementJob, count: Callable[[int], None]) -> dict[str, str]:
    workspace = Workspace.open(job.folder)
    changed: dict[str, list[Clip | None]] = {}
    for clip_id, path in job.clips:
        try:
            cut = _cut(read_audio(workspace.audio_path(path)))
            changed[clip_id] = changed_clips(clip_id, cut, job.seed)
        except AudioError:
            changed[clip_id] = [None] * (len(INTERVENTIONS) + 1)
    reasons: dict[str, str] = {}
    ids, done = list(changed), 0
    for name, sha256 in job.weights.items():
        try:
            encoder = load_encoder(name, precision=stored_precision(workspace, name))
            if encoder.weights_sha256 != sha256:
                raise ProvenanceError("its weights are not those of the stored vectors")
        except UnknownNameError:
            reasons[name] = f"{NOT_MEASURED} (its vectors were imported)"
            continue
        except UsadError as error:
            reasons[name] = f"{NOT_MEASURED} ({str(error).splitlines()[0]})"
            continue
        for start in range(0, len(ids), PORTION_CLIPS):
            portion = ids[start : start + PORTION_CLIPS]
            table = _distances(encoder, job, portion, [changed[one] for one in portion])
            _store(workspace, table, name, portion, job)
            done += 1
            count(done)
    return reasons


def _cut(clip: Clip) -> Clip:
    """The middle of a clip, if there is something to hear in it."""
    n = round(CUT_S * clip.sample_rate_hz)
    first = max((len(clip.samples) - n) // 2, 0)
    samples = check_samples(clip.samples[first : first + n], clip.sample_rate_hz, str(clip.path))
    return Clip(samples=samples, sample_rate_hz=clip.sample_rate_hz, path=clip.path)


def _distances(
    encoder: Encoder,
    job: _MeasurementJob,
    ids: Sequence[str],
    variants: Sequence[list[Clip | None]],
) -> pa.Table:
    """One row for each layer, change and clip of a portion."""
    from usad_workbench.core.models.pooling import pooled_vectors

    name, layers = encoder.spec.name, job.layers[encoder.spec.name]
    rate_hz = encoder.spec.sample_rate_hz
    shape = (len(ids), len(INTERVENTIONS) + 1)
    cells = [(i, j) for i in range(shape[0]) for j in range(shape[1]) if variants[i][j]]
    clips = [resample(one, rate_hz) for row in variants for one in row if one is not None]
    vectors = pooled_vectors(encoder, clips, layers, "mean") if clips else {}
    tables: list[pa.Table] = []
    for layer in layers:
        distance, cosine = (np.full(shape, np.nan) for _ in range(2))
        if clips:
            full = np.full((*shape, vectors[layer].shape[1]), np.nan)
            full[tuple(np.array(cells).T)] = vectors[layer]
            distance = np.linalg.norm(full - full[:, :1], axis=2)
            norms = np.linalg.norm(full, axis=2)
            with np.errstate(invalid="ignore", divide="ignore"):
                cosine = (full * full[:, :1]).sum(axis=2) / (norms * norms[:, :1])
        n = len(INTERVENTIONS)
        tables.append(
            pa.table(
                {
                    "encoder": [name] * (n * len(ids)),
                    "layer": np.full(n * len(ids), layer, dtype=np.int32),
                    "intervention": [one.name for one in INTERVENTIONS] * len(ids),
                    "strength": [one.strength for one in INTERVENTIONS] * len(ids),
                    "clip_id": np.repeat(np.array(ids, dtype=object), n),
                    "displacement": pa.array(distance[:, 1:].ravel(), from_pandas=True),
                    "cosine": pa.array(cosine[:, 1:].ravel(), from_pandas=True),
                    "code_version": [CODE_VERSION] * (n * len(ids)),
                    "weights_sha256": [encoder.weights_sha256] * (n * len(ids)),
                    "seed": np.full(n * len(ids), job.seed, dtype=np.int64),
                }
            )
        )
    return pa.concat_tables(tables)


def _store(
    workspace: Workspace, table: pa.Table, encoder: str, ids: Sequence[str], job: _MeasurementJob
) -> None:
    replace_interventions(workspace, table, encoder=encoder, seed=job.seed, clip_ids=ids)


def _stored(
    workspace: Workspace, weights: Mapping[str, str], clips: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Rows of this sample, made with these weights, this seed and this code."""
    rows = stored_interventions(
        workspace, seed=seed, code_version=CODE_VERSION, clip_ids=clips.clip_id.tolist()
    )
    return rows[rows.weights_sha256 == rows.encoder.map(weights)]


def _pending(
    stored: pd.DataFrame, encoders: Sequence[str], ids: Sequence[str]
) -> dict[str, list[str]]:
    """Encoder to the clips that it has not seen in every change; encoders without any left out."""
    seen = {str(k): set(v) for k, v in stored.groupby("encoder").clip_id}
    unseen = {name: [i for i in ids if i not in seen.get(name, ())] for name in encoders}
    return {name: missing for name, missing in unseen.items() if missing}


def _matrices(stored: pd.DataFrame, clips: pd.DataFrame) -> dict[tuple[str, int], Matrix]:
    changes = pd.MultiIndex.from_tuples([(one.name, one.strength) for one in INTERVENTIONS])
    row = changes.get_indexer(pd.MultiIndex.from_frame(stored[["intervention", "strength"]]))
    column = pd.Index(clips.clip_id).get_indexer(stored.clip_id)
    values = stored.displacement.to_numpy(dtype=np.float64)
    matrices = {}
    for key, rows in stored.groupby(["encoder", "layer"]).indices.items():
        matrix = np.full((len(INTERVENTIONS), len(clips)), np.nan)
        matrix[row[rows], column[rows]] = values[rows]
        matrices[str(key[0]), int(key[1])] = matrix
    return matrices
