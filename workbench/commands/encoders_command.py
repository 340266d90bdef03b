"""``usad encoders list`` and ``usad encoders get``."""

import argparse
from pathlib import Path

from usad_workbench.core.errors import ConfigError, UsadError
from usad_workbench.workbench.commands.arguments import add_trust
from usad_workbench.workbench.output import DONE, SOME_FAILED, Output, table

COLUMNS = ["encoder", "role", "domain", "n_layers", "n_params", "licence", "available", "reason"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("action", choices=["list", "get"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="encoders to get")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="get all but those of the hub")
    which.add_argument(
        "--from", dest="file", metavar="FILE", type=Path,
        help="get one encoder from a checkpoint that you downloaded",
    )  # fmt: skip
    add_trust(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Lists encoders, or fetches, verifies and converts weights."""
    return _list(output) if args.action == "list" else _get(args, output)


def _list(output: Output) -> int:
    from usad_workbench.core.registry import encoder_specs, encoder_status

    rows = []
    for name, spec in encoder_specs().items():
        status = encoder_status(name)
        rows.append(
            {
                "encoder": name,
                "role": spec.role,
                "domain": spec.domain,
                "n_layers": spec.n_layers,
                "dims": spec.dims,
                "frame_rates_hz": spec.frame_rates_hz,
                "sample_rate_hz": spec.sample_rate_hz,
                "n_params": spec.n_params,
                "licence": spec.licence,
                "non_commercial": spec.is_non_commercial,
                "needs": status.needs,
                "available": status.available,
                "reason": status.reason,
            }
        )
    output.result(rows, table(rows, COLUMNS))
    return DONE


def _get(args: argparse.Namespace, output: Output) -> int:
    from usad_workbench.core.registry import encoder_status, get_weights

    names = _names(args)
    rows = []
    for name in names:
        try:
            get_weights(
                name, output.progress,
                trust_remote_code=args.trust_remote_code, from_file=args.file,
            )  # fmt: skip
            status = encoder_status(name)
            rows.append({"encoder": name, "available": status.available, "reason": status.reason})
        except UsadError as error:
            output.note(f"failed: {name}: {error}")
            rows.append({"encoder": name, "available": False, "reason": str(error)})
    output.result(rows, table(rows, ["encoder", "available", "reason"]))
    return DONE if all(row["available"] for row in rows) else SOME_FAILED


def _names(args: argparse.Namespace) -> list[str]:
    from usad_workbench.core.registry import setup_encoders

    if args.file is not None and len(args.names) != 1:
        raise ConfigError(
            f"--from names the checkpoint of one encoder, found {len(args.names)} encoders. "
            "Name the one it belongs to."
        )
    names = list(setup_encoders()) if args.all else list(args.names)
    if not names:
        raise ConfigError("Found no encoder to get, expected names or --all. See `encoders list`.")
    return names
