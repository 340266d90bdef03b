"""Real clips of three domains and one unseen domain, with their licences, and the scripts that made them.

What is here: ``manifest.csv`` (one row per clip), ``tasks.csv``, ``clips/LICENCE/…``, ``LICENSES``,
``ATTRIBUTION.md``. ``build`` makes all of it again from pinned Debian packages; ``corpus`` makes the larger
corpus for distillation, which shares no recording with these clips.
"""

from importlib.resources import files
from pathlib import Path


def sample_data_folder() -> Path:
    """The folder that holds manifest.csv, for an installed package and for a checkout alike."""
    return Path(str(files(__name__)))
