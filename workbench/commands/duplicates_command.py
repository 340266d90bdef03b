"""``usad duplicates``."""

import argparse
from dataclasses import asdict

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

EPILOG = """kinds: file (equal bytes), samples (equal sound in several files, as after a change of tags or
container), near (by embedding: every segment of the shorter clip has a near one in the other),
passage (some have). Groups are connected components: two clips of one may be linked through
others. The score is the cosine of the weakest link."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.epilog = EPILOG
    add_workspace(parser)
    parser.add_argument("--encoder", metavar="E", help="look for near copies by its vectors, too")
    parser.add_argument("--layer", type=int, metavar="L", help="negative counts from the end")
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="C",
        help="the least cosine of two segments that are near (default: 0.995)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Lists clips that are there more than once."""
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.indexes.duplicates import (
        THRESHOLD,
        find_duplicates,
        n_unmeasured,
        n_without_vectors,
    )

    if (args.encoder is None) != (args.layer is None) or (
        args.threshold is not None and args.encoder is None
    ):
        raise ConfigError(
            "Near copies are looked for in one space: expected --encoder and --layer together, "
            "and --threshold only with them."
        )
    workspace = Workspace.open(args.workspace)
    groups = find_duplicates(
        workspace,
        args.encoder,
        -1 if args.layer is None else args.layer,
        threshold=THRESHOLD if args.threshold is None else args.threshold,
        progress=output.progress,
    )
    if n := n_unmeasured(workspace):
        output.note(
            f"{n} clips were imported by a version that did not hash their samples: of them only "
            "equal files are found. Importing their files again fills that in."
        )
    if args.encoder is not None and (n := n_without_vectors(workspace, args.encoder, args.layer)):
        output.note(
            f"{n} clips have no vector of {args.encoder} at layer {args.layer}: near copies of them "
            "are not found. `usad embed` or `usad import-embeddings` adds what is missing."
        )
    rows = [asdict(group) for group in groups]
    lines = [row | {"clip_ids": ", ".join(row["clip_ids"])} for row in rows]
    output.result(rows, table(lines, ["kind", "score", "clip_ids"]) if rows else "no duplicates")
    return DONE
