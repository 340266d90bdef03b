"""A workspace with every kind of result, as an earlier version wrote it."""

import zipfile
from pathlib import Path

import pytest

SCHEMA_2 = Path(__file__).parent / "data" / "schema_2.zip"
"""48 clips without audio, four encoders, two of them controls, with every result of
``usad evaluate``, ``diagnose``, ``index`` and ``project``: as the first version of schema 2 wrote
it, before ``segments_of_clips``."""


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The folder of a copy of it."""
    with zipfile.ZipFile(SCHEMA_2) as archive:
        archive.extractall(tmp_path / "v")
    return tmp_path / "v"
