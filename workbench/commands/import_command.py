"""``usad import``."""

import argparse
from dataclasses import asdict, replace

from usad_workbench.core.errors import ConfigError, UsadError
from usad_workbench.workbench.commands.arguments import add_tasks, add_workspace
from usad_workbench.workbench.output import DONE, SOME_FAILED, Output

EPILOG = """A file that is in the workspace already is skipped, whatever its clip id: the same command again
adds nothing. A copy of it under another path is added if its clip id is new, and counted on
standard error: folds keep copies together, `usad check` names those with contradicting labels."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.epilog = EPILOG
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="audio files or folders")
    add_workspace(parser)
    parser.add_argument("--domain", help="speech, sound, music, or any name for an unseen domain")
    parser.add_argument(
        "--manifest", action="append", default=[], metavar="CSV",
        help="a CSV with a column 'path' and any of clip_id, domain, dataset, cluster_id, label, "
        "split; its other columns are kept as they are",
    )  # fmt: skip
    add_tasks(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Adds clips; what cannot be read is named and stops nothing."""
    from usad_workbench.core.storage.importing import (
        Failure,
        find_sources,
        import_clips,
        read_manifest,
    )
    from usad_workbench.core.storage.tables import read_tasks, set_tasks
    from usad_workbench.core.storage.workspace import Workspace

    if not args.sources and not args.manifest and not args.tasks:
        raise ConfigError(
            "Found nothing to import, expected files, folders, --manifest CSV or --tasks CSV."
        )
    tasks = read_tasks(args.tasks) if args.tasks else []
    clips, missing = [], []
    for source in args.sources:
        try:
            clips += find_sources(source)
        except UsadError as error:
            missing.append(Failure(path=source, reason=str(error)))
    for manifest in args.manifest:
        clips += read_manifest(manifest)
    # Tasks alone are for clips that are there.
    has_clips = args.sources or args.manifest
    workspace = (Workspace.create if has_clips else Workspace.open)(args.workspace)
    report = import_clips(workspace, clips, domain=args.domain, progress=output.progress)
    report = replace(report, failed=missing + report.failed)
    set_tasks(workspace, tasks)
    output.failures(report.failed)
    if report.n_copies:
        output.note(
            f"{report.n_copies} of the added clips have the audio of another clip under another "
            "path. Folds keep them together; `usad check` names those whose labels contradict."
        )
    said = (
        f"added {report.n_added} clips, skipped {report.n_skipped} that were there, "
        f"{len(report.failed)} failed"
    )
    output.result(
        asdict(report) | {"n_tasks": len(tasks)},
        f"{said}; tasks set: {len(tasks)}" if tasks else said,
    )
    return SOME_FAILED if report.failed else DONE
