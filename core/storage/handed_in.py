"""Files that somebody handed in, as by a browser: kept in the workspace, to be imported from there."""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from usad_workbench.core.errors import wrap_errors
from usad_workbench.core.files import written_at_once
from usad_workbench.core.storage.slugs import readable_slug
from usad_workbench.core.storage.sources import SourceClip
from usad_workbench.core.storage.workspace import Workspace

HANDED_IN = "handed-in"
"""The folder of the workspace that they lie in."""
MAX_DEPTH = 4
"""Folders of a file's path that are kept, the innermost ones."""


def keep_files(workspace: Workspace, files: Iterable[tuple[str, bytes]]) -> list[SourceClip]:
    """Writes files into the workspace, each in folders of its own names; where they are.

    Names are data: what is no letter or digit becomes a hyphen, so none leads out of the folder. A
    file of equal name and other content has its hash in its name.

    Args:
        workspace: Where to.
        files: Name, perhaps with folders before it, and content of each.

    Raises:
        StoreError: the disk is full, or must not be written to.
    """
    kept = []
    for name, content in files:
        path = workspace.folder / HANDED_IN / relative_path(name)
        if path.exists() and path.read_bytes() != content:
            digest = hashlib.sha256(content).hexdigest()[:8]
            path = path.with_name(f"{path.stem}-{digest}{path.suffix}")
        with wrap_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                with written_at_once(path) as partial:
                    partial.write_bytes(content)
        kept.append(SourceClip(path=path))
    return kept


def relative_path(name: str) -> Path:
    """Where a file of a name lies below the folder.

    >>> relative_path("../../etc/dog bark.WAV").as_posix(), relative_path("a/b/c.flac").as_posix()
    ('etc/dog-bark.WAV', 'a/b/c.flac')
    """
    *folders, file = PurePosixPath(name.replace("\\\\", "/")).parts or ("",)
    stem = readable_slug(PurePosixPath(file).stem) or "clip"
    slugs = [slug for folder in folders if (slug := readable_slug(folder))]
    suffix = readable_slug(PurePosixPath(file).suffix.lstrip("."), 8)
    return Path(*slugs[-MAX_DEPTH:], f"{stem}.{suffix}" if suffix else stem)
