"""``usad project``."""

import argparse
from collections import Counter

from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.output import DONE, Output, table

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
    from usad_workbench.indexes.projection import project_space

    workspace = Workspace.open(args.workspace)
    spaces = workspace.spaces()
    if args.encoder:
        workspace.space_id(args.encoder, -1 if args.layer is None else args.layer)
        spaces = spaces[spaces.encoder == args.encoder]
    if args.layer is not None:
        depth = spaces.groupby("encoder").layer.transform("max")
        asked = args.layer if args.layer >= 0 else depth + 1 + args.layer
        spaces = spaces[spaces.layer == asked]
    rows = []
    for done, space in enumerate(spaces.itertuples(), start=1):
        report = project_space(
            workspace, str(space.encoder), int(space.layer), str(space.pooling), args.method
        )
        rows.append({name: getattr(report, name) for name in COLUMNS} | {"reason": report.reason})
        output.progress(done, len(spaces), f"project {args.method}")
    for reason, n in Counter(row["reason"] for row in rows).items():
        if reason:
            output.note(f"{n} of {len(rows)} spaces: {reason}.")
    output.result(rows, table(rows, COLUMNS))
    return DONE
