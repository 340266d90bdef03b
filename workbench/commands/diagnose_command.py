"""``usad diagnose``: the teacher-bias suite, its verdicts, tables and report."""

import argparse
from pathlib import Path

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import (
    add_trust,
    add_workspace,
    layers_of,
    names_of,
)
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)
    parser.add_argument(
        "--student",
        required=True,
        metavar="S[,S2,...]",
        help="the student in question, or several seeds of one recipe: inheritance is then a claim "
        "about the recipe, all other panels are about the first",
    )
    parser.add_argument(
        "--teachers",
        metavar="A,B",
        help="who taught it; default: the table distillation, which has it for students of this "
        "program; where it names nobody, every encoder with the role teacher, with a warning",
    )
    parser.add_argument("--controls", metavar="A,B", help="default: every other encoder")
    parser.add_argument(
        "--layer",
        metavar="L",
        help="student layers, such as 8 or 4,8; default: four over the depth",
    )
    parser.add_argument("--where", metavar="SQL", help="only clips for which this holds")
    parser.add_argument(
        "--clips", metavar="FILE", help="only the clip ids in this file, one a line"
    )
    parser.add_argument("--panels", metavar="A,B", help="default: all")
    parser.add_argument("--rules", metavar="TOML", help="decision rules; default: the shipped ones")
    parser.add_argument(
        "--compare",
        metavar="S2",
        help="a second student, or another stage or checkpoint of it (run:DIR@STEP): paired "
        "differences; two stages also enter the verdict on what would falsify the claim",
    )
    parser.add_argument(
        "--llm-results",
        metavar="CSV",
        help="take in encoder, benchmark, task, metric, value of an LLM benchmark run elsewhere",
    )
    parser.add_argument("--report", metavar="OUT.html", help="one HTML file, opens with no network")
    parser.add_argument("--permutations", type=int, default=200, help="size of the nulls")
    parser.add_argument(
        "--seed", type=int, default=0, help="of nulls, intervals and folds (default: %(default)s)"
    )
    add_trust(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Diagnoses a student, keeps all of it in the workspace, and writes the report."""
    from usad_workbench.core.diagnosis.record import diagnosis_document
    from usad_workbench.core.diagnosis.run import diagnose
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.workbench.presenters.diagnosis.verdicts import lines_of
    from usad_workbench.workbench.report import write_report

    if args.where is not None and not args.where.strip():
        raise ConfigError("--where is empty, expected a condition. Leave it out for all clips.")
    workspace = Workspace.open(args.workspace)
    diagnosis = diagnose(
        workspace,
        names_of(args.student),
        teachers=names_of(args.teachers) if args.teachers else None,
        controls=names_of(args.controls) if args.controls else None,
        layers=layers_of(args.layer) or () if args.layer else (),
        where=args.where or "",
        clip_ids=_listed(args.clips),
        panels=names_of(args.panels) if args.panels else None,
        rules=args.rules,
        compare=args.compare,
        llm_results=args.llm_results or None,
        n_permutations=args.permutations,
        seed=args.seed,
        progress=output.progress,
    )
    answer = diagnosis_document(diagnosis)
    if args.report:
        write_report(args.report, diagnosis, diagnosis.verdicts, diagnosis.rules_text, workspace)
        answer["report"] = str(args.report)
    lines = [f"warning: {warning}" for warning in diagnosis.warnings]
    lines += [line for verdict in diagnosis.verdicts for line in lines_of(verdict)]
    lines += [row.statement for row in diagnosis.nearest]
    output.result(answer, "\n".join(lines))
    return DONE


def _listed(path: str | None) -> tuple[str, ...]:
    """The clip ids in a text file, one a line.

    Raises:
        ConfigError: a file that cannot be read, or has no ids.
    """
    if path is None:
        return ()
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} cannot be read: {error}. Give a text file of clip ids."
        ) from error
    ids = tuple(line.strip() for line in lines if line.strip())
    if not ids:
        raise ConfigError(f"{path} is empty, expected clip ids, one a line.")
    return ids
