"""FAISS indexes over a workspace's spaces, and what is computed from their neighbours.

``update_index`` and ``search`` for nearest segments, ``project`` for maps.
"""

from importlib.metadata import version

from usad_workbench.indexes.evaluation import IndexEvaluation, evaluate_index
from usad_workbench.indexes.faiss_index import Kind, VectorIndex
from usad_workbench.indexes.files import open_index
from usad_workbench.indexes.projection import ProjectionReport, project, project_space
from usad_workbench.indexes.spaces import IndexReport, search, update_index

__all__ = [
    "IndexEvaluation",
    "IndexReport",
    "Kind",
    "ProjectionReport",
    "VectorIndex",
    "__version__",
    "evaluate_index",
    "open_index",
    "project",
    "project_space",
    "search",
    "update_index",
]

__version__ = version("usad-workbench")
