"""Which measure to believe: tests in which the right order of similarities is known.

Those of ReSi (Klabunde et al., ICLR 2025) that need nothing but what is here: the order of the
layers of an encoder, and small networks on scikit-learn's digits that were trained with other
labels, shortcuts, noise or seeds. ``python -m tests.core.similarity.grounded WORKSPACE`` writes the
table; the workspace is that of ``make demo``, whose encoders' layers are compared.
"""

import itertools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from usad_workbench.core.similarity.canonical_correlation import pwcca
from usad_workbench.core.similarity.disagreement import DISTANCES, readings
from usad_workbench.core.similarity.layers import thin_clusters
from usad_workbench.core.storage.workspace import Workspace

RESULTS = Path(__file__).with_name("GROUNDED.md")
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
N_TRAIN, N_TEST, N_CLASSES, WIDTH = 1200, 300, 10, 32
MAX_CLIPS = 200
Similarities = dict[str, Callable[[np.ndarray, np.ndarray], float]]


def similarities(clusters: np.ndarray | None = None) -> Similarities:
    """Every measure as a similarity: what is a distance with its sign turned."""
    measures = {**readings(clusters=clusters), "pwcca": lambda x, y: pwcca(x, y).value}
    return {
        name: (lambda x, y, f=f: -f(x, y)) if name in DISTANCES else f
        for name, f in measures.items()
    }


def layer_violations(
    layers: Sequence[np.ndarray], clusters: np.ndarray
) -> dict[str, tuple[int, int]]:
    """How often of three layers the outer two are the nearest, and of how many comparisons."""
    n = len(layers)
    counts = {}
    for name, measure in similarities(clusters).items():
        s = {(i, j): measure(layers[i], layers[j]) for i, j in itertools.combinations(range(n), 2)}
        wrong = [
            inner < s[i, k]
            for i, j, k in itertools.combinations(range(n), 3)
            for inner in (s[i, j], s[j, k])
        ]
        counts[name] = int(np.sum(wrong)), len(wrong)
    return counts


