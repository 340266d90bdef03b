"""One of the processes that the tests of distributed training start: trains with fakes."""

import signal
import sys

import torch

from tests.training.conftest import make_teachers
from usad_workbench.core.errors import UsadError
from usad_workbench.training import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    # The launcher ends the others once one has failed; each is to say why it stopped.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    recipe, run, *overrides = sys.argv[1:]
    try:
        train(recipe, run, overrides, resume=True, teachers=make_teachers())
    except UsadError as error:
        sys.exit(f"ERROR {error}")
