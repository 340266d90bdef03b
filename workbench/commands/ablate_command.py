"""``usad ablate``: the papers' ablation in small. Beyond the contract's list of commands."""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from usad_workbench.core.files import write_whole, written_at_once
from usad_workbench.core.storage.csv_cells import neutral
from usad_workbench.workbench.commands.arguments import add_overrides, names_of
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

RESULTS_FILE, FINDINGS_FILE, PAGE_FILE = "results.csv", "findings.csv", "TABLE.md"
COLUMNS = ("row", "reference", "domain", "difference", "ci_low", "ci_high", "n_seeds", "verdict")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--run", required=True, metavar="DIR", help="the folder of the grid")
    parser.add_argument("--recipe", default="ablation", help="of stage 1, a file or a name")
    parser.add_argument("--plus", default="ablation-plus", help="the recipe of stage 2")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row")
    parser.add_argument("--only", metavar="A,B", help="rows; default: all")
    add_overrides(parser, "override a key of both recipes, e.g. data.cache=cache")
    parser.add_argument(
        "--table", action="store_true", help="only write the table of what is finished"
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Trains and evaluates what is missing, then writes the table."""
    from usad_workbench.training.ablation.grid import run_ablation
    from usad_workbench.workbench.presenters.ablation import PRIMARY

    only = names_of(args.only) if args.only else []
    if not args.table:
        run_ablation(
            args.run,
            args.recipe,
            args.plus,
            args.overrides,
            seeds=args.seeds,
            only=only,
            progress=output.progress,
        )
    findings = write_table(Path(args.run), args.recipe, args.plus, args.overrides, args.seeds)
    shown = [row for row in findings if row["protocol"] == PRIMARY]
    output.result(findings, table(shown, COLUMNS))
    return DONE


def write_table(
    folder: Path, full: str, plus: str, overrides: Sequence[str], seeds: int
) -> list[dict[str, Any]]:
    """Writes results.csv, findings.csv and TABLE.md into the grid's folder; the findings."""
    from usad_workbench.training.ablation.grid import make_grid
    from usad_workbench.training.ablation.table import (
        compare,
        mean_values,
        read_results,
        result_rows,
    )
    from usad_workbench.training.evaluation import load_evaluation, task_domains
    from usad_workbench.training.recipe import load_recipe
    from usad_workbench.workbench.presenters.ablation import ablation_page

    recipe = load_recipe(full, tuple(overrides))
    rows = make_grid(recipe, load_recipe(plus, tuple(overrides)))
    evaluation = load_evaluation(recipe.evaluation, recipe.student.n_layers)
    domains = task_domains(recipe.evaluation)
    results = read_results(folder, seeds, [row.name for row in rows])
    judged = (results, evaluation.tasks, domains, recipe.evaluation.protocols)
    found = compare(*judged)
    findings = [asdict(one) for one in found]
    _write_csv(folder / RESULTS_FILE, list(result_rows(results, domains)))
    _write_csv(folder / FINDINGS_FILE, findings)
    about = (
        f"A student of {recipe.student.n_layers} layers of width {recipe.student.dim}, "
        f"{recipe.optimiser.n_steps} steps of {recipe.data.batch_s:g} s of audio; "
        f"{len(results)} runs, seeds 0 to {max(s for s, _ in results)}."
        if results
        else "No run is finished."
    )
    write_whole(folder / PAGE_FILE, ablation_page(found, mean_values(*judged), about))
    return findings


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with written_at_once(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows({name: neutral(cell) for name, cell in row.items()} for row in rows)
