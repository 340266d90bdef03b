"""``usad embed``."""

import argparse

from usad_workbench.core.errors import ConfigError, UsadError
from usad_workbench.workbench.commands.arguments import (
    add_trust,
    add_workspace,
    layers_of,
    names_of,
)
from usad_workbench.workbench.output import DONE, SOME_FAILED, Output


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
        "--replace",
        action="store_true",
        help="embed everything anew and put it in the place of what is stored, all at once at the "
        "end; if a segment that has a vector fails, the stored ones stay",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Embeds what is not embedded yet, encoder by encoder."""
    from usad_workbench.core.embedding import embed
    from usad_workbench.core.encoders.registry import load_encoder
    from usad_workbench.core.storage.importing import Failure
    from usad_workbench.core.storage.workspace import Workspace

    workspace = Workspace.open(args.workspace)
    layers = layers_of(args.layers)
    names = names_of(args.encoders)
    if not names:
        raise ConfigError("Found no encoder, expected names such as usad-demo,aisfx.")
    n_done = n_skipped = 0
    failed: list[Failure] = []
    audio_seconds = seconds = 0.0
    for name in names:
        try:
            encoder = load_encoder(name, device=args.device)
            report = embed(
                workspace,
                encoder,
                layers=layers,
                pooling=args.pooling,
                replace=args.replace,
                progress=output.progress,
            )
        except UsadError as error:
            if len(names) == 1:
                raise
            failed.append(Failure(path=name, reason=str(error)))
            continue
        n_done += report.n_done
        n_skipped += report.n_skipped
        failed += report.failed
        audio_seconds += report.audio_seconds
        seconds += report.seconds
    output.failures(failed)
    rtf = seconds / audio_seconds if audio_seconds else 0.0
    document = {
        "n_done": n_done,
        "n_skipped": n_skipped,
        "failed": failed,
        "audio_seconds": audio_seconds,
        "seconds": seconds,
        "rtf": rtf,
    }
    text = f"embedded {n_done} segments ({audio_seconds:.0f} s of audio in {seconds:.1f} s, "
    output.result(
        document, f"{text}real-time factor {rtf:.3f}), skipped {n_skipped}, {len(failed)} failed"
    )
    return SOME_FAILED if failed else DONE
