"""What the panel inheritance says of planted worlds, fifty of each kind, as a table.

    python -m tests.core.diagnosis.simulate_inheritance [--seeds 50] [--kinds A;B]

Worlds and what must be said of them: ``tests/inheritance_worlds.py``. One line a world goes to
``inheritance_worlds.jsonl`` as soon as it is done; the same command goes on where it was stopped,
and writes ``INHERITANCE_WORLDS.md`` from all lines at the end. One process, one thread.
"""

import argparse
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.stats import beta

from tests.inheritance_worlds import COPIED_PAIR, KINDS, Kind, data_of, designs_of, make_world
from usad_workbench.core.diagnosis.panels import inheritance
from usad_workbench.core.diagnosis.verdict_on_inheritance import inherited
from usad_workbench.core.progress import no_progress

HERE = Path(__file__).parent
LINES, TABLE = HERE / "inheritance_worlds.jsonl", HERE / "INHERITANCE_WORLDS.md"
HEAD = """# Inheritance in planted worlds

Made by `python -m tests.core.diagnosis.simulate_inheritance`; worlds and what must be said of
them: `tests/inheritance_worlds.py`. Speech alone, 200 clips in 40 clusters; two teachers, t at home
there and u not, so two pairs of teacher and domain, of which one has what was copied. Shipped rules.

- *falsely inherited*: worlds in which any pair is "yes" where nothing was copied.
- *found*, *through*, *no*, *undecided*, *not testable*: the answer for the pair that was asked for,
  t in speech.
- *nothing, "no"*: of the pairs without a copy, those that are "no".

"""


def answers_of(rows, rules) -> dict[str, str]:  # type: ignore[no-untyped-def]
    """The answer for each pair, such as ``{"t in speech": "yes"}``."""
    evidence = inherited(rows, rules).evidence
    return {
        f"{teacher} in {domain}": answer.split(":")[0]
        for teacher, of in evidence.items()
        if not isinstance(of, str)
        for domain, answer in of.items()
    }


def simulate(seeds: int, kinds: list[str], lines: Path = LINES) -> None:
    """Adds the worlds that are missing, seed by seed."""
    done = {(one["kind"], one["seed"]) for one in read(lines)}
    with lines.open("a", encoding="utf-8") as file:
        for seed in range(seeds):
            for name in kinds:
                if (name, seed) in done:
                    continue
                world = make_world(KINDS[name], seed)
                data = data_of(world, ("speech",))
                panel = inheritance.panel_of(data, designs_of(data, world), no_progress)
                answers = answers_of(panel.rows, data.config.rules)
                cells = [
                    [
                        row.measure,
                        *(round(x, 4) for x in (row.excess, row.ci_low, row.ci_high, row.level)),
                    ]
                    for row in panel.rows
                    if row.pair == COPIED_PAIR
                ]
                line = {"kind": name, "seed": seed, "answers": answers, "cells": cells}
                file.write(json.dumps(line) + "\n")
                file.flush()


def read(lines: Path) -> list[dict]:  # type: ignore[type-arg]
    """The worlds that are done."""
    if not lines.exists():
        return []
    return [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]


def upper(n: int, of: int) -> float:
    """Upper 95% limit of a share (Clopper and Pearson, one-sided)."""
    return 1.0 if n == of else float(beta.ppf(0.95, n + 1, of - n))


def is_falsely_found(kind: Kind, answers: dict[str, str]) -> bool:
    """Whether a pair without a copy is called inherited."""
    copied = " in ".join(COPIED_PAIR) if kind.copied else ""
    return any(answer == "yes" for pair, answer in answers.items() if pair != copied)


def table(lines: Path = LINES) -> str:
    """The table of all worlds that are done."""
    worlds = read(lines)
    asked = " in ".join(COPIED_PAIR)
    rows = [
        '| world | worlds | falsely inherited | found | through | undecided | no | not testable | nothing, "no" |',
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    n_null = n_false = n_small = n_no = n_half = n_found = 0
    for name, kind in KINDS.items():
        mine = [one["answers"] for one in worlds if one["kind"] == name]
        if not mine:
            continue
        n, false = len(mine), sum(is_falsely_found(kind, one) for one in mine)
        words = Counter(one[asked].split()[0] for one in mine)
        others = [a for one in mine for pair, a in one.items() if pair != asked]
        n_null, n_false = n_null + n * (not kind.copied), n_false + false * (not kind.copied)
        if kind.copied:
            n_small, n_no = n_small + n, n_no + words["no"]
        if kind.copied == 0.5 and (kind.n_peers == 8 or kind.n_peers == 0):
            n_half, n_found = n_half + n, n_found + words["yes"]
        cells = [words[w] for w in ("yes", "through", "undecided", "no", "not")]
        shown = " | ".join(map(str, cells))
        share = others.count("no") / max(1, len(others))
        rows.append(f"| {name} | {n} | {false} | {shown} | {share:.0%} |")
    return (
        HEAD
        + "\n".join(rows)
        + "\n\n"
        + f"Nothing copied: {n_false} of {n_null} students with anything falsely inherited "
        f"({n_false / max(1, n_null):.1%}; at most {upper(n_false, n_null):.1%}, one-sided 95%).\n"
        f'A fifth or more copied: {n_no} of {n_small} pairs falsely "no" '
        f"({n_no / max(1, n_small):.1%}; at most {upper(n_no, n_small):.1%}).\n"
        f"Half copied, 8 peers or 8 controls: {n_found} of {n_half} found "
        f"({n_found / max(1, n_half):.1%}). With 0 of 50 in one row a rate of up to "
        f"{upper(0, 50):.1%} is possible.\n\n" + coverage(worlds)
    )


def coverage(worlds: list[dict]) -> str:  # type: ignore[type-arg]
    """How often intervals of t in speech hold the mean excess of their kind, by reading."""
    values: dict[tuple[str, str], list[list[float]]] = {}
    for one in worlds:
        for reading, *numbers in one["cells"]:
            values.setdefault((one["kind"], reading), []).append(numbers)
    held: dict[tuple[str, bool], list[bool]] = {}
    for (name, reading), rows in values.items():
        table = np.array(rows, dtype=np.float64)
        if np.isnan(table[:, 1]).any():
            continue  # not testable
        is_nothing = not KINDS[name].copied and not KINDS[name].looks
        truth = 0.0 if is_nothing else table[:, 0].mean()
        inside = (table[:, 1] <= truth) & (truth <= table[:, 2])
        held.setdefault((reading, bool(KINDS[name].copied)), []).extend(inside.tolist())
    words = [
        f"{reading.replace('_', ' ')}{', copied' if copied else ', nothing copied'} "
        f"{np.mean(one):.1%} of {len(one)}"
        for (reading, copied), one in sorted(held.items())
    ]
    return "The 95% interval holds the mean excess of its kind: " + "; ".join(words) + ".\n"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--kinds", default=";".join(KINDS))
    given = parser.parse_args()
    simulate(given.seeds, given.kinds.split(";"))
    TABLE.write_text(table(), encoding="utf-8")
