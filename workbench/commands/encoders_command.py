"""``usad encoders list`` and ``usad encoders get``."""

import argparse

from usad_workbench.core.errors import ConfigError, UsadError
from usad_workbench.workbench.commands.arguments import add_trust
from usad_workbench.workbench.output import DONE, SOME_FAILED, Output, table

COLUMNS = ["encoder", "role", "domain", "n_layers", "n_params", "licence", "available", "reason"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("action", choices=["list", "get"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="encoders to get")
    parser.add_argument("--all", action="store_true", help="get all but those of the hub")
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
                "available": status.available,
                "reason": status.reason,
            }
        )
    output.result(rows, table(rows, COLUMNS))
    return DONE


def _get(args: argparse.Namespace, output: Output) -> int:
    from usad_workbench.core.registry import encoder_status, get_weights, setup_encoders

    names = list(setup_encoders()) if args.all else args.names
    if not names:
        raise ConfigError("Found no encoder to get, expected names or --all. See `encoders list`.")
    rows = []
    for name in names:
        try:
            get_weights(name, output.progress, trust_remote_code=args.trust_remote_code)
            status = encoder_status(name)
            rows.append({"encoder": name, "available": status.available, "reason": status.reason})
        except UsadError as error:
            output.note(f"failed: {name}: {error}")
            rows.append({"encoder": name, "available": False, "reason": str(error)})
    output.result(rows, table(rows, ["encoder", "available", "reason"]))
    return DONE if all(row["available"] for row in rows) else SOME_FAILED
