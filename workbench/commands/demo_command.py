"""``usad demo``."""

import argparse

from usad_workbench.workbench.commands.arguments import add_address
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "--workspace",
        default="demo-workspace",
        metavar="DIR",
        help="the workspace folder; made if it is not there (default: %(default)s)",
    )
    parser.add_argument("--no-serve", action="store_true", help="do not open the app at the end")
    add_address(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Does the main job, then opens the app."""
    from usad_workbench.workbench.commands.workbench_command import describe_address, serve
    from usad_workbench.workbench.demo import run_demo
    from usad_workbench.workbench.launch import check_address

    if not args.no_serve:
        check_address(args.host, args.port)  # said before minutes of work
    report = run_demo(args.workspace, output.progress)
    output.failures(report.failed)
    output.result(
        report,
        f"{report.n_clips} clips, {len(report.encoders)} encoders, {report.spaces} spaces in "
        f"{report.workspace}, {report.seconds:.0f} s",
    )
    code = SOME_FAILED if report.failed else DONE
    if args.no_serve:
        return code
    return serve(
        report.workspace,
        args.host,
        args.port,
        announce=lambda address: output.note(describe_address(address)),
    )
