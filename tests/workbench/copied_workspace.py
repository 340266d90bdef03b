"""Copies of workspaces that all tests share, for those that write."""

import shutil
from pathlib import Path

from usad_workbench.core.storage.workspace import Workspace


def copy_into(folder: Path, workspace: Workspace) -> Workspace:
    """A copy with the sounds that lie beside it, in a folder that is there."""
    shutil.copytree(workspace.folder.parent, folder / "all")
    return Workspace.open(folder / "all" / workspace.folder.name)
