"""``usad project``."""

import argparse
from collections import Counter

from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

COLUMNS = ["encoder", "layer", "method", "n", "trustworthiness", "seconds"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)
    parser.add_argument("--encoder", help="only this encoder")
    parser.add_argument("--layer", type=int, help="only this layer")
    parser.add_argument(
        "--method",
        choices=["umap", "pca"],
        default="umap",
        help="umap keeps neighbours, pca what varies most; fewer than 20 vectors get pca (default: "
        "%(default)s)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Computes the maps that are missing or behind."""
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.indexes import project

    reports = project(
        Workspace.open(args.workspace),
        args.encoder,
        args.layer,
        method=args.method,
        progress=output.progress,
    )
    rows = [{name: getattr(r, name) for name in COLUMNS} | {"reason": r.reason} for r in reports]
    for reason, n in Counter(row["reason"] for row in rows).items():
        if reason:
            output.note(f"{n} of {len(rows)} spaces: {reason}.")
    output.result(rows, table(rows, COLUMNS))
    return DONE
