"""A million segments in two spaces, through the commands: time, memory and right answers.

``python -m tests.million_segments [--size N] [--folder DIR]`` makes the vectors, runs each
command as a process of its own, checks what it answers against NumPy over all vectors, and
writes ``docs/results/million.csv``; ``make tables`` puts it on the page. Steps that are done
stand in ``DIR/steps.json``: the same command goes on where it was ended.
"""

import argparse
import csv
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import UsadError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.spaces import search
from usad_workbench.workbench.speed.measure import machine
from usad_workbench.workbench.speed.planted import (
    DIM,
    Planted,
    plant,
    write_manifest,
    write_vectors,
)
from usad_workbench.workbench.speed.processes import run_usad

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "million.csv"
ENCODERS = ("made-a", "made-b")
K = 10
QUERIES = 50
CONDITIONS = {
    "no filter": None,
    "55 %": "domain = 'speech'",
    "14 %": "domain = 'music'",
    "1 %": "place::INTEGER < 10",
    "0.1 %": "place::INTEGER < 1",
    "one cluster": "label = 'k00001'",
}
"""Filters whose rows lie together, as those of a domain do."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command: a row of the results."""

    step: str
    command: str
    wall_s: float
    processor_s: float
    peak_mb: float
    answer: str
    """What it said, and whether that is right."""


