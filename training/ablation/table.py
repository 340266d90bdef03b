"""What an ablation says: differences to the reference run, with intervals and verdicts.

A difference is paired twice: both runs have the same seed, and answer for the same clips. Its
variance has two parts that are added. Seeds: the variance of the per-seed differences over their
number. Clusters: the bootstrap over speakers, tracks and recordings of the mean over seeds. The
interval is value ± t × sqrt(sum), with the degrees of freedom of Welch and Satterthwaite. What
seeds and clusters do together is counted in both parts, so that it is rather too wide. With one
seed there is the second part only: no verdict below three. How often it holds the truth:
``docs/statistics.md``, "Ablations".
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.probes import PairedTask, ProbeName, mean_paired_difference
from usad_workbench.core.similarity.resampling import Interval
from usad_workbench.training.ablation.grid import (
    EVALUATION_FILE,
    FULL,
    RunResults,
    TaskResult,
    folder_of,
)
from usad_workbench.training.run_folder import read_json

Results = Mapping[tuple[int, str], RunResults]
"""The results of finished runs by seed and row."""
OVERALL = "overall"
SCOPES = ("speech", "sound", "music", OVERALL)
MIN_SEEDS = 3
"""For a verdict."""
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two rows of the grid, and what is published about them."""

    row: str
    reference: str = FULL
    published: str = ""
    """Numbers, and where they are from."""
    expected: Mapping[str, int] = field(default_factory=dict)
    """Sign of the published difference by domain, 0 for none to speak of."""


_SWEEP = "omega sweep, USAD 2.0 (no numbers): all three best at 10"
_HIGH = "omega sweep, USAD 2.0 (no numbers): 20 and 50 hurt sound and pitch, phonemes flat"
_WORSE = {"speech": -1, "sound": -1, "music": -1, OVERALL: -1}
_SPECIALISTS = "USAD, table V (PER / AS-20K, WavLM Base+ with ATST: 8.7 / 30.6)"
_DEPTH = "USAD 2.0: up-scaled 0.783 / 0.624, same depth 0.772 / 0.611 (X-ARES A / B)"
_NO_NUMBER = "USAD 2.0, no number: each way beats the same depth, up-scaling is best"

COMPARISONS = (
    Comparison(
        row="omega-1",
        published="USAD 2.0, PER / ESC-50 / NSynth pitch: 13.3 / 83.4 / 69.1, full 8.7 / 85.7 / 70.3",
        expected=_WORSE,
    ),
    Comparison(row="omega-2", published=_SWEEP, expected=_WORSE),
    Comparison(row="omega-5", published=_SWEEP, expected=_WORSE),
    Comparison(row="omega-20", published=_HIGH, expected={"speech": 0, "sound": -1, "music": -1}),
    Comparison(row="omega-50", published=_HIGH, expected={"speech": 0, "sound": -1, "music": -1}),
    Comparison(
        row="without-whisper-tiny.en",
        published=f"{_SPECIALISTS}: without WavLM 28.3 / 34.8",
        expected={"speech": -1, "sound": 1},
    ),
    Comparison(
        row="without-aisfx",
        published=f"{_SPECIALISTS}: without ATST 7.9 / 27.7",
        expected={"speech": 1, "sound": -1},
    ),
    Comparison(
        row="without-musicnn",
        published="USAD 2.0: 8.5 / 85.2 / 49.1, full 8.7 / 85.7 / 70.3",
        expected={"speech": 0, "sound": 0, "music": -1},
    ),
    Comparison(
        row="without-music-data",
        published="USAD 2.0: 8.4 / 84.3 / 53.2, full 8.7 / 85.7 / 70.3",
        expected={"speech": 1, "sound": -1, "music": -1},
    ),
    Comparison(
        row="layers-3",
        published="USAD, table VI (PER / AS-20K): K = 3 9.4 / 29.9, K = 4 9.5 / 30.3",
        expected={"speech": 0, "sound": -1},
    ),
    Comparison(
        row="stage-2",
        reference="stage-2-from-scratch",
        published="USAD 2.0, X-ARES A / B: 0.772 / 0.611, from scratch 0.731 / 0.574",
        expected={OVERALL: 1},
    ),
    Comparison(
        row="stage-2",
        published="USAD 2.0 XLarge, HEAR / MARBLE / A / B: 84.4 / 75.0 / 0.772 / 0.611, stage 1 "
        "82.5 / 75.7 / 0.708 / 0.485",
        expected={"music": -1, OVERALL: 1},
    ),
    Comparison(row="depth-upscale", reference="stage-2", published=_DEPTH, expected={OVERALL: 1}),
    Comparison(
        row="depth-duplicate", reference="stage-2", published=_NO_NUMBER, expected={OVERALL: 1}
    ),
    Comparison(row="depth-top", reference="stage-2", published=_NO_NUMBER, expected={OVERALL: 1}),
    Comparison(
        row="depth-upscale",
        reference="depth-duplicate",
        published=_NO_NUMBER,
        expected={OVERALL: 1},
    ),
    Comparison(
        row="depth-upscale", reference="depth-top", published=_NO_NUMBER, expected={OVERALL: 1}
    ),
)
"""Sources: USAD 2.0 (arXiv 2606.06444), tables 1 and 2, and digests of it; USAD (arXiv
2506.18843), tables V and VI. Phoneme error rates fall where speech gets better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One comparison in one domain."""

    row: str
    reference: str
    domain: str
    protocol: ProbeName
    value: float
    """Mean of the row over the domain's tasks and the seeds that both rows have."""
    reference_value: float
    difference: float
    ci_low: float
    ci_high: float
    n_seeds: int
    n_clusters: int
    published: str
    expected: int | None
    verdict: str


