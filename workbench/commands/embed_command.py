"""``usad embed``."""

import argparse
import time
from collections.abc import Mapping

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import (
    add_trust,
    add_workspace,
    layers_of,
    names_of,
)
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)
    parser.add_argument("--encoders", required=True, metavar="A,B", help="see `encoders list`")
    parser.add_argument("--layers", default="all", help="all, or numbers such as 0,6,-1")
    parser.add_argument(
        "--pooling",
        choices=["mean", "native"],
        default="mean",
        help="mean over frames, or the encoder's own output for a whole clip (default: %(default)s)",
    )
    add_trust(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda")
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the forward pass; vectors of the two are never mixed, and those that are stored "
        "stay what they are until --replace (default: %(default)s)",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="embed everything anew and put it in the place of what is stored, all at once at the "
        "end; if a segment that has a vector fails, the stored ones stay",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Embeds what is not embedded yet, several encoders at a time where that is faster."""
    from usad_workbench.core.embedding import Outcome, embed
    from usad_workbench.core.errors import UsadError
    from usad_workbench.core.storage.importing import Failure
    from usad_workbench.core.storage.workspace import Workspace

    workspace = Workspace.open(args.workspace)
    names = list(dict.fromkeys(names_of(args.encoders)))
    if not names:
        raise ConfigError("Found no encoder, expected names such as usad-demo,aisfx.")
    how = {
        "layers": layers_of(args.layers),
        "pooling": args.pooling,
        "replace": args.replace,
        "device": args.device,
        "precision": args.precision,
        "progress": output.progress,
    }
    outcomes: Mapping[str, Outcome]
    if len(names) == 1:
        outcomes = {names[0]: embed(workspace, names[0], **how)}
    else:
        started = time.perf_counter()
        outcomes = embed(workspace, names, **how)
        elapsed_s = time.perf_counter() - started
    reports, failed = [], []
    for name, outcome in outcomes.items():
        if isinstance(outcome, UsadError):
            failed.append(Failure(path=name, reason=str(outcome)))
        else:
            reports.append(outcome)
            failed += outcome.failed
    output.failures(failed)
    audio_seconds = sum((report.audio_seconds for report in reports), 0.0)
    # Of several side by side the sum of their work is no time that anybody waited.
    seconds = reports[0].seconds if len(names) == 1 else elapsed_s
    document = {
        "n_done": sum(report.n_done for report in reports),
        "n_skipped": sum(report.n_skipped for report in reports),
        "failed": failed,
        "audio_seconds": audio_seconds,
        "seconds": seconds,
        "rtf": seconds / audio_seconds if audio_seconds else 0.0,
    }
    output.result(
        document,
        f"embedded {document['n_done']} segments ({audio_seconds:.0f} s of audio in "
        f"{seconds:.1f} s, real-time factor {document['rtf']:.3f}), skipped "
        f"{document['n_skipped']}, {len(failed)} failed",
    )
    return SOME_FAILED if failed else DONE
