"""``usad import-embeddings``."""

import argparse

from usad_workbench.workbench.commands.arguments import add_tasks, add_workspace, names_of
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "parquet",
        metavar="PARQUET",
        help="columns clip_id, encoder, layer, vector; also family, architecture, training, "
        "training_seed, teachers, where its encoders differ in them",
    )
    add_workspace(parser)
    parser.add_argument(
        "--role",
        required=True,
        choices=("student", "teacher", "control", "baseline"),
        help="what these encoders are in a diagnosis",
    )
    parser.add_argument("--domain", help="home domain of these encoders; default: any audio")
    parser.add_argument(
        "--clips",
        metavar="MANIFEST",
        help="CSV or Parquet with clip_id, domain, cluster_id, label and more: adds clips that "
        "have no audio, and fills in what is not known yet of those that are there",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="values of --clips replace other ones of clips that are there",
    )
    add_tasks(parser)
    parser.add_argument("--teachers", metavar="A,B", help="who taught these students")
    parser.add_argument(
        "--family", metavar="F", help="what these encoders belong to: as controls they count once"
    )
    parser.add_argument(
        "--architecture", metavar="A", help="students of equal architecture and training are peers"
    )
    parser.add_argument(
        "--training", metavar="T", help="their recipe, whatever its name, but for teachers and seed"
    )
    parser.add_argument(
        "--training-seed", type=int, metavar="N", help="orders the students of one recipe"
    )
    parser.add_argument("--licence", metavar="L", help="of these encoders and their vectors")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="put the file's vectors in the place of what the workspace has of its encoders, all at "
        "once at the end; if a clip that has a vector fails, the stored ones stay",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Adds vectors that were made elsewhere; what does not fit is named."""
    from usad_workbench.core.models.spec import Origin
    from usad_workbench.core.storage.clips_without_audio import (
        import_clips_without_audio,
        new_columns,
    )
    from usad_workbench.core.storage.importing_embeddings import check_origin, import_embeddings
    from usad_workbench.core.storage.task_file import read_tasks
    from usad_workbench.core.storage.tasks import check_task_columns, set_tasks
    from usad_workbench.core.storage.vectors_file import check_vectors
    from usad_workbench.core.storage.workspace import Workspace

    teachers = names_of(args.teachers) if args.teachers else []
    # All that can be refused is looked at before the first clip is added.
    tasks = read_tasks(args.tasks) if args.tasks else []
    columns = new_columns(args.clips) if args.clips else ()
    check_vectors(args.parquet)
    workspace = Workspace.create(args.workspace)
    check_origin(workspace, args.role, teachers)
    check_task_columns(workspace, tasks, columns)

    def add_clips() -> int:
        return import_clips_without_audio(workspace, args.clips, args.update) if args.clips else 0

    report = import_embeddings(
        workspace,
        args.parquet,
        role=args.role,
        domain=args.domain,
        teachers=teachers,
        origin=Origin(
            family=args.family,
            architecture=args.architecture,
            training=args.training,
            training_seed=args.training_seed,
        ),
        licence=args.licence,
        replace=args.replace,
        add_clips=add_clips,
        progress=output.progress,
    )
    set_tasks(workspace, tasks)
    n_clips = report.n_clips_added
    output.failures(report.failed)
    output.result(
        {
            "encoders": report.encoders,
            "n_rows": report.n_rows,
            "n_skipped": report.n_skipped,
            "n_clips_added": n_clips,
            "failed": report.failed,
        },
        f"{', '.join(report.encoders)}: {report.n_rows} vectors added, {report.n_skipped} were "
        f"there, {len(report.failed)} clips failed; {n_clips} clips without audio added",
    )
    return SOME_FAILED if report.failed else DONE
