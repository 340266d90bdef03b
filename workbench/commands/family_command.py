"""``usad family``: the students that the demo's diagnosis asks about. Beyond the contract's list."""

import argparse
from dataclasses import asdict

from usad_workbench.workbench.commands.arguments import add_overrides, names_of
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output, table

COLUMNS = ("encoder", "teachers", "loss", "knn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("--run", required=True, metavar="DIR", help="the folder of the family")
    parser.add_argument(
        "--recipe", default="family", help="of the student with all teachers, a file or a name"
    )
    parser.add_argument("--seeds", type=int, default=8, help="students with each set of teachers")
    parser.add_argument("--only", metavar="A,B", help="such as without-musicnn; default: all")
    add_overrides(parser, "override a key of the recipe, e.g. data.cache=cache")
    parser.add_argument(
        "--collect", action="store_true", help="only write the vectors of what is finished"
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Trains what is missing, then writes the vectors of all finished students."""
    from usad_workbench.training.ablation.family import train_family, write_family

    if not args.collect:
        train_family(
            args.run,
            args.recipe,
            args.overrides,
            seeds=args.seeds,
            only=names_of(args.only) if args.only else [],
            progress=output.progress,
        )
    members = write_family(args.run, args.recipe, args.overrides, seeds=args.seeds)
    rows = [asdict(member) for member in members]
    output.result(rows, table(rows, COLUMNS))
    return DONE
