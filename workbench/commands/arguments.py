"""Arguments that several commands share."""

import argparse

from usad_workbench.core.errors import ConfigError


def add_output(parser: argparse.ArgumentParser) -> None:
    """``--json`` and ``--verbose``; before and after the name of an action alike."""
    for names, help_text in (
        (("--json",), "print one JSON document"),
        (("-v", "--verbose"), "say more on the way"),
    ):
        # The default of an action would undo what was said before its name.
        parser.add_argument(*names, action="store_true", default=argparse.SUPPRESS, help=help_text)


def add_workspace(parser: argparse.ArgumentParser) -> None:
    """Adds ``--workspace DIR``: which workspace a command works on."""
    parser.add_argument("--workspace", required=True, metavar="DIR", help="the workspace folder")


def add_address(parser: argparse.ArgumentParser) -> None:
    """``--port P`` and ``--host H``."""
    parser.add_argument(
        "--port",
        type=int,
        default=8501,
        metavar="P",
        help="where the app listens (default: %(default)s)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="H",
        help="the address of this machine that it listens on; any but the default %(default)s needs a "
        "password in the environment variable USAD_PASSWORD",
    )


def add_tasks(parser: argparse.ArgumentParser) -> None:
    """Adds ``--tasks CSV``: a table of tasks to take in first."""
    parser.add_argument(
        "--tasks",
        metavar="CSV",
        help="labelled tasks for `usad evaluate`: task, label_column, domain (empty: any), "
        "group_column (what folds keep whole, such as cluster_id), metric (accuracy or "
        "balanced_accuracy)",
    )


def add_overrides(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Adds ``--set KEY=VALUE``, any number of times: keys of a recipe with other values."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help=help_text,
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds ``--trust-remote-code``: code of a model repository may run."""
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the code that models of the hub bring along; read it first",
    )


def names_of(text: str) -> list[str]:
    """Names from a comma-separated list.

    >>> names_of("a, b")
    ['a', 'b']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def layers_of(text: str) -> list[int] | None:
    """Layers from ``all`` or a comma-separated list of numbers.

    Raises:
        ConfigError: something that is no number.

    >>> layers_of("all"), layers_of("0,6,-1")
    (None, [0, 6, -1])
    """
    if text == "all":
        return None
    try:
        return [int(part) for part in names_of(text)]
    except ValueError as error:
        raise ConfigError(
            f"Found layers {text!r}, expected 'all' or numbers such as 0,6,-1."
        ) from error
