"""Puts what ``usad evaluate`` reads from the sample data into ``docs/results``, for ``make tables``.

Two evaluations of the demo's workspace, each with its intervals of differences, written with ``--json``::

    usad evaluate --workspace demo-workspace --encoders ... --against untrained-student --json > one.json
    usad evaluate --workspace demo-workspace --encoders ... --against teachers-concatenated --json > two.json
    python -m tests.docs.evaluated one.json two.json

The systems are those of the files already there, in their order; rows of earlier sample data stay.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.docs.tables import BEFORE, RESULTS, STUDENT, read_results
from usad_workbench.core.clips import TEACHER_DOMAINS
from usad_workbench.core.evaluation.tasks import MEAN_OF_TASKS, MEAN_WITH_INTERVAL
from usad_workbench.sample_data import sample_data_folder

PROTOCOLS = ("knn", "linear")
Score = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", nargs=2, type=Path, metavar="JSON")
    paths = parser.parse_args(arguments).documents
    write([json.loads(path.read_text(encoding="utf-8")) for path in paths], RESULTS)
    return 0


def write(documents: Sequence[Sequence[Score]], folder: Path) -> None:
    """Replaces the numbers of today's sample data in three files of a folder."""
    systems = list(dict.fromkeys(row["system"] for row in read_results("tasks")))
    first = {(row["encoder"], row["task"], row["protocol"]): row for row in documents[0]}
    tasks = [
        row
        for row in documents[0]
        if row["encoder"] == systems[0]
        and row["protocol"] == "linear"
        and row["task"] not in (MEAN_OF_TASKS, MEAN_WITH_INTERVAL)
    ]
    with (sample_data_folder() / "manifest.csv").open(encoding="utf-8", newline="") as file:
        n_clips = sum(1 for _ in csv.DictReader(file))
    earlier = [row for row in read_results("means") if row["sample_data"] == BEFORE]
    today = [
        row
        for system in systems
        for row in _means(documents, system, f"{n_clips} clips", len(tasks))
    ]
    _write(folder / "means.csv", [*today, *earlier])
    _write(
        folder / "tasks.csv",
        [
            {
                "task": task["task"].replace("_", " "),
                "n_clips": str(task["n_test"]),
                "chance": f"{task['chance']:.2f}",
                "system": system,
                "protocol": "linear",
                "value": f"{first[system, task['task'], 'linear']['value']:.2f}",
            }
            for task in sorted(tasks, key=lambda task: str(task["task"]))
            for system in systems
        ],
    )
    _write(folder / "domains.csv", list(_domains(first, systems)))


def _means(
    documents: Sequence[Sequence[Score]], system: str, sample_data: str, n_tasks: int
) -> Iterator[dict[str, str]]:
    """The rows of one system: both means by protocol, and the differences of the linear probe."""
    rows = [row for row in documents[0] if row["encoder"] == system]
    n_judged = sum(row["protocol"] == "linear" and row["ci_low"] is not None for row in rows) - 1
    for name, n in ((MEAN_OF_TASKS, n_tasks), (MEAN_WITH_INTERVAL, n_judged)):
        about = {
            "sample_data": sample_data,
            "system": system,
            "seeds": "0" if system == STUDENT else "",
            "n_params_millions": "",
            "tasks": str(n),
        }
        for protocol in PROTOCOLS:
            (mean,) = [r for r in rows if (r["task"], r["protocol"]) == (name, protocol)]
            if mean["n_params"]:
                about["n_params_millions"] = f"{mean['n_params'] / 1e6:.1f}"
            yield about | {"quantity": "value", "protocol": protocol} | _numbers(mean, "")
        if name == MEAN_WITH_INTERVAL:
            for document in documents:
                (mean,) = [
                    row
                    for row in document
                    if (row["encoder"], row["task"], row["protocol"]) == (system, name, "linear")
                ]
                if mean["difference"] is not None and mean["against"] != system:
                    quantity = f"minus {mean['against']}"
                    numbers = _numbers(mean, "difference_")
                    yield about | {"quantity": quantity, "protocol": "linear"} | numbers


def _numbers(score: Score, of: str) -> dict[str, str]:
    value = score[of.removesuffix("_") or "value"]
    limits = {name: score[f"{of}{name}"] for name in ("ci_low", "ci_high")}
    shown = {name: "" if limit is None else f"{limit:.3f}" for name, limit in limits.items()}
    return {"value": f"{value:.3f}", **shown, "seed_low": "", "seed_high": ""}


def _domains(
    scores: dict[tuple[str, str, str], Score], systems: Sequence[str]
) -> Iterator[dict[str, str]]:
    domains: dict[str, list[str]] = {}
    with (sample_data_folder() / "tasks.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["domain"] in TEACHER_DOMAINS:
                domains.setdefault(row["domain"], []).append(row["task"])
    for protocol in PROTOCOLS:
        for domain, tasks in domains.items():
            for system in systems:
                values = [scores[system, task, protocol]["value"] for task in tasks]
                yield {
                    "domain": domain,
                    "protocol": protocol,
                    "system": system,
                    "value": f"{sum(values) / len(values):.3f}",
                }


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
