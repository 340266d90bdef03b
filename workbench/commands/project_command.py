"""``usad project``."""

import argparse
from collections import Counter

from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

COLUMNS = ["encoder", "layer", "method", "n", "trustworthiness", "seconds"]
SHOWN = [*COLUMNS[:-1], "neighbours_kept", "neighbour_recall", "seconds"]


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
    parser.add_argument(
        "--n-neighbours",
        type=int,
        default=15,
        help="of umap: more show the whole, fewer the detail (default: %(default)s)",
    )
    parser.add_argument(
        "--min-dist",
        type=float,
        default=0.1,
        help="of umap: how near neighbours may lie on the map, 0 to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        default=0,
        help="of umap: equal seeds give equal maps, on one core; `none` uses all cores and gives "
        "another map each time (default: %(default)s)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Computes the maps that are missing or behind."""
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.indexes import project
    from usad_workbench.indexes.layout import UmapSettings

    reports = project(
        Workspace.open(args.workspace),
        args.encoder,
        args.layer,
        method=args.method,
        settings=UmapSettings(
            n_neighbours=args.n_neighbours, min_dist=args.min_dist, seed=args.seed
        ),
        progress=output.progress,
    )
    rows = [
        {name: getattr(r, name) for name in COLUMNS} | r.settings | {"reason": r.reason}
        for r in reports
    ]
    for reason, n in Counter(row["reason"] for row in rows).items():
        if reason:
            output.note(f"{n} of {len(rows)} spaces: {reason}.")
    output.result(rows, table(rows, SHOWN))
    return DONE


def _seed(text: str) -> int | None:
    """A whole number from 0 on, or none."""
    if text == "none":
        return None
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a whole number below 2**32, or none"
        )
    return int(text)
