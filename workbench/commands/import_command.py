"""``usad import``."""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from usad_workbench.core.errors import ConfigError, UsadError, wrap_errors
from usad_workbench.core.storage.segments import Segmentation
from usad_workbench.workbench.commands.arguments import add_tasks, add_workspace
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output

if TYPE_CHECKING:
    from usad_workbench.core.storage.importing import Copy, Failure, ImportReport
    from usad_workbench.core.storage.packs import Pack
    from usad_workbench.core.storage.sources import SourceClip

NAMED_COPIES = 3
NAMED_FOLDERS = 6
TABLE_SUFFIXES = {".csv", ".tsv", ".parquet", ".jsonl"}
EPILOG = """A file that is in the workspace already is skipped, whatever its clip id: the same command again
adds nothing. What a manifest or --domain says of it that the workspace does not know yet, such as
labels that come late, is filled in; other values than the stored ones are refused, or taken with
--update. A file that was moved is found again by its content, and its clip has the new path. A copy under
another path is added if its clip id is new, and counted on standard error: give copies one
cluster_id, or delete them, since folds keep clusters whole.

Of folders every file is taken that ends like audio, also in folders behind links; hidden files and
what macOS leaves on foreign disks (._*, __MACOSX, .Trashes) are passed over, all others are counted
by suffix. A metadata.csv or .jsonl in a folder (Hugging Face's audiofolder) is read as a manifest.

Tar archives (.tar, .tar.gz; also WebDataset: 1.flac with 1.json, 1.txt, 1.cls), folders of
datasets.save_to_disk, and Parquet as on the hub are unpacked into the folder `unpacked` of the
workspace. Classes come by name, splits and other columns of single values as columns of clips.

A manifest is a CSV parted by commas, semicolons or tabs, or Parquet, one row for each
file. Cells are text as they stand: NA, None and null are labels like others."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.epilog = EPILOG
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="audio files, folders, tar archives, audio data sets of Hugging Face on disk",
    )
    add_workspace(parser)
    parser.add_argument("--domain", help="speech, sound, music, or any name for an unseen domain")
    parser.add_argument(
        "--manifest",
        action="append",
        default=[],
        metavar="CSV",
        help="a CSV or Parquet file with a column 'path' (or 'file_name') and any of clip_id, domain, dataset, cluster_id, label, "
        "split; its other columns are kept as they are",
    )
    parser.add_argument(
        "--window-s",
        type=float,
        metavar="S",
        help="of a new workspace: seconds of audio that one vector stands for "
        f"(default: {Segmentation().window_s:g})",
    )
    parser.add_argument(
        "--hop-s",
        type=float,
        metavar="S",
        help="of a new workspace: seconds from one window to the next (default: the window)",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="values of manifests replace other ones of clips that are there",
    )
    parser.add_argument(
        "--folders-are-labels",
        action="store_true",
        help="the folder that a file lies in is its label too, where no manifest says one; by "
        "default it is its data set alone",
    )
    add_tasks(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Adds clips; what cannot be read is named and stops nothing."""
    from usad_workbench.core.storage.clip_fields import columns_of
    from usad_workbench.core.storage.importing import import_clips
    from usad_workbench.core.storage.packs import unpacked
    from usad_workbench.core.storage.sources import label_folders, labelled_by_folder
    from usad_workbench.core.storage.task_file import read_tasks
    from usad_workbench.core.storage.tasks import check_task_columns, set_tasks
    from usad_workbench.core.storage.workspace import FILE_NAME, Workspace

    if not args.sources and not args.manifest and not args.tasks:
        raise ConfigError(
            "Found nothing to import, expected files, folders, --manifest CSV or --tasks CSV."
        )
    tasks = read_tasks(args.tasks) if args.tasks else []
    clips, packs, ignored, missing = _found(args.sources, args.manifest)
    if missing and not clips and not packs and not Path(args.workspace, FILE_NAME).exists():
        # A typo makes no workspace.
        raise ConfigError(" ".join(failure.reason for failure in missing))
    # Tasks alone are for clips that are there.
    has_clips = args.sources or args.manifest
    segmentation = _segmentation(args.window_s, args.hop_s)
    workspace = (
        Workspace.create(args.workspace, segmentation)
        if has_clips
        else Workspace.open(args.workspace)
    )
    folders = label_folders(clips)
    if args.folders_are_labels:
        clips = labelled_by_folder(clips)
    with unpacked(workspace, list(packs.values()), output.progress) as from_packs:
        clips += from_packs
        check_task_columns(
            workspace, tasks, {name for clip in clips for name in columns_of(clip.fields)}
        )
        report = import_clips(
            workspace, clips, domain=args.domain, update=args.update, progress=output.progress
        )
    for pack in packs.values():
        ignored.update(pack.left_out)
    report = replace(report, failed=missing + report.failed)
    set_tasks(workspace, tasks)
    output.failures(report.failed)
    if segmentation is not None:
        output.note(f"One vector stands for {workspace.segmentation.in_words} of audio.")
    for note in _notes(report, ignored):
        output.note(note)
    if folders and report.n_added and not args.folders_are_labels:
        output.note(_offer(folders))
    said = (
        f"added {report.n_added} clips, skipped {report.n_skipped} that were there, "
        f"{len(report.failed)} failed"
    )
    output.result(
        asdict(report)
        | asdict(workspace.segmentation)
        | {"ignored": dict(ignored.most_common()), "n_tasks": len(tasks)},
        f"{said}; tasks set: {len(tasks)}" if tasks else said,
    )
    return SOME_FAILED if report.failed else DONE


