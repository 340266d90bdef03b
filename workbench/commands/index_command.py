"""``usad index`` and ``usad index test``."""

import argparse

from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.output import DONE, Output, table

COLUMNS = ["encoder", "layer", "pooling", "kind", "n", "recall_at_10", "ms_per_query", "bytes"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "action", nargs="?", choices=["build", "test"], default="build",
        help="test: recall and time against exact search",
    )  # fmt: skip
    add_workspace(parser)
    parser.add_argument(
        "--kind", choices=["auto", "flat", "ivf", "ivfpq", "hnsw"], default="auto",
        help="auto: exact up to 50,000 vectors, HNSW above",
    )  # fmt: skip


def run(args: argparse.Namespace, output: Output) -> int:
    """Brings every space's index up to date; ``test`` measures each."""
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.indexes.evaluation import evaluate_index
    from usad_workbench.indexes.spaces import update_index

    workspace = Workspace.open(args.workspace)
    spaces = workspace.spaces()
    rows = []
    for done, space in enumerate(spaces.itertuples(), start=1):
        key = (str(space.encoder), int(space.layer), str(space.pooling))
        if args.action == "build":
            update_index(workspace, *key, kind=args.kind)
        evaluation = evaluate_index(workspace, *key)
        if evaluation is not None:
            rows.append({name: getattr(evaluation, name) for name in COLUMNS})
        output.progress(done, len(spaces), f"index {args.action}")
    output.result(rows, table(rows, COLUMNS))
    return DONE
