"""``usad student sizes``."""

import argparse

from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

EPILOG = """n_params counts what the published totals count. n_params_with_norms adds the LayerNorms that are
ours: all parameters. n_params_up_to_last_layer leaves out the one behind the last layer: what
`usad encoders list` counts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "action",
        choices=["sizes"],
        help="list the five published sizes and that of the shipped student (demo)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Lists the published sizes and the shipped one (``demo``), each with its three counts."""
    from usad_workbench.core.models.sizes import SIZES, count_parameters

    rows = [
        {
            "size": name,
            "n_params": count_parameters(config).published,
            "n_params_up_to_last_layer": count_parameters(config).up_to_last_layer,
            "n_params_with_norms": count_parameters(config).total,
            "dim": config.dim,
            "n_layers": config.n_layers,
            "n_heads": config.n_heads,
            "frame_rate_hz": config.frame_rate_hz,
        }
        for name, config in SIZES.items()
    ]
    output.result(rows, f"{table(rows, list(rows[0]))}\n\n{EPILOG}")
    return DONE