class Digits:
    """Images and classes, the same for all networks."""

    def __init__(self) -> None:
        images, self.labels = load_digits(return_X_y=True)
        self.images = images / 16.0

    def network(
        self, seed: int, *, mislabelled: float = 0.0, leaking: float = 0.0, noise: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Activations of the last hidden layer and class probabilities on the test images.

        Args:
            seed: Of the weights, and of what is random in the training data.
            mislabelled: Share of training labels that are drawn anew.
            leaking: Share of training images whose label stands beside the image; of the test
                images all have one.
            noise: Standard deviation of what is added to a second copy of the training images.
        """
        rng = np.random.default_rng(seed)
        x, y = self.images[:N_TRAIN], self.labels[:N_TRAIN].copy()
        redrawn = rng.random(N_TRAIN) < mislabelled
        y[redrawn] = rng.integers(0, N_CLASSES, redrawn.sum())
        shown = np.where(rng.random(N_TRAIN) < leaking, y, rng.integers(0, N_CLASSES, N_TRAIN))
        x = np.hstack([x, np.eye(N_CLASSES)[shown]])
        if noise:
            x, y = np.vstack([x, x + noise * rng.normal(size=x.shape)]), np.tile(y, 2)
        network = MLPClassifier((64, WIDTH), max_iter=60, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(x, y)
        test = slice(N_TRAIN, N_TRAIN + N_TEST)
        hidden = np.hstack([self.images[test], np.eye(N_CLASSES)[self.labels[test]]])
        for weights, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
            hidden = np.maximum(hidden @ weights + bias, 0.0)
        scores = hidden @ network.coefs_[-1] + network.intercepts_[-1]
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        return hidden, odds / odds.sum(axis=1, keepdims=True)


def conformity(networks: Sequence[np.ndarray], groups: Sequence[float]) -> dict[str, float]:
    """How often a pair trained alike is nearer than a pair that is not; by chance .5."""
    pairs = list(itertools.combinations(range(len(networks)), 2))
    is_alike = np.array([groups[i] == groups[j] for i, j in pairs])
    found = {}
    for name, measure in similarities().items():
        s = np.array([measure(networks[i], networks[j]) for i, j in pairs])
        found[name] = float(np.mean(s[is_alike][:, None] > s[~is_alike][None, :]))
    return found


def output_correlation(
    networks: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> dict[str, float]:
    """Rank correlation of the similarity of pairs with how alike their outputs are."""
    pairs = list(itertools.combinations(range(len(networks)), 2))
    apart = [jensen_shannon(outputs[i], outputs[j]) for i, j in pairs]
    found = {}
    for name, measure in similarities().items():
        s = [measure(networks[i], networks[j]) for i, j in pairs]
        found[name] = float(-spearmanr(s, apart).statistic)
    return found


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Mean divergence of two rows of probabilities, in nats."""
    p, q = (np.maximum(side, 1e-12) for side in (p, q))
    middle = (p + q) / 2
    return float(np.mean(np.sum(p * np.log(p / middle) + q * np.log(q / middle), axis=1)) / 2)


def digit_tests(n_seeds: int) -> dict[str, dict[str, float]]:
    """By test and measure."""
    digits = Digits()
    found = {}
    for name, setting in (
        ("label noise", "mislabelled"),
        ("shortcut", "leaking"),
        ("augmentation", "noise"),
    ):
        groups = [level for level in LEVELS for _ in range(n_seeds)]
        networks = [
            digits.network(seed, **{setting: level})[0] for seed, level in enumerate(groups)
        ]
        found[name] = conformity(networks, groups)
    alike = [digits.network(1000 + seed) for seed in range(3 * n_seeds)]
    found["output correlation"] = output_correlation(*zip(*alike, strict=True))
    return found


def violations_in(workspace: Workspace) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Of all encoders of at least three layers, in all domains; and who they are."""
    clips = workspace.clips("domain IS NOT NULL")
    spaces = workspace.spaces()
    spaces = spaces[spaces.pooling == "mean"]
    counts = spaces.groupby("encoder").layer.nunique()
    names = sorted(counts.index[counts >= 3])
    totals: dict[str, tuple[int, int]] = {}
    for name in names:
        stored = {
            layer: workspace.embeddings(name, int(layer))
            for layer in sorted(spaces.layer[spaces.encoder == name])
        }
        for _, of_domain in clips.groupby("domain"):
            chosen = of_domain.iloc[thin_clusters(of_domain.cluster_id.tolist(), MAX_CLIPS)]
            layers = [_means(one, chosen.clip_id.tolist()) for one in stored.values()]
            for measure, (wrong, n) in layer_violations(
                layers, chosen.cluster_id.to_numpy()
            ).items():
                before = totals.get(measure, (0, 0))
                totals[measure] = before[0] + wrong, before[1] + n
    return totals, names


def _means(stored, clip_ids: list[str]) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The mean of each clip's segments."""
    places: dict[str, list[int]] = {}
    for row, clip in enumerate(stored.clip_ids):
        places.setdefault(clip, []).append(row)
    return np.stack([stored.vectors[places[clip]].mean(axis=0) for clip in clip_ids])


def lines(workspace: Workspace, n_seeds: int = 4) -> Iterator[str]:
    """The page."""
    totals, names = violations_in(workspace)
    tests = digit_tests(n_seeds)
    (n_comparisons,) = {n for _, n in totals.values()}
    yield "# Which measure to believe"
    yield ""
    yield (
        "Tests of ReSi (Klabunde et al., ICLR 2025) in which the right order is known. Written by "
        "`python -m tests.core.similarity.grounded WORKSPACE` with the workspace of `make demo`."
    )
    yield ""
    yield (
        f"Layers: of three layers of an encoder the outer two are the nearest, {n_comparisons:,} "
        f"comparisons ({', '.join(names)}; four domains, at most {MAX_CLIPS} clips); a coin has "
        f".5. The rest: networks on scikit-learn's digits, {n_seeds} seeds for each of five shares "
        "of wrong labels, leaking labels or sizes of noise: how often a pair trained alike is "
        f"nearer than one that is not; {3 * n_seeds} networks trained alike: rank correlation with "
        "how alike their outputs are."
    )
    yield ""
    yield "| measure | layers: wrong | label noise | shortcut | augmentation | output correlation |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name in sorted(totals, key=lambda one: totals[one][0]):
        values = " | ".join(f"{one[name]:.2f}" for one in tests.values())
        yield f"| {name} | {totals[name][0] / n_comparisons:.3f} | {values} |"


if __name__ == "__main__":
    RESULTS.write_text("\n".join(lines(Workspace.open(sys.argv[1]))) + "\n", encoding="utf-8")
