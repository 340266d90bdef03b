"""``usad evaluate``: probes on the workspace's tasks, and published benchmarks."""

import argparse
from dataclasses import asdict

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import add_trust, add_workspace, names_of
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output, table

COLUMNS = [
    "encoder",
    "task",
    "protocol",
    "layer",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "chance",
    "n_test",
    "difference",
    "difference_ci_low",
    "difference_ci_high",
    "n_params",
    "flops_per_s",
    "rtf",
]
BENCHMARK_COLUMNS = [
    "encoder",
    "task",
    "mode",
    "protocol",
    "layer",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n_test",
    "nearest_published",
    "reason",
]
FINE_TUNE = "fine-tune"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)
    parser.add_argument(
        "--encoders",
        metavar="A,B",
        help="default: all, of students of one recipe the first, and of the teachers: teachers-concatenated, teachers-pca-mixture, "
        "oracle-domain-router, learned-domain-router",
    )
    parser.add_argument("--tasks", metavar="A,B", help="default: all")
    parser.add_argument(
        "--protocol",
        metavar="P,Q",
        help="knn, linear (default: both), hear, marble, or these two with -frames; "
        f"of benchmarks also {FINE_TUNE}, and linear is the default",
    )
    parser.add_argument("--benchmark", metavar="NAME", help="esc50, as20k, hear or marble")
    parser.add_argument("--data", metavar="DIR", help="the benchmark's data, as published")
    parser.add_argument(
        "--steps", type=int, default=4000, help=f"of {FINE_TUNE} (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    parser.add_argument("--against", metavar="E", help="also the difference to this encoder")
    parser.add_argument(
        "--seeds", type=int, help="splits into folds (default: 3, with hear or marble 1)"
    )
    parser.add_argument(
        "--no-cost", action="store_true", help="leave out operations and real-time factor"
    )
    add_trust(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Evaluates encoders and systems; all choices are made on training folds alone."""
    if args.benchmark or args.data:
        return _run_benchmark(args, output)
    from usad_workbench.core.evaluation.evaluate import evaluate
    from usad_workbench.core.evaluation.systems import left_out
    from usad_workbench.core.storage.workspace import Workspace

    workspace = Workspace.open(args.workspace)
    others = [] if args.encoders else left_out(workspace)
    if others:
        output.note(
            f"left out: {len(others)} students of the recipe of one that is evaluated, such as "
            f"{others[0]}; name them with --encoders"
        )
    scores = evaluate(
        workspace,
        encoders=names_of(args.encoders) if args.encoders else None,
        tasks=names_of(args.tasks) if args.tasks else None,
        protocols=names_of(args.protocol or "knn,linear"),
        against=args.against,
        seeds=args.seeds,
        cost=not args.no_cost,
        progress=output.progress,
    )
    rows = [asdict(score) for score in scores]
    untested = {row["task"]: row["reason"] for row in rows if row["n_test"] == 0}
    for task, reason in untested.items():
        output.note(f"task {task}: {reason}")
    output.result(rows, table(rows, COLUMNS))
    return SOME_FAILED if untested else DONE


def _run_benchmark(args: argparse.Namespace, output: Output) -> int:
    if not (args.benchmark and args.data and args.encoders):
        raise ConfigError(
            "A benchmark needs --benchmark NAME, --data DIR and --encoders A,B, found not all of "
            "them. Name the encoders, as `usad encoders list` does, or run:DIR."
        )
    from usad_workbench.training.benchmark import BenchmarkRequest, run_benchmark

    request = BenchmarkRequest(
        workspace=args.workspace,
        name=args.benchmark,
        data=args.data,
        encoders=tuple(names_of(args.encoders)),
        protocols=tuple(names_of(args.protocol or "linear")),
        tasks=tuple(names_of(args.tasks or "")),
        n_steps=args.steps,
        device=args.device,
    )
    scores, failed = run_benchmark(request, output.progress)
    rows = [asdict(score) for score in scores]
    output.failures(failed)
    output.result(rows, table(rows, BENCHMARK_COLUMNS))
    return SOME_FAILED if failed else DONE
