"""The nearest other recording to a segment, as one encoder sees it."""

from usad_workbench.core.storage.schema import literal
from usad_workbench.core.storage.segment_vectors import vector_of_segment
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import search


def nearest_segments(
    workspace: Workspace, encoder: str, layer: int, segment_id: int, *, domain: str, k: int = 1
) -> list[int]:
    """The k nearest segments of other clusters in a domain, nearest first.

    Raises:
        UnknownNameError: no vector of this segment there.
    """
    space = SpaceName(encoder, layer, "mean")
    own = workspace.read(
        "SELECT cluster_id FROM segments_of_clips WHERE segment_id = ?", [segment_id]
    )
    cluster = str(own["cluster_id"].iloc[0])
    found = search(
        workspace,
        vector_of_segment(workspace, segment_id, space),
        encoder,
        layer,
        k=k,
        where=f"domain = {literal(domain)} AND cluster_id <> {literal(cluster)}",
    )
    return [int(one) for one in found.segment_ids]
