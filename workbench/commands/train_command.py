"""``usad train``."""

import argparse

from usad_workbench.workbench.commands.arguments import add_overrides, add_trust
from usad_workbench.workbench.exit_codes import DONE
from usad_workbench.workbench.output import Output

EPILOG = """on several devices or machines, the same loss curve as on one:
  torchrun --nproc-per-node N -m -- usad_workbench.workbench.cli train RECIPE.toml --run DIR
run.parallel says whether each process has a whole model (ddp) or a share of it (fsdp). The
folders of the run and of data.cache are shared by all. --resume may have another N."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "recipe", metavar="RECIPE.toml", help="a file, or the name of a shipped one"
    )
    parser.add_argument("--run", required=True, metavar="DIR", help="the folder of this run")
    add_overrides(parser, "override a key of the recipe, e.g. optimiser.peak_lr=1e-3")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    add_trust(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Distils a student."""
    from usad_workbench.core.storage.importing import Failure
    from usad_workbench.training import train

    result = train(
        args.recipe,
        args.run,
        overrides=args.overrides,
        resume=args.resume,
        progress=output.progress,
    )
    failed = [Failure(path=clip, reason=reason) for clip, reason in result.failed]
    output.failures(failed)
    document = {
        "run": result.run,
        "step": result.step,
        "loss": result.loss,
        "checkpoint": result.checkpoint,
        "failed": [{"clip": clip, "reason": reason} for clip, reason in result.failed],
    }
    output.result(
        document, f"step {result.step}, loss {result.loss:.4f}, checkpoint {result.checkpoint}"
    )
    # The corpus is smaller by what is named above, the training itself is done.
    return DONE
