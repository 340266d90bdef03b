"""``usad index`` and ``usad index test``."""

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

if TYPE_CHECKING:
    from usad_workbench.core.progress import Progress
    from usad_workbench.core.storage.workspace import Workspace

COLUMNS = [
    "encoder",
    "layer",
    "pooling",
    "kind",
    "metric",
    "n",
    "recall_at_10",
    "ms_per_query",
    "bytes",
]


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
    parser.add_argument(
        "--metric",
        choices=["cosine", "inner_product", "l2"],
        help="what the index finds the nearest by; without it that of the index that is there, "
        "else the cosine",
    )
    parser.add_argument(
        "--recall",
        type=float,
        default=0.98,
        metavar="SHARE",
        help="of the 10 nearest that are to be found; tuned on held-out vectors (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--memory-gb",
        type=float,
        default=4.0,
        metavar="GB",
        help="what an index that auto chooses may take (default: %(default)g)",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="cpu, or cuda where the extra faiss-gpu is installed (default: %(default)s)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Brings every space's index up to date; ``test`` measures each."""
    from usad_workbench.core.progress import part_of
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.indexes.faiss_module import load_faiss
    from usad_workbench.indexes.files import clear_leftovers, open_index

    load_faiss()
    workspace = Workspace.open(args.workspace)
    if args.action == "build":
        clear_leftovers(workspace)
    spaces = workspace.spaces()
    rows = []
    reasons: Counter[str] = Counter()
    is_built = args.action == "build"
    for number, space in enumerate(spaces.itertuples()):
        key = (str(space.encoder), int(space.layer), str(space.pooling))
        of_space = part_of(output.progress, number, len(spaces), f"{key[0]} layer {key[1]}")
        chosen: dict[str, Any] = {}
        note = ""
        if is_built:
            chosen, note = _built(workspace, key, args, part_of(of_space, 0, 2))
        reasons[note] += 1
        row = _measured(workspace, key, part_of(of_space, 1, 2) if is_built else of_space)
        if row is None:
            problem = open_index(workspace, workspace.space(*key)).problem
            output.note(f"{problem or f'{key[0]} layer {key[1]} has no index.'} Run `usad index`.")
        else:
            rows.append(row | chosen)
        of_space(1, 1, f"index {args.action}")
    for note, n in reasons.items():
        if note:
            output.note(f"{n} of {len(spaces)} spaces: {note}.")
    output.result(rows, table(rows, COLUMNS))
    return DONE


def _built(
    workspace: "Workspace",
    key: tuple[str, int, str],
    args: argparse.Namespace,
    progress: "Progress",
) -> tuple[dict[str, Any], str]:
    """What was chosen for a space and why, and what is to be said of it."""
    from usad_workbench.indexes.plans import BuildConfig, why_exact
    from usad_workbench.indexes.spaces import update_index

    config = BuildConfig(target_recall=args.recall, memory_gb=args.memory_gb, device=args.device)
    report = update_index(
        workspace, *key, kind=args.kind, metric=args.metric, config=config, progress=progress
    )
    exact = why_exact(args.kind, report.n)
    chosen = {
        "reason": exact,
        "chosen": report.reason,
        "target_recall": report.target_recall,
        "tuned_recall": report.tuned_recall,
    }
    said = exact or ("" if report.kind == "flat" else report.reason)
    return chosen, said


def _measured(
    workspace: "Workspace", key: tuple[str, int, str], progress: "Progress"
) -> dict[str, Any] | None:
    from usad_workbench.indexes.evaluation import evaluate_index

    evaluation = evaluate_index(workspace, *key, progress=progress)
    if evaluation is None:
        return None
    return {name: getattr(evaluation, name) for name in COLUMNS}
