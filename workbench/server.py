"""The process that serves the app: Streamlit's server, and what one that is shared needs on top.

It ends with the process that started it, however that ends; it asks nobody outside what
address it has; and what all sessions have uploaded together stays within bounds.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

from streamlit import net_util
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.web import cli
from streamlit.web.server import server

POLL_S = 0.5
END_S = 5.0
MAX_FILES = 50
"""Uploads of all sessions together; the oldest go first."""
MAX_BYTES = 1 << 30


class BoundedUploads(MemoryUploadedFileManager):
    """Uploads in memory, of all sessions together no more than a number and a size."""

    def __init__(self, upload_endpoint: str) -> None:
        super().__init__(upload_endpoint)
        self._order: list[tuple[str, str]] = []
        self._adding = threading.Lock()

    def add_file(self, session_id: str, file: UploadedFileRec) -> None:
        """Keeps a file, and drops the oldest ones where that is too much."""
        with self._adding:
            super().add_file(session_id, file)
            key = (session_id, file.file_id)
            self._order = [
                one for one in self._order if one != key and self.get_files(one[0], [one[1]])
            ]
            self._order.append(key)
            while len(self._order) > 1 and (
                len(self._order) > MAX_FILES or self._total_bytes > MAX_BYTES
            ):
                self.remove_file(*self._order.pop(0))


def prepare() -> None:
    """Makes Streamlit's server one that may be shared."""
    # The address that others see is asked of a server on the web, at the start and for every
    # request of an unknown origin; without an answer only the machine's own addresses count.
    net_util.get_external_ip = lambda: None
    setattr(server, "MemoryUploadedFileManager", BoundedUploads)  # noqa: B010 no public name


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
