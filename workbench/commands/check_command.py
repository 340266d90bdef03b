"""``usad check``."""

import argparse

from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Compares counts, hashes and files, and looks for values that are not finite."""
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.indexes.check import check_workspace

    problems = check_workspace(Workspace.open(args.workspace), output.progress)
    output.result(
        {"ok": not problems, "problems": problems}, "\n".join(problems) or "no problems found"
    )
    return SOME_FAILED if problems else DONE
