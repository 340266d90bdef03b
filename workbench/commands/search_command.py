"""``usad search``."""

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from usad_workbench.core.errors import ConfigError, UsadError
from usad_workbench.workbench.commands.arguments import add_trust, add_workspace
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

if TYPE_CHECKING:
    from usad_workbench.core.storage.space_names import SpaceName
    from usad_workbench.core.storage.workspace import FloatArray, SearchHits, Workspace
    from usad_workbench.workbench.query_vectors import Known

COLUMNS = ["rank", "score", "clip_id", "start_s", "end_s", "path"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)
    _add_examples(parser)
    parser.add_argument("--encoder", metavar="E", help="whose space is searched; embedded before")
    parser.add_argument("--layer", type=int, help="negative counts from the end")
    parser.add_argument(
        "--pooling",
        choices=["mean", "native"],
        help="native: the encoder's own vector of a whole segment, in which words are looked for "
        "(default: mean, with --text native)",
    )
    parser.add_argument(
        "--everywhere",
        action="store_true",
        help="search every space in place of one, and say how far their hits agree",
    )
    add_trust(parser)
    parser.add_argument(
        "-k", type=int, default=10, metavar="K", help="how many hits (default: %(default)s)"
    )
    parser.add_argument("--where", metavar="SQL", help="condition on the columns of clips")
    parser.add_argument(
        "--metric",
        choices=["cosine", "inner_product", "l2"],
        default="cosine",
        help="what is nearest; scores by l2 are negative distances (default: %(default)s)",
    )
    parser.add_argument(
        "--group-by",
        choices=["segment", "clip"],
        default="segment",
        help="clip: the best segment of each clip (default: %(default)s)",
    )
    parser.add_argument(
        "--diverse",
        type=float,
        metavar="LAMBDA",
        help="hits that differ from each other: 1 is by the score alone, 0 by the difference alone",
    )


def _add_examples(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--query",
        action="append",
        default=[],
        metavar="FILE",
        help="a sound file; several, and --clip too, are examples of one thing",
    )
    parser.add_argument(
        "--clip", action="append", default=[], metavar="ID", help="a clip of the workspace"
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="WORDS",
        help="what a sound is like; for an encoder that reads words, such as CLAP by hf:",
    )
    parser.add_argument(
        "--unlike",
        action="extend",
        nargs="+",
        default=[],
        metavar="ID",
        help="clips of the workspace that are examples against: half their cosine is taken off",
    )
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


def run(args: argparse.Namespace, output: Output) -> int:
    """Finds the nearest segments."""
    from usad_workbench.core.storage.space_names import SpaceName
    from usad_workbench.core.storage.workspace import Workspace

    _check(args)
    workspace = Workspace.open(args.workspace)
    if args.everywhere:
        return _run_everywhere(workspace, args, output)
    pooling = args.pooling or ("native" if args.text else "mean")
    layer = -1 if args.layer is None else args.layer
    hits = _search(workspace, args, SpaceName(args.encoder, layer, pooling), output)
    rows = _rows(workspace, hits)
    output.result({"hits": rows}, table(rows, COLUMNS))
    return DONE


def _run_everywhere(workspace: "Workspace", args: argparse.Namespace, output: Output) -> int:
    """Searches every space that can be searched; the others are named."""
    from usad_workbench.core.storage.space_names import SpaceName
    from usad_workbench.indexes.refining import agreements, clips_of

    rows: list[dict[str, Any]] = []
    found: dict[str, list[Any]] = {}
    known: Known = {}  # each sound is embedded once by each encoder
    for row in workspace.spaces(args.pooling or "mean").itertuples():
        encoder, layer, pooling = str(row.encoder), int(row.layer), str(row.pooling)
        name = f"{encoder} layer {layer}"
        try:
            hits = _search(workspace, args, SpaceName(encoder, layer, pooling), output, known)
        except ConfigError:
            raise
        except UsadError as error:
            output.note(f"{name} was not searched: {error}")
            continue
        rows += [{"encoder": encoder, "layer": layer, **row} for row in _rows(workspace, hits)]
        ids = hits.segment_ids
        found[name] = list(clips_of(workspace, ids) if args.group_by == "clip" else ids.tolist())
    agreement = [
        {name: getattr(one, name) for name in one.__slots__} for one in agreements(found, args.k)
    ]
    text = table(rows, ["encoder", "layer", *COLUMNS])
    if agreement:
        text += f"\n\n{table(agreement, list(agreement[0]))}"
    output.result({"hits": rows, "agreement": agreement}, text)
    return DONE


