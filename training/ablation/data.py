"""What all runs of an ablation learn from, read once: audio, targets, their scales.

A grid of short runs would spend its time on reading. Here the targets of every teacher
are kept in memory at the rate at which they are used, which gives the objective the same
numbers (up to half precision) as pooling them at every step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from usad_workbench.core.models.encoder import Encoder, LayerFeatures
from usad_workbench.core.models.hashed_tensors import has_hash, open_hashed, save_hashed
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.data import Corpus, SelectedAudio, load_corpus
from usad_workbench.training.objective import layer_map, n_covered, pool_frames
from usad_workbench.training.recipe import Recipe
from usad_workbench.training.run import target_kind
from usad_workbench.training.targets import (
    CachedTargets,
    OnlineTargets,
    cache_targets,
    collate,
    target_statistics,
)

_BATCH = 32
_FASTER = 1 + 1e-6


class MemoryTargets:
    """Targets of one teacher in memory, at most at the student's frame rate."""

    def __init__(
        self,
        frames: Mapping[int, Sequence[Tensor]],
        rates_hz: Mapping[int, float],
        scaling: Mapping[int, tuple[Tensor, Tensor]],
    ) -> None:
        """Takes the frames.

        Args:
            frames: By layer, [frame, dim] of each piece.
            rates_hz: By layer.
            scaling: By layer, mean and deviation of each dimension.
        """
        self.frames, self.rates_hz, self.scaling = frames, rates_hz, scaling

    def select(self, layers: Sequence[int], rows: Sequence[int]) -> "MemoryTargets":
        """Some layers of some pieces, which are numbered anew; the scaling stays."""
        return MemoryTargets(
            {layer: [self.frames[layer][row] for row in rows] for layer in layers},
            {layer: self.rates_hz[layer] for layer in layers},
            {layer: self.scaling[layer] for layer in layers},
        )

    def features(self, pieces: Sequence[int]) -> LayerFeatures:
        """The layers for these pieces, padded to a batch, on the CPU."""
        layers = tuple(self.frames)
        per_piece = [tuple(self.frames[layer][i] for layer in layers) for i in pieces]
        return collate(per_piece, layers, tuple(self.rates_hz[layer] for layer in layers))


def select_domains(corpus: Corpus, domains: Sequence[str]) -> tuple[Corpus, list[int]]:
    """The pieces of some domains, and their numbers in the whole corpus."""
    rows = [i for i, piece in enumerate(corpus.pieces) if piece.domain in domains]
    part = Corpus(
        tuple(corpus.pieces[row] for row in rows),
        SelectedAudio(corpus.audio, rows),
        key=f"{corpus.key} ({', '.join(domains)})",
        failed=corpus.failed,
        sources=[corpus.sources[row] for row in rows],
    )
    return part, rows


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AblationData:
    """Everything that the runs of a grid share."""

    corpus: Corpus
    encoders: Mapping[str, Encoder]
    """The teachers of all recipes."""
    targets: Mapping[str, MemoryTargets]


def load_ablation_data(
    recipes: Sequence[Recipe],
    folder: Path,
    encoders: Mapping[str, Encoder],
    progress: Progress = no_progress,
) -> AblationData:
    """Audio and targets of several recipes with the same corpus and frame rate.

    Args:
        recipes: Those with the most layers and domains; what others need is part of it.
        folder: Keeps what was made here, so that the next call reads it.
        encoders: The teachers by name.
        progress: Called after each piece of work.
    """
    first = recipes[0]
    cache = Path(first.data.cache) if first.data.cache else folder / "cache"
    corpus = load_corpus(first.data, cache, progress)
    rate_hz = float(first.student.frame_rate_hz)
    targets: dict[str, MemoryTargets] = {}
    for recipe in recipes:
        for teacher in recipe.teachers:
            encoder = encoders[teacher.name]
            pairs = layer_map(
                recipe.objective.n_layers,
                recipe.student.n_layers,
                encoder.spec.n_layers,
                teacher.layers,
            )
            layers = [layer for _, layer in pairs]
            loaded = targets.get(teacher.name)
            if loaded is not None and set(layers) <= set(loaded.frames):
                continue
            online = OnlineTargets(
                encoder, corpus, layers, target_kind(teacher, encoder), first.data.max_left_out
            )
            cached = cache_targets(online, cache, progress)
            path = folder / f"pooled-{cached.shards.folder.name}-{rate_hz:g}.safetensors"
            if not has_hash(path):
                _pool(cached, len(corpus.pieces), rate_hz, path, progress)
            targets[teacher.name] = _read(path, cached, rate_hz)
    return AblationData(corpus=corpus, encoders=dict(encoders), targets=targets)


def _pool(
    cached: CachedTargets, n_pieces: int, rate_hz: float, path: Path, progress: Progress
) -> None:
    """Writes all targets at most at this rate, with the statistics of the unpooled ones."""
    frames: dict[int, list[Tensor]] = {layer: [] for layer in cached.layers}
    counts: dict[int, list[Tensor]] = {layer: [] for layer in cached.layers}
    for start in range(0, n_pieces, _BATCH):
        pieces = range(start, min(start + _BATCH, n_pieces))
        features = cached.features(pieces)
        for layer, values, n, rate in zip(
            features.layers, features.frames, features.n_valid, features.frame_rates_hz, strict=True
        ):
            if rate > rate_hz * _FASTER:
                n_slow = int(n_covered(n, rate, rate_hz).max())
                values, n = pool_frames(values, n, rate, n_slow, rate_hz)
            counts[layer].append(n)
            frames[layer] += [row[:length].half() for row, length in zip(values, n, strict=True)]
        progress(pieces.stop, n_pieces, f"pooling to {rate_hz:g} Hz")
    tensors: dict[str, Tensor] = {}
    for layer, (mean, std) in target_statistics(cached, n_pieces, progress).items():
        tensors |= {f"mean:{layer}": mean, f"std:{layer}": std}
        tensors[f"frames:{layer}"] = torch.cat(frames.pop(layer))
        tensors[f"n:{layer}"] = torch.cat(counts[layer])
    save_hashed(path, tensors, path.name)


def _read(path: Path, cached: CachedTargets, rate_hz: float) -> MemoryTargets:
    tensors = open_hashed(path, path.name)
    return MemoryTargets(
        {
            layer: torch.tensor_split(
                tensors[f"frames:{layer}"], tensors[f"n:{layer}"].cumsum(0)[:-1].tolist()
            )
            for layer in cached.layers
        },
        {
            layer: min(rate, rate_hz)
            for layer, rate in zip(cached.layers, cached.frame_rates_hz, strict=True)
        },
        {layer: (tensors[f"mean:{layer}"], tensors[f"std:{layer}"]) for layer in cached.layers},
    )
