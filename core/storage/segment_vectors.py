"""The stored vector of one segment."""

import numpy as np

from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.vector_reading import rows_of
from usad_workbench.core.storage.workspace import FloatArray, Workspace, find_space


def vector_of_segment(workspace: Workspace, segment_id: int, name: SpaceName) -> FloatArray:
    """The vector [dim] of a segment in a space.

    Raises:
        UnknownNameError: no such space, or no vector of this segment in it.
    """
    with workspace.database.read() as connection:
        space = find_space(connection, name.encoder, name.layer, name.pooling)
        if arrays := workspace.array_file(space).open():
            rows = rows_of(arrays.segment_ids, np.array([segment_id]))
            stored = arrays.vectors[rows]
        else:
            stored = connection.execute(
                f"SELECT vector FROM vectors_{space.space_id} WHERE segment_id = ?", [segment_id]
            ).fetchnumpy()["vector"]
    if not len(stored):
        raise UnknownNameError(
            f"The segment {segment_id} has no vector of {name.encoder} layer {name.layer}. "
            f"`usad embed --encoders {name.encoder}` makes it."
        )
    vector: FloatArray = stored[0]
    return vector