def _search(
    workspace: "Workspace",
    args: argparse.Namespace,
    space: "SpaceName",
    output: Output,
    known: "Known | None" = None,
) -> "SearchHits":
    from usad_workbench.indexes.refining import best_of_clips, diverse
    from usad_workbench.indexes.spaces import search

    def ask(k: int) -> "SearchHits":
        return search(
            workspace,
            vector,
            space.encoder,
            space.layer,
            pooling=space.pooling,
            k=k,
            where=args.where,
            metric=args.metric,
        )

    vector = _query(workspace, args, space, output, known)
    get = partial(best_of_clips, workspace, ask) if args.group_by == "clip" else ask
    if args.diverse is None:
        return get(args.k)
    return diverse(
        workspace,
        (space.encoder, space.layer, space.pooling),
        get,
        args.k,
        args.diverse,
        args.metric,
    )


def _query(
    workspace: "Workspace",
    args: argparse.Namespace,
    space: "SpaceName",
    output: Output,
    known: "Known | None",
) -> "FloatArray":
    """The vector that the examples make together."""
    from usad_workbench.indexes.examples import query_of_examples
    from usad_workbench.workbench.query_vectors import (
        Part,
        vector_of_clip,
        vector_of_file,
        vector_of_words,
    )

    part, whole = Part(start_s=args.start, end_s=args.end), Part()
    to = (space, output.note, known)
    like = [vector_of_file(workspace, file, part, *to) for file in args.query]
    like += [vector_of_clip(workspace, clip, part, *to) for clip in args.clip]
    like += [vector_of_words(workspace, text, space.encoder, output.note) for text in args.text]
    unlike = [vector_of_clip(workspace, clip, whole, *to) for clip in args.unlike]
    return query_of_examples(like, unlike, args.metric)


def _rows(workspace: "Workspace", hits: "SearchHits") -> list[dict[str, Any]]:
    from usad_workbench.indexes.spaces import describe_hits

    rows: list[dict[str, Any]] = describe_hits(workspace, hits).to_dict("records")
    return rows


def _check(args: argparse.Namespace) -> None:
    if args.k < 1:
        raise ConfigError(f"Found -k {args.k}, expected 1 or more. Ask for at least one hit.")
    n_examples = len(args.query) + len(args.clip) + len(args.text)
    if not n_examples:
        raise ConfigError("Found nothing to search for. Give --query FILE, --clip ID or --text.")
    if n_examples > 1 and (args.start is not None or args.end is not None):
        raise ConfigError(
            f"Found --start or --end and {n_examples} examples, expected one to cut a part of. "
            "Leave them out, or give one example."
        )
    if args.text and (args.everywhere or args.pooling == "mean"):
        raise ConfigError(
            "Words are looked for in the native space of one encoder: give --encoder, and neither "
            "--everywhere nor --pooling mean beside --text."
        )
    is_native = args.pooling == "native" or bool(args.text)  # of an encoder there is one
    names_space = args.encoder is not None and (args.layer is not None or is_native)
    names_none = args.encoder is None and args.layer is None
    if not (names_none if args.everywhere else names_space):
        raise ConfigError(
            "Expected --encoder and --layer, which name the space that is searched, or "
            "--everywhere in place of both."
        )
    if args.diverse is not None and not 0 <= args.diverse <= 1:
        raise ConfigError(f"Found --diverse {args.diverse:g}, expected 0 to 1.")
