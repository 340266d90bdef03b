"""``usad student sizes``."""

import argparse

from usad_workbench.workbench.output import DONE, Output, table

COLUMNS = ["size", "n_params", "dim", "n_layers", "n_heads", "frame_rate_hz"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("action", choices=["sizes"])


def run(args: argparse.Namespace, output: Output) -> int:
    """Lists the published sizes and the shipped one."""
    from usad_workbench.core.models.student import published_sizes

    rows = published_sizes()
    output.result(rows, table(rows, COLUMNS))
    return DONE
