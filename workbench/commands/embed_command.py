"""``usad embed``."""

import argparse
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import (
    add_trust,
    add_workspace,
    layers_of,
    names_of,
)
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output

if TYPE_CHECKING:
    from usad_workbench.core.embedding import Outcome
    from usad_workbench.core.storage.workspace import Workspace


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
    _add_ray(parser)


def _add_ray(parser: argparse.ArgumentParser) -> None:
    """What concerns workers on other machines."""
    group = parser.add_argument_group("beyond one machine", "needs the extra `ray`")
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="embed by workers on a Ray cluster: HOST:PORT, auto (the one that this machine is a "
        "part of) or local (one that is started here)",
    )
    group.add_argument(
        "--parts",
        metavar="URL",
        help="where workers leave vectors until the workspace takes them: a folder that all "
        "machines see, or a URL such as s3://bucket/parts (default: a folder of the workspace)",
    )
    group.add_argument(
        "--audio-root",
        action="append",
        default=[],
        metavar="FOLDER=URL",
        help="where workers find the audio that lies below a folder here; may be given again",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="how many (default: one a GPU, or one a CPU)"
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
        "precision": args.precision,
        "progress": output.progress,
    }
    outcomes: Mapping[str, Outcome]
    started = time.perf_counter()
    if args.ray:
        outcomes = _on_ray(workspace, names, args, how)
        elapsed_s = time.perf_counter() - started
    elif args.parts or args.audio_root or args.workers:
        raise ConfigError("--parts, --audio-root and --workers belong to --ray ADDRESS. Add it.")
    elif len(names) == 1:
        outcomes = {names[0]: embed(workspace, names[0], device=args.device, **how)}
    else:
        outcomes = embed(workspace, names, device=args.device, **how)
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


def _on_ray(
    workspace: "Workspace", names: list[str], args: argparse.Namespace, how: dict[str, Any]
) -> "Mapping[str, Outcome]":
    """Embeds by workers on a Ray cluster."""
    from usad_workbench.core.distributed.audio_locations import AudioRoot
    from usad_workbench.core.distributed.embedding import RayConfig, embed_all_on_ray, embed_on_ray

    config = RayConfig(
        address=args.ray,
        parts=args.parts,
        audio_roots=tuple(AudioRoot.parse(text) for text in args.audio_root),
        n_workers=args.workers,
        device=args.device,
    )
    if len(names) == 1:
        return {names[0]: embed_on_ray(workspace, names[0], config, **how)}
    return embed_all_on_ray(workspace, names, config, **how)
