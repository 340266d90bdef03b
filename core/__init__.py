"""The library: audio, encoders, measures, workspaces.

Put ``usad_workbench.`` before the folder path: ``core/storage/store.py`` is
``usad_workbench.core.storage.store``. The two names most people need are here; they
are imported when first used, so that ``usad --help`` and the measures stay light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from usad_workbench.core.encoders.registry import load_encoder
    from usad_workbench.core.storage.workspace import Workspace

__all__ = ["Workspace", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name == "load_encoder":
        from usad_workbench.core.encoders.registry import load_encoder

        return load_encoder
    if name == "Workspace":
        from usad_workbench.core.storage.workspace import Workspace

        return Workspace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
