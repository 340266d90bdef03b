"""Targets: what the teachers say about each piece, computed once or at every step.

Both ways give the objective the same numbers: what is not kept is rounded to half
precision too.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from usad_workbench.core.audio import resample
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.errors import TrainingError
from usad_workbench.core.models.encoder import (
    Encoder,
    LayerFeatures,
    TargetKind,
    frame_mask,
)
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.data import Corpus
from usad_workbench.training.distributed import Processes
from usad_workbench.training.shards import Shards

_STATISTICS_BATCH = 32
MIN_RELATIVE_STD = 0.01
"""Of the mean deviation of a layer: dimensions that hardly move are not blown up."""


class TargetSource(Protocol):
    """Targets of pieces, wherever they come from."""

    def features(self, pieces: Sequence[int]) -> LayerFeatures:
        """The teacher's layers for these pieces, half precision, padded to a batch."""


class OnlineTargets:
    """Runs the teacher whenever targets are asked for."""

    def __init__(
        self, encoder: Encoder, corpus: Corpus, layers: Sequence[int], kind: TargetKind
    ) -> None:
        self.encoder, self.corpus, self.kind = encoder, corpus, kind
        self.layers = tuple(layers)
        self.frame_rates_hz = tuple(encoder.frame_rate_hz(layer, kind) for layer in self.layers)

    def features(self, pieces: Sequence[int]) -> LayerFeatures:
        """The teacher's layers for these pieces, half precision, padded to a batch.

        Raises:
            AudioError: a piece that cannot be read.
            TrainingError: a value that is not finite in half precision.
        """
        return self.of_clips(self.corpus.clips(pieces))

    def of_clips(self, clips: Sequence[Clip]) -> LayerFeatures:
        """The teacher's layers for these clips, on its device, see ``features``."""
        return collate(self.per_clip(clips), self.layers, self.frame_rates_hz)

    def per_clip(self, clips: Sequence[Clip]) -> list[tuple[Tensor, ...]]:
        """Valid frames in half precision: per clip one [frame, dim] per layer."""
        spec = self.encoder.spec
        clips = [resample(clip, spec.sample_rate_hz) for clip in clips]
        found: list[tuple[Tensor, ...]] = [()] * len(clips)
        # One resampled piece may be a sample longer than its neighbour.
        lengths = [len(clip.samples) for clip in clips]
        for rows in self.encoder.batches(lengths):
            batch = ClipBatch.from_clips([clips[row] for row in rows])
            features = self.encoder.features(batch, self.layers, self.kind)
            n_valid = [n.tolist() for n in features.n_valid]
            for at, row in enumerate(rows):
                found[row] = tuple(
                    frames[at, : n[at]].to(torch.float16)
                    for frames, n in zip(features.frames, n_valid, strict=True)
                )
        self._check(found, clips)
        return found

    def _check(self, found: Sequence[tuple[Tensor, ...]], clips: Sequence[Clip]) -> None:
        checks = [torch.stack([f.isfinite().all() for f in layers]).all() for layers in found]
        for clip, is_finite in zip(clips, torch.stack(checks).tolist(), strict=True):
            if not is_finite:
                raise TrainingError(
                    f"{self.encoder.spec.name} gives values that half precision cannot hold for "
                    f"{clip.path} from {clip.start_s} s. Leave that clip out of the manifest."
                )


class CachedTargets:
    """Reads targets that were computed once, see ``cache_targets``."""

    def __init__(
        self, shards: Shards, layers: tuple[int, ...], frame_rates_hz: tuple[float, ...]
    ) -> None:
        self.shards, self.layers, self.frame_rates_hz = shards, layers, frame_rates_hz

    def features(self, pieces: Sequence[int]) -> LayerFeatures:
        """The teacher's layers for these pieces, half precision, padded to a batch."""
        names = [str(layer) for layer in self.layers]
        read = [self.shards.read(piece, names) for piece in pieces]
        per_piece = [tuple(item[name] for name in names) for item in read]
        return collate(per_piece, self.layers, self.frame_rates_hz)


def cache_targets(
    source: OnlineTargets,
    folder: Path,
    progress: Progress = no_progress,
    processes: Processes | None = None,
) -> CachedTargets:
    """Computes what is not on disk yet, and reads from there; several processes share it.

    The folder's name holds the teacher's weights, the layers, the kind and the corpus:
    targets of anything else are never found there.
    """
    spec, corpus = source.encoder.spec, source.corpus
    key = {
        "encoder": spec.name,
        "weights_sha256": source.encoder.weights_sha256,
        "layers": list(source.layers),
        "kind": source.kind,
        "corpus": corpus.key,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = folder / f"targets-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "provenance.json").write_text(json.dumps(key, indent=2), encoding="utf-8")
    shards = Shards(folder, len(corpus.pieces))
    processes = processes or Processes()
    missing = processes.first(shards.missing)[processes.rank :: processes.n]
    for done, items in enumerate(missing, start=1):
        names = [str(layer) for layer in source.layers]
        per_piece = [
            {name: frames.cpu() for name, frames in zip(names, layers, strict=True)}
            for layers in source.per_clip(corpus.clips(items))
        ]
        shards.write(items.start, per_piece)
        progress(done, len(missing), f"targets of {spec.name}")
    processes.gather(None)  # until all have written theirs
    return CachedTargets(shards, source.layers, source.frame_rates_hz)


def collate(
    per_piece: Sequence[tuple[Tensor, ...]],
    layers: tuple[int, ...],
    frame_rates_hz: tuple[float, ...],
) -> LayerFeatures:
    """Frames of several pieces as one padded batch."""
    frames, n_valid = [], []
    for at in range(len(layers)):
        of_layer = [piece[at] for piece in per_piece]
        n_valid.append(torch.tensor([len(piece) for piece in of_layer]))
        frames.append(torch.nn.utils.rnn.pad_sequence(of_layer, batch_first=True))
    return LayerFeatures(
        layers=layers, frames=tuple(frames), n_valid=tuple(n_valid), frame_rates_hz=frame_rates_hz
    )


def target_statistics(
    source: TargetSource, n_pieces: int, progress: Progress = no_progress
) -> dict[int, tuple[Tensor, Tensor]]:
    """Mean and deviation of each dimension over all valid frames, by layer; each [dim].

    Deviations below a hundredth of the layer's mean deviation are raised to it.
    """
    sums: dict[int, list[Tensor]] = {}
    for start in range(0, n_pieces, _STATISTICS_BATCH):
        stop = min(start + _STATISTICS_BATCH, n_pieces)
        features = source.features(range(start, stop))
        for layer, frames, n in zip(
            features.layers, features.frames, features.n_valid, strict=True
        ):
            valid = frames.cpu()[frame_mask(n, frames.shape[1])].double()
            new = [torch.tensor(float(len(valid))), valid.sum(0), valid.square().sum(0)]
            old = sums.get(layer)
            sums[layer] = new if old is None else [a + b for a, b in zip(old, new, strict=True)]
        progress(stop, n_pieces, "statistics of the targets")
    statistics = {}
    for layer, (count, total, squares) in sums.items():
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0.0).sqrt()
        floor = MIN_RELATIVE_STD * std.mean().clamp(min=1e-6)
        statistics[layer] = (mean.float(), std.clamp(min=floor).float())
    return statistics