@dataclass(kw_only=True)
class MillionRun:
    """The run in a folder, with the steps that are done."""

    size: int
    folder: Path
    steps: list[Step] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Steps that ended with an error."""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._noted.exists():
            self.steps = [Step(**row) for row in json.loads(self._noted.read_text())]

    @property
    def _noted(self) -> Path:
        return self.folder / "steps.json"

    @property
    def workspace(self) -> Path:
        """The folder of the workspace."""
        return self.folder / "workspace"

    def planted(self, encoder: str) -> Planted:
        """What is known of the clips and of the vectors of one encoder."""
        return plant(self.size, DIM, seed=1 + ENCODERS.index(encoder))

    def step(
        self, name: str, *arguments: str, judge: Callable[[Any], str] = lambda document: ""
    ) -> None:
        """Runs ``usad ARGUMENTS --workspace W`` and notes it, unless that is done."""
        if name in {step.step for step in self.steps}:
            say(f"{name}: done before")
            return
        say(f"{name}: usad {' '.join(arguments)}")
        try:
            done = run_usad(
                *arguments,
                "--workspace",
                str(self.workspace),
                log=self.folder / "usad.log",
                allowed=(0, 1),
                beat=lambda passed_s: say(f"{name}: {passed_s:.0f} s"),
            )
        except UsadError as error:
            say(f"{name}: FAILED: {error}")
            self.failed.append(name)
            return
        self.note(
            Step(
                step=name,
                command=_shown(arguments),
                wall_s=round(done.wall_s, 1),
                processor_s=round(done.processor_s, 1),
                peak_mb=round(done.peak_bytes / 1e6),
                answer=judge(done.document),
            )
        )

    def note(self, step: Step) -> None:
        """Keeps a step that is done."""
        self.steps.append(step)
        self._noted.write_text(json.dumps([asdict(step) for step in self.steps], indent=1))
        say(f"{step.step}: {step.wall_s} s, {step.peak_mb} MB, {step.answer}")

    def run(self) -> None:
        """All steps, in the order of a user's work."""
        self.make_files()
        manifest = str(self.folder / "clips.parquet")
        for encoder in ENCODERS:
            source = str(self.folder / f"{encoder}.parquet")
            clips = ("--clips", manifest) if encoder == ENCODERS[0] else ()
            self.step(
                f"import {encoder}",
                *("import-embeddings", source, "--role", "teacher", *clips),
                judge=lambda d: f"{d['n_rows']:,} vectors, {d['n_clips_added']:,} clips",
            )
        self.step(
            "import again",
            *("import-embeddings", str(self.folder / f"{ENCODERS[1]}.parquet")),
            *("--role", "teacher"),
            judge=lambda d: f"{d['n_skipped']:,} were there, {d['n_rows']:,} added",
        )
        self.step("index", "index", judge=_indexes)
        self.step("index test", "index", "test", judge=_indexes)
        self.searches()
        self.examples()
        self.open_searches()
        for encoder in ENCODERS:
            self.step(f"project {encoder}", "project", "--encoder", encoder, judge=self.judge_map)
        self.step(
            "duplicates",
            *("duplicates", "--encoder", ENCODERS[0], "--layer", "0"),
            judge=self.judge_duplicates,
        )
        self.step("check", "check", judge=lambda d: "; ".join(d["problems"]) or "no problems")

    def make_files(self) -> None:
        """The manifest and one Parquet file an encoder."""
        for encoder in ENCODERS:
            if not (self.folder / f"{encoder}.parquet").exists():
                say(f"writing {encoder}.parquet")
                part = self.folder / "part"
                write_vectors(self.planted(encoder), part, encoder)
                part.rename(self.folder / f"{encoder}.parquet")
        if not (self.folder / "clips.parquet").exists():
            write_manifest(self.planted(ENCODERS[0]), self.folder / "clips.parquet")

    def searches(self) -> None:
        """One command for each filter, its hits compared with all rows that pass."""
        exact = _Exact(self.planted(ENCODERS[0]), Path(self.folder))
        row = 4321 % self.size
        for name, where in CONDITIONS.items():
            truth = exact.nearest(row, where)

            def judge(document: Any, truth: list[str] = truth) -> str:
                found = [hit["clip_id"] for hit in document["hits"]]
                return f"{len(set(found) & set(truth))} of {len(truth)} nearest"

            condition = () if where is None else ("--where", where)
            self.step(
                f"search, {name}",
                *("search", "--clip", f"c{row:07}", "--encoder", ENCODERS[0], "--layer", "0"),
                *condition,
                judge=judge,
            )

    def examples(self) -> None:
        """Two examples for and one against; one query in every space."""
        cluster = self.planted(ENCODERS[0]).cluster
        wanted, other = (np.flatnonzero(cluster == cluster[i]) for i in (10, 11))
        space = ("--encoder", ENCODERS[0], "--layer", "0")

        def judge(document: Any) -> str:
            found = [cluster[int(hit["clip_id"][1:])] for hit in document["hits"]]
            return f"{sum(found == cluster[10])} of {len(found)} of the cluster of the examples"

        def judge_everywhere(document: Any) -> str:
            (agreement,) = document["agreement"]
            shown = {name: round(v, 3) for name, v in agreement.items() if isinstance(v, float)}
            return ", ".join(f"{name} {value}" for name, value in shown.items())

        self.step(
            "search, two examples, one against",
            *("search", "--clip", f"c{wanted[0]:07}", "--clip", f"c{wanted[1]:07}"),
            *("--unlike", f"c{other[0]:07}", *space),
            judge=judge,
        )
        self.step(
            "search, every space",
            *("search", "--clip", f"c{wanted[0]:07}", "--everywhere"),
            judge=judge_everywhere,
        )

    def open_searches(self) -> None:
        """Queries in one process, the workspace open: milliseconds and recall of each filter."""
        if not self.workspace.exists() or "open search, 0.1 %" in {s.step for s in self.steps}:
            return
        exact = _Exact(self.planted(ENCODERS[0]), self.folder)
        workspace = Workspace.open(self.workspace)
        rows = np.random.default_rng(5).choice(self.size, QUERIES, replace=False)
        for name, where in CONDITIONS.items():
            found = []
            search(workspace, exact.vectors[0], ENCODERS[0], 0, k=K, where=where)
            wall, processor = time.perf_counter(), time.process_time()
            for row in rows:
                hits = search(workspace, exact.vectors[row], ENCODERS[0], 0, k=K, where=where)
                found.append({f"c{i:07}" for i in hits.segment_ids.tolist()})
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            truth = [exact.nearest(row, where) for row in rows]
            n_hits = sum(len(f & set(t)) for f, t in zip(found, truth, strict=True))
            self.note(
                Step(
                    step=f"open search, {name}",
                    command=f"{QUERIES} × search(workspace, …)",
                    wall_s=round(wall, 3),
                    processor_s=round(processor, 3),
                    peak_mb=0,
                    answer=f"recall {n_hits / sum(map(len, truth)):.4f}, "
                    f"{1000 * wall / QUERIES:.1f} ms a query",
                )
            )

    def judge_map(self, document: Any) -> str:
        """Its own faithfulness, and how often a neighbour on the map is of the same cluster."""
        (row,) = document
        points = Workspace.open(self.workspace).read(
            "SELECT x, y FROM projections WHERE encoder = ? ORDER BY segment_id", [row["encoder"]]
        )
        cluster = self.planted(row["encoder"]).cluster
        xy = points.to_numpy(np.float32)
        rows = np.random.default_rng(0).choice(self.size, 200, replace=False)
        same = []
        for i in rows:
            distances = ((xy - xy[i]) ** 2).sum(axis=1)
            near = np.argpartition(distances, 5)[:6]
            same.append((cluster[near[near != i]] == cluster[i]).mean())
        score = row["trustworthiness"]
        return (
            f"{row['method']}, {row['n']:,} points, trustworthiness {score:.3f}, "
            f"{np.mean(same):.0%} of map neighbours of the same cluster"
        )

    def judge_duplicates(self, document: Any) -> str:
        """How many of the planted near duplicates are listed."""
        rows_of: dict[str, set[int]] = {}
        for number, row in enumerate(document):
            for clip_id in row["clip_ids"]:
                rows_of.setdefault(clip_id, set()).add(number)
        nothing: set[int] = set()
        copies = self.planted(ENCODERS[0]).copies.tolist()
        n_found = sum(
            bool(rows_of.get(f"c{i - 1:07}", nothing) & rows_of.get(f"c{i:07}", nothing))
            for i in copies
        )
        return f"{n_found:,} of {len(copies):,} planted pairs in {len(document):,} rows"


