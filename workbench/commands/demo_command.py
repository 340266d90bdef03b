"""``usad demo``."""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from usad_workbench.workbench.commands.arguments import add_address
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output

POLL_S = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "--workspace",
        default="demo-workspace",
        metavar="DIR",
        help="the workspace folder; made if it is not there (default: %(default)s)",
    )
    parser.add_argument(
        "--no-serve", action="store_true", help="do not open the app, only do the work"
    )
    parser.add_argument(
        "--short",
        action="store_true",
        help="leave out probes and the panels that read them: minutes of computing",
    )
    add_address(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Does the main job; the app opens with the first map, and the rest goes on behind it."""
    if args.no_serve:
        return _work(args, output)
    from usad_workbench.workbench.commands.workbench_command import describe_address, serve
    from usad_workbench.workbench.launch import check_address, end

    check_address(args.host, args.port)  # said before minutes of work
    folder = Path(args.workspace)
    words = ["--no-serve", "--workspace", str(folder), *(["--short"] if args.short else [])]
    worker = subprocess.Popen(
        [sys.executable, "-m", "usad_workbench.workbench.cli", "demo", *words]
    )
    try:
        if not _has_first_picture(folder, worker):
            return worker.returncode
        return serve(
            folder.resolve(),
            args.host,
            args.port,
            announce=lambda address: output.note(describe_address(address)),
        )
    finally:
        end(worker)


def _has_first_picture(folder: Path, worker: "subprocess.Popen[bytes]") -> bool:
    """Waits until there is a map to look at, or all is done; not where the work failed before."""
    from usad_workbench.workbench.demo import FIRST_PICTURE
    from usad_workbench.workbench.step_log import is_at_work, standing_of

    while worker.poll() is None:
        standing = standing_of(folder) if is_at_work(folder) else None
        if standing is not None and standing.step >= FIRST_PICTURE:
            return True
        time.sleep(POLL_S)
    return worker.returncode in (DONE, SOME_FAILED)


def _work(args: argparse.Namespace, output: Output) -> int:
    from usad_workbench.workbench.demo import run_demo

    report = run_demo(args.workspace, output.progress, is_short=args.short)
    output.failures(report.failed)
    output.result(
        report,
        f"{report.n_clips} clips, {len(report.encoders)} encoders, {report.spaces} spaces in "
        f"{report.workspace}, {report.seconds:.0f} s",
    )
    return SOME_FAILED if report.failed else DONE