def read_results(
    folder: Path, seeds: int, rows: Sequence[str]
) -> dict[tuple[int, str], RunResults]:
    """The evaluations of the finished runs, by seed and row."""
    results = {}
    for seed in range(seeds):
        for row in rows:
            path = folder_of(folder, seed, row) / EVALUATION_FILE
            if path.is_file():
                results[seed, row] = read_json(path)
    return results


def result_rows(
    results: Results, domains: Mapping[str, str]
) -> Iterator[dict[str, str | int | float]]:
    """One row per run, protocol and task."""
    for (seed, row), of_run in results.items():
        for protocol, tasks in of_run.items():
            for task, one in tasks.items():
                yield {
                    "run": row,
                    "seed": seed,
                    "protocol": protocol,
                    "task": task,
                    "domain": domains[task],
                    "value": one["value"],
                    "n": one["n"],
                    "chance": one["chance"],
                }


def judged_tasks(tasks: Sequence[Task], domains: Mapping[str, str]) -> dict[str, list[Task]]:
    """The tasks of each domain, and of all three, that have clusters enough for an interval."""
    return {
        scope: [
            task
            for task in tasks
            if task.has_interval
            and domains[task.name] in (SCOPES[:-1] if scope == OVERALL else (scope,))
        ]
        for scope in SCOPES
    }


def mean_values(
    results: Results,
    tasks: Sequence[Task],
    domains: Mapping[str, str],
    protocols: Sequence[ProbeName],
) -> Iterator[dict[str, str | int | float]]:
    """One line per row and protocol: the mean over tasks and seeds in each domain."""
    judged = judged_tasks(tasks, domains)
    for protocol in protocols:
        for row in dict.fromkeys(row for _, row in results):
            runs = [of[protocol] for (_, name), of in results.items() if name == row]
            yield {
                "row": row,
                "protocol": protocol,
                "n_seeds": len(runs),
                **{
                    scope: float(np.mean([[one[t.name]["value"] for t in of] for one in runs]))
                    for scope, of in judged.items()
                    if of
                },
            }


def compare(
    results: Results,
    tasks: Sequence[Task],
    domains: Mapping[str, str],
    protocols: Sequence[ProbeName],
) -> list[Finding]:
    """Every comparison of which both rows have a finished run with the same seed.

    Args:
        results: Of ``read_results``.
        tasks: In the order of the predictions' clips; those with too few clusters for an
            interval are left out of the means.
        domains: Of each task.
        protocols: Of the probes.
    """
    judged = judged_tasks(tasks, domains)
    findings = []
    for protocol in protocols:
        for one in _comparisons(dict.fromkeys(row for _, row in results)):
            pairs = [
                (of_run[protocol], results[seed, one.reference][protocol])
                for (seed, row), of_run in results.items()
                if row == one.row and (seed, one.reference) in results
            ]
            for scope, of_scope in judged.items():
                if pairs and of_scope:
                    findings.append(_finding(one, scope, protocol, pairs, of_scope))
    return findings


