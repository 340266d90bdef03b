"""``usad import``."""

import argparse

from usad_workbench.core.errors import ConfigError, UsadError
from usad_workbench.workbench.commands.arguments import add_workspace
from usad_workbench.workbench.output import DONE, SOME_FAILED, Output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="audio files or folders")
    add_workspace(parser)
    parser.add_argument("--domain", help="speech, sound, music, or any name for an unseen domain")
    parser.add_argument(
        "--manifest", action="append", default=[], metavar="CSV",
        help="a CSV with a column 'path' and any of clip_id, domain, dataset, cluster_id, label, "
        "split; its other columns are kept as they are",
    )  # fmt: skip


def run(args: argparse.Namespace, output: Output) -> int:
    """Adds clips; what cannot be read is named and stops nothing."""
    from usad_workbench.core.storage.importing import (
        Failure,
        ImportReport,
        find_sources,
        import_clips,
        read_manifest,
    )
    from usad_workbench.core.storage.workspace import Workspace

    if not args.sources and not args.manifest:
        raise ConfigError("Found nothing to import, expected files, folders or --manifest CSV.")
    clips, missing = [], []
    for source in args.sources:
        try:
            clips += find_sources(source)
        except UsadError as error:
            missing.append(Failure(path=source, reason=str(error)))
    for manifest in args.manifest:
        clips += read_manifest(manifest)
    workspace = Workspace.create(args.workspace)
    report = import_clips(workspace, clips, domain=args.domain, progress=output.progress)
    report = ImportReport(
        n_added=report.n_added, n_skipped=report.n_skipped, failed=missing + report.failed
    )
    output.failures(report.failed)
    output.result(
        report,
        f"added {report.n_added} clips, skipped {report.n_skipped} that were there, "
        f"{len(report.failed)} failed",
    )
    return SOME_FAILED if report.failed else DONE
