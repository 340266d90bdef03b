"""Shallow-network probes: the downstream heads of the HEAR and MARBLE benchmarks.

``HEAR`` is Turian et al. 2022 (arXiv:2203.03022, hear-eval-kit): one or two hidden layers, batch
norm, random points of a grid, the weights of the best validation. ``MARBLE`` is Yuan et al. 2023
(arXiv:2306.10548). Features are centred and scaled as a whole: batch norm makes that a matter of
rounding, and no encoder's units matter to the other head.

Frame level means: the probe sees single segments (the windows of one vector each), trained with
the label of their clip; a clip's score is the mean of its segments' log-probabilities. The event
tasks of HEAR, where frames have labels of their own, are something else.

torch is imported when the first network is fitted.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np

from usad_workbench.core.arrays import Ids, Matrix
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.probes.blocks import Features, as_blocks, centred_block
from usad_workbench.core.probes.folds import Codes, codes_of, grouped_folds
from usad_workbench.core.probes.scores import ScoreMetric, Truth, metric_of_scores

if TYPE_CHECKING:
    import torch

Initialisation = Literal["uniform", "normal"]
N_VALIDATION_FOLDS = 4
"""One part in four of the training clips validates: as HEAR with five folds, of which one
tests, one validates and three train."""
GAIN_FLOOR = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class DownstreamHead:
    """A downstream head with its grid and training."""

    name: str
    hidden_layers: tuple[int, ...]
    """Grid; 0 is a linear head."""
    width: int
    learning_rates: tuple[float, ...]
    """Grid, of Adam."""
    initialisations: tuple[Initialisation, ...]
    """Grid, of Xavier."""
    batch_norm: bool
    dropout: float
    batch_size: int
    max_epochs: int
    check_every: int
    """Epochs between two validations."""
    patience: int
    """Validations without a gain before training stops."""
    n_points: int
    """Points that are drawn from the grid."""


HEAR = DownstreamHead(
    name="hear",
    hidden_layers=(1, 2),
    width=1024,
    learning_rates=(3.2e-3, 1e-3, 3.2e-4, 1e-4),
    initialisations=("uniform", "normal"),
    batch_norm=True,
    dropout=0.1,
    batch_size=1024,
    max_epochs=500,
    check_every=3,
    patience=20,
    n_points=8,
)
"""The head of HEAR: arXiv:2203.03022 and hear-eval-kit."""
MARBLE = DownstreamHead(
    name="marble",
    hidden_layers=(1,),
    width=512,
    learning_rates=(5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2),
    initialisations=("uniform",),
    batch_norm=False,
    dropout=0.2,
    batch_size=64,
    max_epochs=100,
    check_every=1,
    patience=10,
    n_points=6,
)
"""The constrained track of arXiv:2306.10548; epochs and patience of its VocalSet recipe. What
initialises it is not said: Xavier as in HEAR."""
LINEAR = DownstreamHead(
    name="linear",
    hidden_layers=(0,),
    width=0,
    learning_rates=(1e-2, 1e-3),
    initialisations=("uniform",),
    batch_norm=False,
    dropout=0.0,
    batch_size=64,
    max_epochs=200,
    check_every=3,
    patience=5,
    n_points=2,
)
"""Ours: a linear readout for clips with several labels, where no penalised one is at hand."""
HEADS = {head.name: head for head in (HEAR, MARBLE)}


@dataclass(frozen=True, kw_only=True, slots=True)
class GridPoint:
    """One setting of a head."""

    hidden_layers: int
    learning_rate: float
    initialisation: Initialisation


def grid_points(head: DownstreamHead, seed: int = 0) -> list[GridPoint]:
    """``head.n_points`` points of its grid, drawn at random without repetition.

    >>> len(grid_points(HEAR)), len(set(grid_points(HEAR)))
    (8, 8)
    """
    grid = [
        GridPoint(hidden_layers=n, learning_rate=rate, initialisation=start)
        for n, rate, start in product(head.hidden_layers, head.learning_rates, head.initialisations)
    ]
    order = np.random.default_rng(seed).permutation(len(grid))
    return [grid[index] for index in order[: head.n_points]]


class MlpProbe:
    """A shallow-network probe on one set of clips, for any split of them."""

    def __init__(
        self,
        x: Features,
        labels: Truth,
        groups: Ids | None = None,
        clips: Codes | None = None,
        head: DownstreamHead = HEAR,
        metric: ScoreMetric = "accuracy",
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        """Takes the embeddings.

        Args:
            x: Embeddings `[clip, dim]` or blocks of them; at frame level `[segment, dim]`.
            labels: Class number of each clip, or indicators `[clip, class]`.
            groups: What validation keeps whole; each clip its own where none.
            clips: At frame level, the clip of each segment, as its place in ``labels``.
            head: Its grid and training.
            metric: What validation goes by.
            seed: Of grid, weights, dropout and order: the same seed, the same predictions.
            device: Of torch.

        Raises:
            ShapeError: no array, other numbers of clips, or a clip without a segment.
            DegenerateError: values that are not finite.
        """
        self._blocks = as_blocks(x)
        self._labels = labels
        n_clips = len(self._labels)
        self._clips = np.arange(n_clips) if clips is None else np.asarray(clips, dtype=np.intp)
        self._groups = np.arange(n_clips) if groups is None else codes_of(groups, "group")
        present = np.unique(self._clips)
        if len(self._blocks[0]) != len(self._clips) or len(self._groups) != n_clips:
            raise ShapeError(
                f"There are {len(self._blocks[0])} embeddings for {len(self._clips)} rows, "
                f"{n_clips} labels and {len(self._groups)} groups, expected one label and one "
                "group for each clip. Select the clips that have a label."
            )
        if not np.array_equal(present, np.arange(n_clips)):
            raise ShapeError(
                f"The segments belong to {len(present)} clips, expected all of {n_clips}. "
                "Embed the rest, or leave these clips out."
            )
        self._head, self._metric, self._seed, self._device = head, metric, seed, device
        self.point: GridPoint | None = None
        """The setting that the last fit chose."""

    def predict(self, train: Codes, test: Codes, n_settings: int = 1) -> Codes:
        """Class numbers of the test clips `[1, test]`; the grid is searched within.

        Args:
            train: Clips that are fitted and validated on.
            test: Clips that are asked.
            n_settings: Without effect: the grid point is chosen on the training clips.

        Raises:
            DegenerateError: all training clips in one group, so nothing validates.
        """
        return np.asarray(np.argmax(self.log_probabilities(train, test), axis=1))[None, :]

    def log_probabilities(
        self,
        train: Codes,
        test: Codes,
        valid: Codes | None = None,
        points: list[GridPoint] | None = None,
    ) -> Matrix:
        """Scores of the test clips `[test, class]` by the grid point that validates best.

        Log-probabilities of the classes, or of each label by itself where a clip has
        several. Classes that no training clip has get what the network says of them: low.

        Args:
            train: Clips that are fitted.
            test: Clips that are asked.
            valid: Clips that choose epoch and grid point; taken from ``train`` where none.
            points: Grid; drawn from the head's where none.

        Raises:
            DegenerateError: all training clips in one group, so nothing validates.
        """
        if valid is None:
            train, valid = self._hold_out(train)
        grid = grid_points(self._head, self._seed) if points is None else points
        rows = np.flatnonzero(np.isin(self._clips, train))
        blocks = [centred_block(block, rows) for block in self._blocks]
        # Mean square 1 for each dim, the size that initialisations are made for.
        x = np.hstack(blocks) * math.sqrt(sum(b.shape[1] for b in blocks) / len(blocks))
        best, best_value = None, -math.inf
        for point in grid:
            network, value = self._fit(x, rows, valid, point)
            if best is None or value > best_value + GAIN_FLOOR:
                best, best_value, self.point = network, value, point
        if best is None:
            raise ShapeError("There are no grid points, expected at least one.")
        return self._scores(best, x, test)

    def _hold_out(self, train: Codes) -> tuple[Codes, Codes]:
        """Training clips in two parts, groups whole."""
        labels = self._labels[train]
        strata = labels if labels.ndim == 1 else np.zeros(len(train), dtype=np.intp)
        fold = grouped_folds(strata, self._groups[train], N_VALIDATION_FOLDS, self._seed)[0]
        return train[fold.train], train[fold.test]

    def _fit(
        self, x: Matrix, rows: Codes, valid: Codes, point: GridPoint
    ) -> tuple["torch.nn.Module", float]:
        """The network at its best validation, and that validation."""
        import torch

        n_classes = self._n_classes
        inputs = torch.from_numpy(x[rows].astype(np.float32)).to(self._device)
        targets = torch.from_numpy(self._labels[self._clips[rows]]).to(self._device)
        loss_of = torch.nn.functional.cross_entropy
        if self._labels.ndim == 2:
            targets = targets.float()
            loss_of = torch.nn.functional.binary_cross_entropy_with_logits  # type: ignore[assignment]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed)
            network = _network(self._head, point, x.shape[1], n_classes).to(self._device)
            optimiser = torch.optim.Adam(network.parameters(), lr=point.learning_rate)
            best, best_value, n_without = _copy(network), -math.inf, 0
            for epoch in range(1, self._head.max_epochs + 1):
                network.train()
                for part in _batches(len(rows), self._head.batch_size):
                    optimiser.zero_grad(set_to_none=True)
                    loss = loss_of(network(inputs[part]), targets[part])
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
                if epoch % self._head.check_every:
                    continue
                scores = self._scores(network, x, valid)
                value = float(metric_of_scores(self._labels[valid], scores, self._metric)[0])
                if value > best_value + GAIN_FLOOR:
                    best, best_value, n_without = _copy(network), value, 0
                else:
                    n_without += 1
                    if n_without >= self._head.patience:
                        break
        network.load_state_dict(best)
        return network, best_value

    def _scores(self, network: "torch.nn.Module", x: Matrix, clips: Codes) -> Matrix:
        """Mean log-probability over the segments of each clip, `[clip, class]`."""
        import torch

        row_of = np.full(len(self._labels), -1, dtype=np.intp)
        row_of[clips] = np.arange(len(clips))
        rows = np.flatnonzero(row_of[self._clips] >= 0)
        network.eval()
        with torch.no_grad():
            parts = [
                network(torch.from_numpy(x[part].astype(np.float32)).to(self._device)).cpu()
                for part in np.split(rows, range(8192, len(rows), 8192))
            ]
        logits = torch.cat(parts).double()
        if self._labels.ndim == 2:
            values = torch.nn.functional.logsigmoid(logits).numpy()
        else:
            values = torch.log_softmax(logits, dim=1).numpy()
        if not np.isfinite(values).all():
            raise DegenerateError(
                "The network gave values that are not finite, expected numbers. Embed the clips "
                "again, or use a lower learning rate."
            )
        where = row_of[self._clips[rows]]
        sums = np.zeros((len(clips), values.shape[1]))
        np.add.at(sums, where, values)
        return np.asarray(sums / np.bincount(where, minlength=len(clips))[:, None])

    @property
    def _n_classes(self) -> int:
        return self._labels.shape[1] if self._labels.ndim == 2 else int(self._labels.max()) + 1


def _network(
    head: DownstreamHead, point: GridPoint, n_inputs: int, n_classes: int
) -> "torch.nn.Module":
    from torch import nn

    layers: list[nn.Module] = []
    n = n_inputs
    for _ in range(point.hidden_layers):
        layers.append(_linear(n, head.width, point, nn.init.calculate_gain("relu")))
        if head.batch_norm:
            layers.append(nn.BatchNorm1d(head.width))
        layers += [nn.Dropout(head.dropout), nn.ReLU()]
        n = head.width
    layers.append(_linear(n, n_classes, point, 1.0))
    return nn.Sequential(*layers)


def _linear(n_in: int, n_out: int, point: GridPoint, gain: float) -> "torch.nn.Module":
    from torch import nn

    layer = nn.Linear(n_in, n_out)
    if point.initialisation == "uniform":
        nn.init.xavier_uniform_(layer.weight, gain)
    else:
        nn.init.xavier_normal_(layer.weight, gain)
    return layer


def _batches(n: int, size: int) -> "list[torch.Tensor]":
    """Random order in parts of about even size, so that batch norm never sees a single row."""
    import torch

    return list(torch.randperm(n).chunk(max(1, round(n / size))))


def _copy(network: "torch.nn.Module") -> "dict[str, torch.Tensor]":
    return {name: value.clone() for name, value in network.state_dict().items()}