def _found(
    sources: "Sequence[str]", manifests: "Sequence[str]"
) -> "tuple[list[SourceClip], dict[Path, Pack], Counter[str], list[Failure]]":
    """The clips and packs behind all words, what is left out of folders, and what is not there."""
    from usad_workbench.core.storage.finding import find
    from usad_workbench.core.storage.importing import Failure
    from usad_workbench.core.storage.manifests import read_manifest

    clips, missing = [], []
    packs: dict[Path, Pack] = {}
    ignored: Counter[str] = Counter()
    for source in sources:
        try:
            with wrap_errors(source):
                found = find(source)
                clips += found.clips
                packs |= {pack.path.resolve(): pack for pack in found.packs}
                ignored.update(found.ignored)
        except UsadError as error:
            missing.append(Failure(path=source, reason=str(error)))
    for manifest in manifests:
        clips += read_manifest(manifest)
    return clips, packs, ignored, missing


def _copies(copies: "Sequence[Copy]") -> str:
    """The first few of them, by name."""
    named = [f"{one.clip_id} that of {one.of}" for one in copies[:NAMED_COPIES]]
    return ", ".join(named) + (", ..." if len(copies) > NAMED_COPIES else "")


def _segmentation(window_s: float | None, hop_s: float | None) -> Segmentation | None:
    """What is asked for; none where nothing is."""
    if window_s is None and hop_s is None:
        return None
    window_s = Segmentation().window_s if window_s is None else window_s
    return Segmentation(window_s=window_s, hop_s=window_s if hop_s is None else hop_s)


def _offer(folders: "Sequence[str]") -> str:
    """What the names of folders could be, for somebody who has not said it."""
    shown = ", ".join(folders[:NAMED_FOLDERS]) + (", ..." if len(folders) > NAMED_FOLDERS else "")
    return (
        f"The clips have no labels and lie in {len(folders)} folders ({shown}), which are their "
        "data sets now. If the folders are labels, say it with --folders-are-labels: the same "
        "command fills them in."
    )


def _notes(report: "ImportReport", ignored: Mapping[str, int]) -> Iterator[str]:
    """What a person should know beside the counts."""
    if report.n_copies:
        yield (
            f"{report.n_copies} of the added clips have the audio of another clip under another "
            f"path: {_copies(report.copies)}. Give copies one cluster_id in a manifest, or delete "
            "them. `usad duplicates` lists them all."
        )
    if report.n_moved:
        yield f"{report.n_moved} clips were moved: they have the paths at which they were found."
    if report.n_filled:
        yield f"{report.n_filled} clips that were there have new values."
    if report.n_by_ffmpeg:
        yield (
            f"{report.n_by_ffmpeg} of the added clips were decoded by FFmpeg's libraries, the "
            "others by libsndfile."
        )
    if ignored:
        suffixes = ", ".join(f"{n} {suffix}" for suffix, n in ignored.items())
        yield (
            f"{sum(ignored.values())} files of the folders were not taken: {suffixes}. A file "
            "that is named outright is always tried."
        )
    if TABLE_SUFFIXES & ignored.keys():
        yield "Tables of labels beside the audio are read with --manifest, one at a time."
