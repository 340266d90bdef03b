"""``usad search``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.workbench.commands.arguments import add_trust, add_workspace
from usad_workbench.workbench.output import DONE, Output, table

if TYPE_CHECKING:
    from usad_workbench.core.storage.workspace import FloatArray, Workspace

COLUMNS = ["rank", "score", "clip_id", "start_s", "end_s", "path"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--query", metavar="FILE", help="a sound file")
    query.add_argument("--clip", metavar="ID", help="a clip of the workspace")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="seconds")
    parser.add_argument("--end", type=float, metavar="S", help="seconds")
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

    if args.k < 1:
        raise ConfigError(f"Found -k {args.k}, expected 1 or more. Ask for at least one hit.")
    workspace = Workspace.open(args.workspace)
    vector = _clip_vector(workspace, args) if args.clip else _file_vector(workspace, args, output)
    hits = search(workspace, vector, args.encoder, args.layer, k=args.k, where=args.where)
    rows = describe_hits(workspace, hits).to_dict("records")
    output.result({"hits": rows}, table(rows, COLUMNS))
    return DONE


def _clip_vector(workspace: Workspace, args: argparse.Namespace) -> FloatArray:
    stored = workspace.embeddings(args.encoder, args.layer)
    segments = workspace.read(
        "SELECT segment_id FROM segments WHERE clip_id = ? AND end_s > ? ORDER BY start_s",
        [args.clip, args.start],
    )
    rows = [i for i, s in enumerate(stored.segment_ids) if s in set(segments.segment_id)]
    if not rows:
        raise UnknownNameError(
            f"The workspace has no embedded segment of a clip {args.clip!r} from {args.start} s "
            f"in {args.encoder} layer {args.layer}. `usad search --query FILE` takes any file."
        )
    vector: FloatArray = stored.vectors[rows[0]]
    return vector


def _file_vector(workspace: Workspace, args: argparse.Namespace, output: Output) -> FloatArray:
    from usad_workbench.core.audio import probe_audio, read_audio
    from usad_workbench.core.registry import load_encoder

    workspace.space_id(args.encoder, args.layer)  # a wrong name is said before weights load
    window_s = workspace.segmentation.window_s
    end_s = args.end
    if end_s is None and probe_audio(args.query).duration_s - args.start > window_s:
        end_s = args.start + window_s
        output.note(
            f"The query is cut to {window_s:g} s from {args.start:g} s on, the window of the "
            "workspace. --start and --end choose another part."
        )
    clip = read_audio(args.query, start_s=args.start, end_s=end_s)
    encoder = load_encoder(args.encoder)
    return encoder.embed(clip, args.layer)[0]
