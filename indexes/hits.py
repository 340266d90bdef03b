"""What a search gives back."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """Best first; shape [query, k]. Ids of -1 fill up where fewer were found."""

    ids: Ids
    scores: FloatArray
