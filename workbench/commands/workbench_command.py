"""``usad workbench``."""

import argparse
import subprocess

from usad_workbench.workbench.output import DONE, SOME_FAILED, Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("workspace", metavar="W", help="the workspace folder")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--host", default="127.0.0.1")


def run(args: argparse.Namespace, output: Output) -> int:
    """Opens the app on a workspace and serves it until stopped."""
    from usad_workbench.core.storage.workspace import Workspace

    return serve(Workspace.open(args.workspace).folder, args.host, args.port, output)


def serve(folder: object, host: str, port: int, output: Output) -> int:
    """Serves the app on a folder until it is stopped."""
    from pathlib import Path

    from usad_workbench.workbench.launch import launch

    output.note(f"The workbench is at http://{host}:{port} (stop with Ctrl-C).")
    finished = subprocess.run(launch(Path(str(folder)), host, port), check=False)
    return DONE if finished.returncode == 0 else SOME_FAILED
