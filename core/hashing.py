"""The sha256 that weights, audio and index files are known by."""

import hashlib
from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes in hexadecimal, read in blocks: recordings are long."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
