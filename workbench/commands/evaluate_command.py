"""``usad evaluate``: frozen probes on the workspace's tasks."""

import argparse
from typing import Literal

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import add_workspace, names_of
from usad_workbench.workbench.output import DONE, Output, table

COLUMNS = [
    "encoder", "task", "protocol", "layer", "metric", "value", "ci_low", "ci_high", "chance",
    "n_test", "difference", "difference_ci_low", "difference_ci_high", "n_params", "flops_per_s",
    "rtf",
]  # fmt: skip
PROTOCOLS: tuple[Literal["knn"], Literal["linear"]] = ("knn", "linear")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)
    parser.add_argument(
        "--encoders", metavar="A,B",
        help="default: all, and of the teachers: teachers-concatenated, teachers-pca-mixture, "
        "oracle-domain-router, learned-domain-router",
    )  # fmt: skip
    parser.add_argument("--tasks", metavar="A,B", help="default: all")
    parser.add_argument("--protocol", default="knn,linear", help="knn, linear or both")
    parser.add_argument("--against", metavar="E", help="also the difference to this encoder")
    parser.add_argument("--seeds", type=int, default=3, help="splits into folds")
    parser.add_argument(
        "--no-cost", action="store_true", help="leave out operations and real-time factor"
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Evaluates encoders and systems; the layer is chosen on training folds alone."""
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.core.task_evaluation import EvaluationConfig, evaluate_tasks

    protocols = names_of(args.protocol)
    chosen = tuple(name for name in PROTOCOLS if name in protocols)
    if set(chosen) != set(protocols) or not chosen:
        raise ConfigError(
            f"Found the protocols {protocols}, expected {' and/or '.join(PROTOCOLS)}."
        )
    rows = evaluate_tasks(
        Workspace.open(args.workspace),
        names_of(args.encoders) if args.encoders else None,
        tasks=names_of(args.tasks) if args.tasks else None,
        config=EvaluationConfig(
            protocols=chosen,
            seeds=tuple(range(args.seeds)),
            against=args.against,
            measures_cost=not args.no_cost,
        ),
        progress=output.progress,
    ).to_dict("records")
    output.result(rows, table(rows, COLUMNS))
    return DONE
