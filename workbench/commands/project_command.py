"""``usad project``."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

if TYPE_CHECKING:
    from usad_workbench.indexes.projection import ProjectionReport

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
        "--metric",
        choices=["cosine", "euclidean"],
        default="cosine",
        help="of umap: cosine as search does, euclidean also minds the length of vectors "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        default=0,
        help="of umap: equal seeds give equal maps, on one core; `none` uses all cores and gives "
        "another map each time (default: %(default)s)",
    )
    parser.add_argument(
        "--coordinates",
        type=Path,
        metavar="FILE",
        help="a map that you bring, as CSV or Parquet: clip_id or segment_id, x, y; needs "
        "--encoder and --layer",
    )
    parser.add_argument(
        "--name",
        default="given",
        help="of a map that you bring: what it is called (default: %(default)s)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Computes the maps that are missing or behind, or stores one that is given."""
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.indexes import project
    from usad_workbench.indexes.given import give_map
    from usad_workbench.indexes.layout import UmapSettings

    if args.coordinates is not None:
        if args.encoder is None or args.layer is None:
            raise ConfigError(
                "Found --coordinates alone, expected --encoder and --layer too: the space whose "
                "neighbours the map is compared with."
            )
        report = give_map(
            Workspace.open(args.workspace),
            args.coordinates,
            args.encoder,
            args.layer,
            name=args.name,
            progress=output.progress,
        )
        return _show([report], output)

    reports = project(
        Workspace.open(args.workspace),
        args.encoder,
        args.layer,
        method=args.method,
        settings=UmapSettings(
            n_neighbours=args.n_neighbours,
            min_dist=args.min_dist,
            metric=args.metric,
            seed=args.seed,
        ),
        progress=output.progress,
    )
    return _show(reports, output)


def _show(reports: Sequence["ProjectionReport"], output: Output) -> int:
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
