"""``usad demo``."""

import argparse

from usad_workbench.workbench.output import DONE, SOME_FAILED, Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--workspace", default="demo-workspace", metavar="DIR")
    parser.add_argument("--no-serve", action="store_true", help="do not open the app at the end")
    parser.add_argument("--port", type=int, default=8501)
    parser.add_argument("--host", default="127.0.0.1")


def run(args: argparse.Namespace, output: Output) -> int:
    """Does the main job, then opens the app."""
    from usad_workbench.workbench.commands.workbench_command import serve
    from usad_workbench.workbench.demo import run_demo

    report = run_demo(args.workspace, output.progress)
    output.failures(report.failed)
    output.result(
        report,
        f"{report.n_clips} clips, {len(report.encoders)} encoders, {report.spaces} spaces in "
        f"{report.workspace}, {report.seconds:.0f} s",
    )
    code = SOME_FAILED if report.failed else DONE
    return code if args.no_serve else serve(report.workspace, args.host, args.port, output)
