"""The ablation as a page of Markdown: what was found beside what is published."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from usad_workbench.training.ablation.table import OVERALL, SCOPES, Finding
from usad_workbench.workbench.presenters.numbers import signed

PRIMARY = "linear"
"""The protocol of the verdicts; the published rows are trained probes too."""
_NONE = "–"


def ablation_page(
    findings: Sequence[Finding], values: Iterable[Mapping[str, Any]], about: str
) -> str:
    """All of it: what this is, each comparison with its verdict, and how often which.

    Args:
        findings: Of ``ablation_table.compare``.
        values: Of ``ablation_table.mean_values``.
        about: What was trained, on how much, in a sentence or two.
    """
    judged = [f for f in findings if f.protocol == PRIMARY]
    blocks = [
        "# The ablation, in small",
        about,
        _HOW,
        "## Verdicts",
        _count(judged),
        verdict_table([f for f in judged if f.expected is not None]),
        "## All differences",
        "Row minus reference, 95% interval over seeds and clusters.",
        difference_table(findings),
        "## Values",
        "Mean over the tasks of the domain and over the seeds; rows of fewer seeds do not compare.",
        value_table(values),
    ]
    return "\n\n".join(blocks) + "\n"


_HOW = (
    "Every run differs from `full` in one thing. Probes read the last layer, mean-pooled, on "
    "groups of clips that were held out; tasks with fewer than 8 clusters (voice, track) are "
    "in `results.csv` but not in these means. A difference is paired by seed and by clip. Its "
    "interval adds the variance over seeds to that over clusters, with the degrees of freedom "
    "of Welch and Satterthwaite. Verdicts are for the linear probe: *reproduced* where the "
    "interval lies on the published side of 0, *not reproduced* where it lies on the other "
    "(or off 0, where none is published), *undecided* where it holds 0. With so many "
    "intervals of 95% one in twenty misses by chance."
)


def verdict_table(findings: Sequence[Finding]) -> str:
    """One line per comparison and domain of which a direction is published."""
    lines = [
        "| row | against | domain | published direction | here | seeds | verdict | published |",
        "|---|---|---|---|---|---|---|---|",
    ]
    sign = {1: "better", -1: "worse", 0: "no change"}
    lines += [
        f"| {f.row} | {f.reference} | {f.domain} | {sign[f.expected or 0]} | {_difference(f)} "
        f"| {f.n_seeds} | {f.verdict} | {f.published} |"
        for f in findings
    ]
    return "\n".join(lines)


def difference_table(findings: Sequence[Finding]) -> str:
    """One line per comparison and protocol, a column per domain."""
    lines = [
        f"| row | against | probe | {' | '.join(SCOPES)} | seeds |",
        f"|---|---|---|{'---|' * len(SCOPES)}---|",
    ]
    rows: dict[tuple[str, str, str], dict[str, Finding]] = {}
    for f in findings:
        rows.setdefault((f.row, f.reference, f.protocol), {})[f.domain] = f
    for (row, reference, protocol), of in rows.items():
        cells = [_difference(of[scope]) if scope in of else _NONE for scope in SCOPES]
        seeds = max(f.n_seeds for f in of.values())
        lines.append(f"| {row} | {reference} | {protocol} | {' | '.join(cells)} | {seeds} |")
    return "\n".join(lines)


def value_table(values: Iterable[Mapping[str, Any]]) -> str:
    """One line per row and protocol, its mean value in each domain; the best overall first."""
    lines = [
        f"| row | probe | {' | '.join(SCOPES)} | seeds |",
        f"|---|---|{'---|' * len(SCOPES)}---|",
    ]
    for of in sorted(values, key=lambda of: (of["protocol"], -of.get(OVERALL, 0.0))):
        cells = [f"{of[scope]:.3f}" if scope in of else _NONE for scope in SCOPES]
        lines.append(f"| {of['row']} | {of['protocol']} | {' | '.join(cells)} | {of['n_seeds']} |")
    return "\n".join(lines)


def _count(findings: Sequence[Finding]) -> str:
    judged = [f.verdict for f in findings if f.expected is not None]
    names = dict.fromkeys(["reproduced", "not reproduced", "undecided", *judged])
    counts = ", ".join(f"{judged.count(name)} {name}" for name in names)
    return f"Of {len(judged)} published directions: {counts}."


def _difference(f: Finding) -> str:
    if f.ci_low != f.ci_low:
        return f"{signed(f.difference)} (no interval)"
    return f"{signed(f.difference)} [{signed(f.ci_low)}, {signed(f.ci_high)}]"
