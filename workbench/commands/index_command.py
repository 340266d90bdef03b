"""``usad index`` and ``usad index test``."""

import argparse
from collections import Counter

from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

COLUMNS = ["encoder", "layer", "pooling", "kind", "n", "recall_at_10", "ms_per_query", "bytes"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=["build", "test"],
        default="build",
        help="test: recall and time against exact search",
    )
    add_workspace(parser)
    parser.add_argument(
        "--kind",
        choices=["auto", "flat", "ivf", "ivfpq", "hnsw"],
        default="auto",
        help="auto: exact up to 50,000 vectors, ivf above; ivf and ivfpq are trained, and exact "
        "where there are too few vectors for that",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Brings every space's index up to date; ``test`` measures each."""
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.indexes.evaluation import evaluate_index
    from usad_workbench.indexes.faiss_index import why_exact
    from usad_workbench.indexes.files import clear_leftovers, open_index
    from usad_workbench.indexes.spaces import update_index

    workspace = Workspace.open(args.workspace)
    if args.action == "build":
        clear_leftovers(workspace)
    spaces = workspace.spaces()
    rows = []
    reasons: Counter[str] = Counter()
    for done, space in enumerate(spaces.itertuples(), start=1):
        key = (str(space.encoder), int(space.layer), str(space.pooling))
        reason = ""
        if args.action == "build":
            reason = why_exact(args.kind, update_index(workspace, *key, kind=args.kind).n)
            reasons[reason] += 1
        evaluation = evaluate_index(workspace, *key)
        if evaluation is None:
            problem = open_index(workspace, workspace.space(*key)).problem
            output.note(f"{problem or f'{key[0]} layer {key[1]} has no index.'} Run `usad index`.")
        else:
            row = {name: getattr(evaluation, name) for name in COLUMNS}
            rows.append(row | {"reason": reason})
        output.progress(done, len(spaces), f"index {args.action}")
    for reason, n in reasons.items():
        if reason:
            output.note(f"{n} of {len(spaces)} spaces: {reason}.")
    output.result(rows, table(rows, COLUMNS))
    return DONE
