"""Uploads of all sessions together, bounded in number and size."""

import threading

from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

MAX_FILES = 2000
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
