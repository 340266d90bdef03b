"""``usad search``."""

import argparse

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import add_trust, add_workspace
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

COLUMNS = ["rank", "score", "clip_id", "start_s", "end_s", "path"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--query", metavar="FILE", help="a sound file")
    query.add_argument("--clip", metavar="ID", help="a clip of the workspace")
    parser.add_argument(
        "--start",
        type=float,
        metavar="S",
        help="seconds into the file or clip; without --start and --end its beginning is looked "
        "for, as long as the window of the workspace",
    )
    parser.add_argument(
        "--end",
        type=float,
        metavar="S",
        help="seconds; exactly the part from --start to --end is looked for",
    )
    parser.add_argument(
        "--encoder", required=True, metavar="E", help="whose space is searched; embedded before"
    )
    parser.add_argument("--layer", type=int, required=True, help="negative counts from the end")
    add_trust(parser)
    parser.add_argument(
        "-k", type=int, default=10, metavar="K", help="how many hits (default: %(default)s)"
    )
    parser.add_argument("--where", metavar="SQL", help="condition on the columns of clips")


def run(args: argparse.Namespace, output: Output) -> int:
    """Finds the nearest segments by cosine."""
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.indexes.spaces import describe_hits, search
    from usad_workbench.workbench.query_vectors import Part, vector_of_clip, vector_of_file

    if args.k < 1:
        raise ConfigError(f"Found -k {args.k}, expected 1 or more. Ask for at least one hit.")
    workspace = Workspace.open(args.workspace)
    part = Part(start_s=args.start, end_s=args.end)
    vector = (
        vector_of_file(workspace, args.query, part, args.encoder, args.layer, output.note)
        if args.clip is None
        else vector_of_clip(workspace, args.clip, part, args.encoder, args.layer, output.note)
    )
    hits = search(workspace, vector, args.encoder, args.layer, k=args.k, where=args.where)
    rows = describe_hits(workspace, hits).to_dict("records")
    output.result({"hits": rows}, table(rows, COLUMNS))
    return DONE
