"""``usad export``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from usad_workbench.core.errors import ConfigError
from usad_workbench.workbench.commands.arguments import layers_of
from usad_workbench.workbench.exit_codes import DONE, SOME_FAILED
from usad_workbench.workbench.output import Output

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from usad_workbench.core.storage.importing import Failure
    from usad_workbench.core.storage.workspace import FloatArray

FORMATS = {
    "student": ("huggingface", "onnx"),
    "space": ("parquet", "csv"),
    "clips": ("wav", "parquet", "csv"),
}
"""What can be written as what."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--student", metavar="S", help="usad-demo, run:DIR, run:DIR@STEP or a student's folder"
    )
    what.add_argument("--space", metavar="ENCODER/LAYER", help="vectors of a workspace")
    what.add_argument("--clips", metavar="SQL", help="clips of a workspace; true for all")
    parser.add_argument(
        "--format",
        required=True,
        choices=sorted({*sum(FORMATS.values(), ())}),
        help="; ".join(f"{what}: {' or '.join(kinds)}" for what, kinds in FORMATS.items())
        + ". Text that a spreadsheet would run as a formula stands behind an apostrophe in CSV; "
        "usad import takes it away again",
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--workspace", metavar="DIR", help="for --space and --clips")
    parser.add_argument(
        "--where", metavar="SQL", help="for --space: condition on the columns of clips"
    )
    parser.add_argument(
        "--neighbours",
        type=int,
        default=0,
        metavar="K",
        help="for --space as parquet: the K nearest rows of each, as embedding-atlas reads them",
    )
    parser.add_argument(
        "--layers",
        metavar="0,6,-1",
        help="for onnx: layers to give beside the output x; all, or numbers",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Writes one folder, which appears only when complete."""
    what = next(name for name in FORMATS if getattr(args, name) is not None)
    if args.format not in FORMATS[what]:
        raise ConfigError(
            f"--{what} cannot be written as {args.format}. Use {' or '.join(FORMATS[what])}."
        )
    if what != "student" and not args.workspace:
        raise ConfigError(f"--{what} needs --workspace DIR, the folder it is read from.")
    files, failed = _student(args, output) if what == "student" else _from_workspace(args, output)
    output.failures(failed)
    names = [str(path) for path in files]
    output.result({"files": names, "failed": failed}, "\n".join(names))
    return SOME_FAILED if failed else DONE


def _student(args: argparse.Namespace, output: Output) -> tuple[list[Path], list[Failure]]:
    from usad_workbench.core.interop.source import open_student

    if args.format == "huggingface":
        from usad_workbench.core.interop.huggingface import export_huggingface

        return export_huggingface(open_student(args.student), args.out), []
    from usad_workbench.core.interop.onnx_model import export_onnx
    from usad_workbench.core.models.encoder import resolve_layers

    source = open_student(args.student)
    layers: tuple[int, ...] = ()
    if args.layers:
        layers = resolve_layers(layers_of(args.layers), source.student.config.n_layers)
    output.note("The student is traced, which takes a minute for 8 blocks and longer for more.")
    return export_onnx(source, args.out, layers), []


def _from_workspace(args: argparse.Namespace, output: Output) -> tuple[list[Path], list[Failure]]:
    from usad_workbench.core.storage.exporting import export_clips, export_space
    from usad_workbench.core.storage.workspace import Workspace

    workspace = Workspace.open(args.workspace)
    if args.clips is not None:
        return export_clips(workspace, args.clips, args.out, args.format, progress=output.progress)
    encoder, slash, layer = args.space.rpartition("/")
    try:
        number = int(layer)
    except ValueError as error:
        raise ConfigError(f"Found --space {args.space}, expected ENCODER/LAYER.") from error
    if not slash or not encoder:
        raise ConfigError(f"Found --space {args.space}, expected ENCODER/LAYER.")
    files = export_space(
        workspace,
        encoder,
        number,
        args.out,
        args.format,
        where=args.where,
        neighbours=partial(_nearest, k=args.neighbours) if args.neighbours else None,
        progress=output.progress,
    )
    return files, []


def _nearest(vectors: FloatArray, k: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The nearest other rows by cosine, and their cosine distances."""
    from usad_workbench.indexes import neighbour_lists

    found = neighbour_lists(vectors, k)
    return found.ids, 1 - found.scores
