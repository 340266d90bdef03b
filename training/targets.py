"""Targets: what the teachers say about each piece, computed once or at every step.

Both ways give the objective the same numbers: what is not kept is rounded to half precision too.
A piece whose targets half precision cannot hold (or that are no numbers) has no frames of that
teacher: it is named, and the other teachers teach it, up to a limit of the recipe.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from usad_workbench.core.audio.reading import resample
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.errors import TrainingError
from usad_workbench.core.files import write_whole
from usad_workbench.core.models.encoder import (
    Encoder,
    LayerFeatures,
    TargetKind,
    frame_mask,
)
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.data import Corpus
from usad_workbench.training.distributed import World
from usad_workbench.training.shards import Shards

logger = logging.getLogger(__name__)

PieceName = tuple[str, float]
"""The clip_id and start in seconds of a piece."""
_STATISTICS_BATCH = 32
MIN_RELATIVE_STD = 0.01
"""Floor of a deviation, in mean deviations of its layer: still dimensions are not blown up."""


class TargetSource(Protocol):
    """Targets of pieces, wherever they come from."""

    def features(self, pieces: Sequence[int]) -> LayerFeatures:
        """The teacher's layers for these pieces, half precision, padded to a batch."""


class OnlineTargets:
    """Runs the teacher whenever targets are asked for."""

    def __init__(
        self,
        encoder: Encoder,
        corpus: Corpus,
        layers: Sequence[int],
        kind: TargetKind,
        max_left_out: int = 0,
    ) -> None:
        """Takes a teacher and what is asked of it.

        Args:
            encoder: The teacher.
            corpus: What it hears.
            layers: Those that are predicted.
            kind: What of them.
            max_left_out: How many pieces without targets a run accepts.
        """
        self.encoder, self.corpus, self.kind = encoder, corpus, kind
        self.max_left_out = max_left_out
        self.left_out: set[PieceName] = set()
        """Pieces heard so far whose targets half precision cannot hold."""
        self.layers = tuple(layers)
        self.frame_rates_hz = tuple(encoder.frame_rate_hz(layer, kind) for layer in self.layers)

    def features(self, pieces: Sequence[int]) -> LayerFeatures:
        """The teacher's layers for these pieces, half precision, padded to a batch.

        Raises:
            AudioError: a piece that cannot be read.
            TrainingError: more pieces left out than the limit.
        """
        return self.of_clips(self.corpus.clips(pieces))

    def of_clips(self, clips: Sequence[Clip]) -> LayerFeatures:
        """The teacher's layers for these clips, on its device, see ``features``."""
        return collate(self.per_clip(clips), self.layers, self.frame_rates_hz)

    def per_clip(self, clips: Sequence[Clip]) -> list[tuple[Tensor, ...]]:
        """Valid frames in half precision: per clip one [frame, dim] per layer.

        No frames where one value is not finite: the clip is left out, and named once.

        Raises:
            TrainingError: more pieces left out than the limit.
        """
        spec = self.encoder.spec
        clips = [resample(clip, spec.sample_rate_hz) for clip in clips]
        of_clips: list[tuple[Tensor, ...]] = [()] * len(clips)
        # One resampled piece may be a sample longer than its neighbour.
        lengths = [len(clip.samples) for clip in clips]
        for rows in self.encoder.batches(lengths):
            batch = ClipBatch.from_clips([clips[row] for row in rows])
            features = self.encoder.features(batch, self.layers, self.kind)
            n_valid = [n.tolist() for n in features.n_valid]
            for at, row in enumerate(rows):
                of_clips[row] = tuple(
                    frames[at, : n[at]].to(torch.float16)
                    for frames, n in zip(features.frames, n_valid, strict=True)
                )
        checks = [torch.stack([f.isfinite().all() for f in layers]).all() for layers in of_clips]
        for row, is_finite in enumerate(torch.stack(checks).tolist()):
            if not is_finite:
                self._leave_out((str(clips[row].path), clips[row].start_s))
                of_clips[row] = tuple(frames[:0] for frames in of_clips[row])
        return of_clips

    def _leave_out(self, piece: PieceName) -> None:
        if piece in self.left_out:
            return
        self.left_out.add(piece)
        name = self.encoder.spec.name
        _check_limit(name, len(self.left_out), self.max_left_out, piece)
        logger.warning(
            "%s gives values that half precision cannot hold for %s from %g s: it does not teach "
            "that piece.",
            name,
            *piece,
        )


class CachedTargets:
    """Reads targets that were computed once, see ``cache_targets``."""

    left_out: frozenset[PieceName] = frozenset()
    """Pieces whose targets half precision cannot hold."""

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
    world: World | None = None,
) -> CachedTargets:
    """Computes what is not on disk yet, and reads from there; several processes share it.

    The folder's name holds the teacher's weights, the layers, the kind and the corpus:
    targets of anything else are never found there.

    Raises:
        TrainingError: more pieces without targets than the limit, or none with.
        CheckpointError: a shard that cannot be read.
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
    write_whole(folder / "provenance.json", json.dumps(key, indent=2))
    shards = Shards(folder, len(corpus.pieces))
    world = world or World()
    missing = world.first(shards.missing)[world.rank :: world.size]
    for done, items in enumerate(missing, start=1):
        names = [str(layer) for layer in source.layers]
        per_piece = [
            {name: frames.cpu() for name, frames in zip(names, layers, strict=True)}
            for layers in source.per_clip(corpus.clips(items))
        ]
        shards.write(items.start, per_piece)
        progress(done, len(missing), f"targets of {spec.name}")
    world.gather(None)  # until all have written theirs
    cached = CachedTargets(shards, source.layers, source.frame_rates_hz)
    pieces = [corpus.pieces[item] for item in shards.empty(str(source.layers[0]))]
    cached.left_out = frozenset((piece.clip_id, piece.start_s) for piece in pieces)
    if cached.left_out:
        limit = min(source.max_left_out, len(corpus.pieces) - 1)
        first = min(cached.left_out)
        _check_limit(spec.name, len(cached.left_out), limit, first)
        logger.warning(
            "%s does not teach %d of %d pieces, as half precision cannot hold its values; the "
            "first is %s from %g s.",
            spec.name,
            len(pieces),
            len(corpus.pieces),
            *first,
        )
    return cached


def _check_limit(teacher: str, n_left_out: int, limit: int, piece: PieceName) -> None:
    if n_left_out > limit:
        raise TrainingError(
            f"{teacher} gives values that half precision cannot hold for {piece[0]} from "
            f"{piece[1]:g} s, which is number {n_left_out}; at most {limit} pieces may be left out "
            "(data.max_left_out). Listen to that clip, and leave it out of the data or raise the "
            "limit; where it is most clips, the teacher's weights or layers are wrong."
        )


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
