"""Search over a workspace's spaces, their FAISS indexes, and what is computed from neighbours.

``update_index`` and ``search`` for nearest segments, ``project`` for maps. Names are imported
when they are asked for: a search needs neither the libraries of maps nor torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usad_workbench.indexes.evaluation import IndexEvaluation, evaluate_index
    from usad_workbench.indexes.faiss_index import VectorIndex
    from usad_workbench.indexes.files import open_index
    from usad_workbench.indexes.plans import BuildConfig, Kind
    from usad_workbench.indexes.projection import ProjectionReport, project, project_space
    from usad_workbench.indexes.spaces import IndexReport, search, search_many, update_index
    from usad_workbench.indexes.torch_search import exact_search, neighbour_lists

__all__ = [
    "BuildConfig",
    "IndexEvaluation",
    "IndexReport",
    "Kind",
    "ProjectionReport",
    "VectorIndex",
    "__version__",
    "evaluate_index",
    "exact_search",
    "neighbour_lists",
    "open_index",
    "project",
    "project_space",
    "search",
    "search_many",
    "update_index",
]

__version__ = version("usad-workbench")

_MODULES = {
    "evaluation": ("IndexEvaluation", "evaluate_index"),
    "faiss_index": ("VectorIndex",),
    "files": ("open_index",),
    "plans": ("BuildConfig", "Kind"),
    "projection": ("ProjectionReport", "project", "project_space"),
    "spaces": ("IndexReport", "search", "search_many", "update_index"),
    "torch_search": ("exact_search", "neighbour_lists"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
