"""``usad encoders list``, ``get`` and ``convert``."""

import argparse
from itertools import groupby
from pathlib import Path
from typing import Any

from usad_workbench.core.errors import (
    CheckpointError,
    ConfigError,
    UnknownNameError,
    UsadError,
    WeightsError,
)
from usad_workbench.workbench.commands.arguments import add_output, add_trust
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output, table

COLUMNS = ["encoder", "role", "domain", "layers", "parameters", "licence", "here", "needs"]
MAX_LICENCE, MAX_NEEDS = 24, 64
"""Letters in the table; ``encoders list NAME`` and JSON have all of them."""
_KNOWN = (
    "role",
    "domain",
    "n_layers",
    "dims",
    "frame_rates_hz",
    "sample_rate_hz",
    "n_params",
    "licence",
)
HOW_TO_GET = """
Parameters: those used up to the last layer. NC: non-commercial. `usad encoders get NAME` fetches what is not here; one that runs its own code
asks for --trust-remote-code. `usad encoders list NAME` says everything of one, and why it is not
here. Other encoders: hf:FOLDER, hf:OWNER/NAME, hear:MODULE, xares:MODULE:CLASS, run:FOLDER."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    actions = parser.add_subparsers(
        dest="action", required=True, metavar="ACTION", help="what to do with them"
    )
    for name, (help_text, declare) in _ACTIONS.items():
        action = actions.add_parser(name, help=help_text, description=help_text)
        add_output(action)
        declare(action)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="encoders to show in full; all in a table if none"
    )
    add_trust(parser)


def _get_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="encoders to get")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--all", action="store_true", help="all but those of the hub")
    which.add_argument(
        "--from",
        dest="file",
        metavar="FILE",
        type=Path,
        help="a checkpoint of one encoder that you downloaded",
    )
    add_trust(parser)


def _convert_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="FOLDER", help="of the published student; or its name, once it is fetched"
    )
    parser.add_argument(
        "--map",
        metavar="TOML",
        type=Path,
        help="size of the student, and the names that shapes cannot tell",
    )
    made = parser.add_mutually_exclusive_group(required=True)
    made.add_argument("--write-map", metavar="TOML", type=Path, help="only write a map to fill in")
    made.add_argument("--out", metavar="FOLDER", type=Path, help="the new student, run:FOLDER")
    parser.add_argument("--licence", default="see its model card", help="of the weights")
    add_trust(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Lists encoders, fetches weights, or makes a student of a published checkpoint."""
    actions = {"list": _list, "get": _get, "convert": _convert}
    return actions[args.action](args, output)


_ACTIONS = {
    "list": ("every encoder: what it needs, its licence, whether it is here", _list_arguments),
    "get": ("download weights, or read them from a file", _get_arguments),
    "convert": ("make a student of ours of a published checkpoint", _convert_arguments),
}


def _list(args: argparse.Namespace, output: Output) -> int:
    from usad_workbench.core.encoders.registry import encoder_specs

    rows = [_row(name) for name in args.names or encoder_specs()]
    if args.names:
        shown = "\n\n".join(
            "\n".join(
                f"{key}: {_told(value)}" for key, value in row.items() if value not in ("", None)
            )
            for row in rows
        )
    else:
        shown = table([_short(row) for row in rows], COLUMNS) + "\n" + HOW_TO_GET
    output.result(rows, shown)
    return DONE


def _told(value: object) -> str:
    """A value as people read it; layers that agree are counted.

    >>> _told((128, 64, 64)), _told("MIT")
    ('128, 2 × 64', 'MIT')
    """
    if not isinstance(value, tuple):
        return str(value)
    runs = [(len(list(same)), one) for one, same in groupby(value)]
    return ", ".join(f"{n} × {one:g}" if n > 1 else f"{one:g}" for n, one in runs)


def _row(name: str) -> dict[str, Any]:
    """What is known of an encoder; of one that has to be loaded for it and cannot be, the reason."""
    from usad_workbench.core.encoders.registry import encoder_spec, encoder_status

    status = encoder_status(name)
    reason = status.reason
    known: dict[str, Any] = dict.fromkeys((*_KNOWN, "non_commercial"))
    try:
        spec = encoder_spec(name)
        known = {key: getattr(spec, key) for key in _KNOWN}
        known["non_commercial"] = spec.is_non_commercial
    except (ConfigError, WeightsError, CheckpointError) as error:
        reason = str(error)
    rest = {"needs": status.needs, "available": not reason, "reason": reason}
    return {"encoder": name, **known, **rest}


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table that people read.

    >>> row = {"encoder": "e", "licence": "CC BY-NC 4.0 (non-commercial)", "non_commercial": True,
    ...     "n_params": 94_370_944, "n_layers": 12, "available": False, "needs": ""}
    >>> {key: _short(row)[key] for key in ("licence", "parameters", "here")}
    {'licence': 'CC BY-NC 4.0, NC', 'parameters': '94.4 M', 'here': 'no'}
    """
    licence, n_params = row["licence"].removesuffix(" (non-commercial)"), row["n_params"]
    licence = _cut(licence, MAX_LICENCE)
    return row | {
        "layers": row["n_layers"],
        "parameters": "-" if n_params is None else f"{n_params / 1e6:.1f} M",
        "licence": f"{licence}, NC" if row["non_commercial"] else licence,
        "here": "yes" if row["available"] else "no",
        "needs": _cut(row["needs"], MAX_NEEDS),
    }


def _cut(text: str, n_letters: int) -> str:
    return text if len(text) <= n_letters else text[: n_letters - 1].rstrip(" ,") + "…"


def _get(args: argparse.Namespace, output: Output) -> int:
    from usad_workbench.core.encoders.registry import encoder_status, get_weights

    names = _names(args)
    rows = []
    for name in names:
        try:
            folder = get_weights(
                name,
                output.progress,
                trust_remote_code=args.trust_remote_code,
                from_file=args.file,
            )
            status = encoder_status(name)
            found = {"available": status.available, "reason": status.reason}
            rows.append({"encoder": name, **found, "folder": folder and str(folder)})
        except UnknownNameError:
            raise
        except UsadError as error:
            output.note(f"failed: {name}: {error}")
            rows.append({"encoder": name, "available": False, "reason": str(error), "folder": None})
    output.result(rows, table(rows, ["encoder", "available", "reason", "folder"]))
    return DONE if all(row["available"] for row in rows) else SOME_FAILED


def _convert(args: argparse.Namespace, output: Output) -> int:
    from usad_workbench.core.interop.convert import NameMap, convert, read_map, write_map

    given = read_map(args.map) if args.map else NameMap()
    if args.write_map is not None:
        write_map(args.folder, args.write_map, given)
        output.result({"map": str(args.write_map)}, f"Fill in {args.write_map}, then convert.")
        return DONE
    difference = convert(args.folder, given, args.out, args.licence)
    output.result(
        {"student": f"run:{args.out}", "largest_difference": difference},
        f"run:{args.out} gives what the repository's code gives, within {difference:.1e} of each "
        "block's norm.",
    )
    return DONE


def _names(args: argparse.Namespace) -> list[str]:
    from usad_workbench.core.encoders.registry import setup_encoders

    if args.file is not None and len(args.names) != 1:
        raise ConfigError(
            f"--from names the checkpoint of one encoder, found {len(args.names)} encoders. "
            "Name the one it belongs to."
        )
    names = list(setup_encoders()) if args.all else list(args.names)
    if not names:
        raise ConfigError("Found no encoder to get, expected names or --all. See `encoders list`.")
    return names
