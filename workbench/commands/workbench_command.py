"""``usad workbench``."""

import argparse
import subprocess
from collections.abc import Sequence

from usad_workbench.workbench.commands.arguments import add_trust
from usad_workbench.workbench.output import DONE, SOME_FAILED, Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("workspace", metavar="W", help="the workspace folder")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument(
        "--runs", action="append", default=[], metavar="DIR",
        help="a training run, or a folder of some; by default the folder runs beside the "
        "workspace, or here",
    )  # fmt: skip
    add_trust(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Opens the app on a workspace and serves it until stopped."""
    from usad_workbench.core.storage.workspace import Workspace

    folder = Workspace.open(args.workspace).folder
    return serve(folder, args.host, args.port, output, args.runs)


def serve(folder: object, host: str, port: int, output: Output, runs: Sequence[str] = ()) -> int:
    """Serves the app on a folder until it is stopped."""
    from pathlib import Path

    from usad_workbench.workbench.launch import launch

    output.note(f"The workbench is at http://{host}:{port} (stop with Ctrl-C).")
    finished = subprocess.run(
        launch(Path(str(folder)), host, port, [Path(run).resolve() for run in runs]), check=False
    )
    return DONE if finished.returncode == 0 else SOME_FAILED
