"""``usad diagnose``: for now its similarity panel."""

import argparse

from usad_workbench.workbench.commands.arguments import add_workspace, names_of
from usad_workbench.workbench.output import DONE, Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    add_workspace(parser)
    parser.add_argument("--student", required=True, metavar="S")
    parser.add_argument("--teachers", metavar="A,B", help="default: the table distillation")
    parser.add_argument("--controls", metavar="A,B", help="default: every other encoder")
    parser.add_argument("--permutations", type=int, default=200, help="size of the null")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace, output: Output) -> int:
    """Compares the student's layers with every other encoder's, per domain."""
    from usad_workbench.core.nearest import encoder_roles
    from usad_workbench.core.storage.workspace import Workspace
    from usad_workbench.core.teacher_similarity import SimilarityConfig, compare_with_teachers

    workspace = Workspace.open(args.workspace)
    teachers = names_of(args.teachers) if args.teachers else None
    report = compare_with_teachers(
        workspace,
        args.student,
        teachers=teachers,
        controls=names_of(args.controls) if args.controls else None,
        config=SimilarityConfig(n_permutations=args.permutations, seed=args.seed),
        progress=output.progress,
    )
    roles = encoder_roles(workspace, args.student, teachers)
    rows = workspace.sql(
        "SELECT * EXCLUDE (fingerprint) FROM teacher_similarity WHERE student = ? "
        "ORDER BY domain, measure, teacher, student_layer, teacher_layer",
        [args.student],
    )
    rows = rows[rows.teacher.isin(report.encoders)]
    statements = workspace.sql(
        "SELECT * FROM nearest_teachers WHERE student = ? ORDER BY measure, domain",
        [args.student],
    )
    document = {
        "student": args.student,
        "layers": sorted(int(layer) for layer in set(rows.student_layer)),
        "domains": report.domains,
        "teachers": [name for name in report.encoders if roles[name].role == "teacher"],
        "controls": [name for name in report.encoders if roles[name].role == "control"],
        "baselines": [name for name in report.encoders if roles[name].role == "baseline"],
        "n_clips": report.n_clips,
        "n_clusters": report.n_clusters,
        "seed": args.seed,
        "warnings": [*report.warnings, "only the similarity panel exists so far"],
        "nearest": statements.to_dict("records"),
        "similarity": rows.to_dict("records"),
    }
    output.result(document, "\n".join(statements.statement))
    return DONE
