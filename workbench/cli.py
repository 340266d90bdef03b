"""``usad``: parse, call, print.

Exit codes: 0 done, 1 ran but some items failed (they are listed), 2 wrong use or
input. A user's mistake is one sentence on standard error, never a traceback.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Protocol, cast

from usad_workbench.core.encoders.trust import trusting_remote_code
from usad_workbench.core.errors import UsadError, did_you_mean, wrap_errors
from usad_workbench.workbench.commands.arguments import add_output
from usad_workbench.workbench.exit_codes import DONE, WRONG_USE
from usad_workbench.workbench.output import Output, results_alone

COMMANDS = {
    "demo": "the main job on the sample data: import, embed, index, project, compare, serve",
    "encoders": "list the known encoders; get their weights",
    "import": "add audio files, folders or a manifest to a workspace",
    "import-embeddings": "add encoders whose vectors were made elsewhere, from Parquet",
    "embed": "per-layer embeddings of every clip that has none yet",
    "index": "build or update the FAISS indexes; `index test` measures them",
    "search": "the nearest segments to a clip or a sound file",
    "duplicates": "clips of equal content, and near copies by embedding",
    "project": "two-dimensional maps (UMAP or PCA) and how faithful they are",
    "diagnose": "a student beside its teachers and controls: panels, verdicts, an HTML report",
    "evaluate": "frozen probes on the workspace's tasks, or on a published benchmark",
    "student": "sizes of the USAD student",
    "train": "one stage of distillation from a recipe",
    "ablate": "the papers' ablation in small: a grid of runs, its table beside the published one",
    "family": "students with all teachers and without each: their vectors of the sample clips",
    "export": "a student as Hugging Face folder or ONNX; vectors and clips as Parquet, CSV, WAV",
    "check": "integrity of a workspace",
    "workbench": "open the app",
    "bench": "the speed claims, each against a named peer in the same run",
}
"""Commands and what they do; the module is ``commands/NAME_command.py``, as ``import`` is a word of Python."""

logger = logging.getLogger(__name__)
_DASHES_AS_VALUE = re.compile(r"--[\w-]+=--")
_NEGATIVE_LIST = re.compile(r"-\d+(,-?\d+)+")
EPILOG = """first steps:
  usad demo                                  everything below on the sample data, then the app
  usad encoders list                         what is known, installed, missing
  usad import my_sounds --workspace W --domain sound
  usad embed --workspace W --encoders usad-demo,whisper-tiny.en
  usad workbench W"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="usad",
        description="Distil several audio encoders into one, and see what each of their layers "
        "represents.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"usad-workbench {version('usad-workbench')}"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=_sentence(help_text))
        add_output(command)
        command.set_defaults(json=False, verbose=False)
        _module(name).add_arguments(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = build_parser()
    words = _joined(sys.argv[1:] if arguments is None else arguments)
    if empty := _without_value(words):
        parser.error(f"argument {empty}: expected a value, found --")
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        parser.error(f"there is no command {command!r}. {did_you_mean(command, COMMANDS)}")
    args = parser.parse_args(words)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO if args.verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )
    try:
        with results_alone() as results:
            return _run(args, Output(as_json=args.json, results=results))
    except BrokenPipeError:
        # Whoever read the results has seen enough, as `head` does; Python's own flush is to be mute.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _joined(arguments: Sequence[str]) -> list[str]:
    """The arguments with lists such as ``-1,0`` bound to their option, which argparse leaves.

    >>> _joined(["embed", "--layers", "-1,0", "--json"])
    ['embed', '--layers=-1,0', '--json']
    """
    joined: list[str] = []
    for word in arguments:
        if joined and joined[-1].startswith("--") and _NEGATIVE_LIST.fullmatch(word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _without_value(words: Sequence[str]) -> str:
    """The first option that is given ``--`` as its value, which argparse takes for an empty list.

    >>> _without_value(["embed", "--layers=--"]), _without_value(["import", "--", "--layers=--"])
    ('--layers', '')
    """
    options = words[: words.index("--")] if "--" in words else words
    return next((word[:-3] for word in options if _DASHES_AS_VALUE.fullmatch(word)), "")


def _run(args: argparse.Namespace, output: Output) -> int:
    try:
        trusted = getattr(args, "trust_remote_code", False)
        with wrap_errors(), trusting_remote_code(trusted):
            return _module(args.command).run(args, output)
    except UsadError as error:
        logger.info("Where it happened:", exc_info=error)
        output.note(f"usad {args.command}: {error}")
        return WRONG_USE
    except KeyboardInterrupt:
        output.note(f"usad {args.command}: stopped. The same command goes on where it was.")
        return 130


class Command(Protocol):
    """What a module of ``commands`` offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's own arguments."""

    def run(self, args: argparse.Namespace, output: Output) -> int:
        """Does the work and returns the exit code."""


def _module(command: str) -> Command:
    return cast(
        Command,
        import_module(f"usad_workbench.workbench.commands.{command.replace('-', '_')}_command"),
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    sys.exit(main())