def _comparisons(rows: Iterable[str]) -> list[Comparison]:
    """The comparisons of the papers, and every other row against ``full``, with nothing published."""
    listed = {one.row for one in COMPARISONS} | {FULL}
    return [*COMPARISONS, *(Comparison(row=row) for row in rows if row not in listed)]


def _finding(
    one: Comparison,
    scope: str,
    protocol: ProbeName,
    pairs: Sequence[tuple[Mapping[str, TaskResult], Mapping[str, TaskResult]]],
    tasks: Sequence[Task],
) -> Finding:
    values = np.array([[[side[t.name]["value"] for t in tasks] for side in pair] for pair in pairs])
    by_seed = values.mean(axis=2)  # [seed, side]
    clusters = mean_paired_difference(
        [
            PairedTask(
                pred_a=np.concatenate([a[t.name]["predictions"] for a, _ in pairs]),
                pred_b=np.concatenate([b[t.name]["predictions"] for _, b in pairs]),
                labels=t.labels.tolist(),
                clusters=t.units.tolist(),
                metric=t.metric,
            )
            for t in tasks
        ]
    )
    low, high = with_seeds(by_seed[:, 0] - by_seed[:, 1], clusters)
    expected = one.expected.get(scope)
    return Finding(
        row=one.row,
        reference=one.reference,
        domain=scope,
        protocol=protocol,
        value=float(by_seed[:, 0].mean()),
        reference_value=float(by_seed[:, 1].mean()),
        difference=clusters.value,
        ci_low=low,
        ci_high=high,
        n_seeds=len(pairs),
        n_clusters=clusters.n_clusters,
        published=one.published,
        expected=expected,
        verdict=verdict(low, high, expected, len(pairs)),
    )


def with_seeds(
    differences: Sequence[float] | np.ndarray, clusters: Interval
) -> tuple[float, float]:
    """The 95% interval of a mean difference that holds the luck of seeds and of clusters.

    Args:
        differences: One per seed; the limits of the clusters alone where there is one.
        clusters: Of their mean, resampled over clusters.

    >>> alone = Interval(value=0.1, ci_low=0.05, ci_high=0.15, n_clusters=1000)
    >>> with_seeds([0.1], alone)
    (0.05, 0.15)
    >>> low, high = with_seeds([0.1, 0.1, 0.1], alone)
    >>> round(low, 3), round(high, 3)
    (0.05, 0.15)
    >>> low, high = with_seeds([0.0, 0.1, 0.2], alone)
    >>> round(low, 3), round(high, 3)
    (-0.107, 0.307)
    """
    n = len(differences)
    if n < 2 or not math.isfinite(clusters.ci_low):
        return clusters.ci_low, clusters.ci_high
    tail = (1 + _CONFIDENCE) / 2
    half = (clusters.ci_high - clusters.ci_low) / 2
    of_clusters = (half / float(stdtrit(clusters.n_clusters - 1, tail))) ** 2
    of_seeds = float(np.var(differences, ddof=1)) / n
    total = of_clusters + of_seeds
    if total == 0.0:
        return clusters.value, clusters.value
    freedom = total**2 / (of_seeds**2 / (n - 1) + of_clusters**2 / (clusters.n_clusters - 1))
    reach = float(stdtrit(freedom, tail)) * math.sqrt(total)
    return clusters.value - reach, clusters.value + reach


def verdict(low: float, high: float, expected: int | None, n_seeds: int) -> str:
    """Whether the published direction is reproduced, as far as the interval can tell.

    A published "no difference" can be refuted here, but not reproduced: that would take a
    margin within which differences do not matter.

    >>> verdict(-0.3, -0.1, -1, 3), verdict(0.1, 0.3, -1, 3), verdict(-0.1, 0.3, -1, 3)
    ('reproduced', 'not reproduced', 'undecided')
    """
    if expected is None:
        return "nothing published"
    if n_seeds < MIN_SEEDS:
        return f"undecided ({'one seed' if n_seeds == 1 else f'{n_seeds} seeds'})"
    if not (low > 0 or high < 0):
        return "undecided"
    return "reproduced" if (low > 0) == (expected > 0) and expected else "not reproduced"
