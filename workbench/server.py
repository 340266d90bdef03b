"""The process that serves the app: Streamlit's server, and what one that is shared needs on top.

It ends with the process that started it, however that ends, and asks nobody outside what
address it has.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from streamlit import net_util
from streamlit.runtime import memory_uploaded_file_manager
from streamlit.web import cli

from usad_workbench.workbench.uploads import BoundedUploads

POLL_S = 0.5
END_S = 5.0


def prepare() -> None:
    """Makes Streamlit's server one that may be shared."""
    # The address that others see is asked of a server on the web, at the start and for every
    # request of an unknown origin; without an answer only the machine's own addresses count.
    net_util.get_external_ip = lambda: None
    setattr(  # noqa: B010 no public name
        memory_uploaded_file_manager, "MemoryUploadedFileManager", BoundedUploads
    )


def end_with(parent: int) -> None:
    """Ends this process when the one that started it is gone; runs in a thread."""
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(END_S)
    os._exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until it is stopped; arguments are the parent's process id and Streamlit's own."""
    parent, *words = sys.argv[1:] if arguments is None else arguments
    threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    prepare()
    cli.main(["run", *words], prog_name="streamlit")


if __name__ == "__main__":
    main()