class _Exact:
    """The vectors of an encoder in memory, and the definition of nearest."""

    def __init__(self, planted: Planted, folder: Path) -> None:
        self._file = folder / "exact.npy"
        if not self._file.exists():
            np.save(self._file, normalise(planted.vectors()))
        self.vectors = np.load(self._file, mmap_mode="r")
        place = planted.cluster * 1000 // planted.n_clusters
        self._passes = {
            None: np.ones(planted.n, bool),
            CONDITIONS["55 %"]: planted.domain == "speech",
            CONDITIONS["14 %"]: planted.domain == "music",
            CONDITIONS["1 %"]: place < 10,
            CONDITIONS["0.1 %"]: place < 1,
            CONDITIONS["one cluster"]: planted.cluster == 1,
        }

    def nearest(self, row: int, where: str | None) -> list[str]:
        """The clips nearest to a clip among those that pass, itself included."""
        rows = np.flatnonzero(self._passes[where])
        scores = (
            self.vectors[rows] @ self.vectors[row] if where else self.vectors @ self.vectors[row]
        )
        best = np.argpartition(-scores, min(K, len(rows)) - 1)[:K]
        return [f"c{row:07}" for row in rows[best]]


def _indexes(document: Any) -> str:
    return "; ".join(
        f"{row['encoder']} {row['kind']}, recall {row['recall_at_10']:.3f}, "
        f"{row['ms_per_query']:.2f} ms, {row['bytes'] / 1e6:.0f} MB"
        for row in document
    )


def _shown(arguments: tuple[str, ...]) -> str:
    return "usad " + " ".join(Path(a).name if a.endswith(".parquet") else a for a in arguments)


def say(text: str) -> None:
    """A line for who waits."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


def write_results(run: MillionRun, path: Path = RESULTS) -> None:
    """The table of the page, with the machine and the date."""
    common = {"segments": run.size, "machine": machine(), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    rows = [asdict(step) | common for step in run.steps]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("million"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--remove", action="store_true", help="the folder, once all is written")
    args = parser.parse_args()
    run = MillionRun(size=args.size, folder=args.folder)
    run.run()
    write_results(run, args.results)
    say(f"written: {args.results}; `make tables` puts it on the page")
    if args.remove:
        shutil.rmtree(args.folder)
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
