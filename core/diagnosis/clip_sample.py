"""Which clips stand for a domain, and their vectors: whole clusters, drawn with the seed.

Panels that read vectors compare clips with clips, refit probes for nulls, or both. Each takes at
most a stated number of clips of a domain: all clips below that number, above it whole clusters in a
seeded order. Domains are drawn one by one. So no panel grows with the collection but those of
neighbours, which compare the sample with all clips: the k nearest of a sample would lie further
away, and the excess of a planted device fell from 0.134 (360 clips) to 0.093 (150).
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from usad_workbench.core.arrays import Indices
from usad_workbench.core.diagnosis.rules import MIN_CLIPS
from usad_workbench.core.similarity.layers import thin_clusters
from usad_workbench.core.storage.clip_vectors import ClipVectors, clip_vectors
from usad_workbench.core.storage.workspace import Workspace

MAX_KEPT_BYTES = 10**9
"""Vectors that one process keeps between panels; an array that is larger is kept alone."""


class ClipSample:
    """Row numbers of the clips that stand for each domain, and vectors of these clips."""

    def __init__(self, clips: pd.DataFrame, sizes: Sequence[int], seed: int) -> None:
        """Takes the clips; nothing is drawn or read yet.

        Args:
            clips: ``clip_id, domain, cluster_id``.
            sizes: How many clips of a domain panels may ask for; the first stands for a domain.
            seed: Decides which clusters stand for a larger domain.
        """
        self._ids = clips.clip_id.to_numpy()
        self._domains = clips.domain.astype(str).to_numpy(dtype=object)
        self._clusters = clips.cluster_id.astype(str).to_numpy(dtype=object)
        self._sizes = tuple(sizes)
        self._seed = seed
        self._drawn: dict[tuple[str, int], Indices] = {}
        self._vectors: dict[tuple[str, int], ClipVectors] = {}

    def __getstate__(self) -> dict[str, object]:
        """Without vectors: a process that gets a copy reads what it needs."""
        return self.__dict__ | {"_vectors": {}}

    def all_of(self, *domains: str) -> Indices:
        """Row numbers of every clip of these domains, ascending."""
        return np.flatnonzero(np.isin(self._domains, domains))

    def of_domain(self, domain: str, max_clips: int) -> Indices:
        """Row numbers of at most ``max_clips`` clips of a domain, in whole clusters, ascending.

        Raises:
            ShapeError: fewer than 4 clips asked for.
        """
        if (domain, max_clips) not in self._drawn:
            rows = self.all_of(domain)
            chosen = thin_clusters(self._clusters[rows].tolist(), max_clips, self._seed)
            self._drawn[domain, max_clips] = rows[chosen]
        return self._drawn[domain, max_clips]

    @cached_property
    def rows(self) -> Indices:
        """Row numbers of all clips that stand for their domain, ascending."""
        names = dict.fromkeys(self._domains.tolist())
        drawn = [self.of_domain(name, size) for name in names for size in self._sizes]
        return np.unique(np.concatenate(drawn)).astype(np.intp)

    def across(self, domains: Sequence[str]) -> Indices:
        """Row numbers of clips of several domains, ascending, as many in all as of one domain.

        Each domain keeps its share of the clips.
        """
        counts = {name: int(np.sum(self._domains == name)) for name in domains}
        share = min(1.0, self._sizes[0] / sum(counts.values()))
        rows = [
            self.of_domain(name, n if share == 1 else max(MIN_CLIPS, int(share * n)))
            for name, n in counts.items()
        ]
        return np.sort(np.concatenate(rows))

    def vectors(
        self, workspace: Workspace, encoder: str, layer: int, rows: Indices | None = None
    ) -> ClipVectors:
        """One vector per clip `[clip, dim]`, float32.

        Those of ``rows`` are kept for the next panel, up to ``MAX_KEPT_BYTES``; other clips are
        read anew.

        Args:
            workspace: Where from.
            encoder: Whose vectors.
            layer: Of that encoder.
            rows: Row numbers; every clip where none.
        """
        asked = np.arange(len(self._ids)) if rows is None else rows
        places = np.minimum(np.searchsorted(self.rows, asked), len(self.rows) - 1)
        if not np.array_equal(self.rows[places], asked):
            return clip_vectors(workspace, encoder, layer, self._ids[asked].tolist())
        kept = self._kept(workspace, encoder, layer)
        return kept if rows is None else kept[places]

    def _kept(self, workspace: Workspace, encoder: str, layer: int) -> ClipVectors:
        key = (encoder, layer)
        if key not in self._vectors:
            ids = self._ids[self.rows].tolist()
            self._vectors[key] = clip_vectors(workspace, encoder, layer, ids)
            n_bytes = sum(x.nbytes for x in self._vectors.values())
            for oldest in list(self._vectors)[:-1]:
                if n_bytes > MAX_KEPT_BYTES:
                    n_bytes -= self._vectors.pop(oldest).nbytes
        return self._vectors[key]

    def describe(self, domains: Sequence[str]) -> list[str]:
        """A warning that names the domains of which not every clip is looked at; none else."""
        few = [(name, len(self.of_domain(name, self._sizes[0]))) for name in domains]
        counts = {name: int(np.sum(self._domains == name)) for name in domains}
        thinned = [f"{name} ({n:,} of {counts[name]:,})" for name, n in few if n < counts[name]]
        if not thinned:
            return []
        words = (
            f"vectors are compared on some of the clips, whole clusters drawn with seed {self._seed}: "
            f"{', '.join(thinned)}; each row says how many; intervals are those of that many clips. "
            "Their neighbours are searched among all clips. Mistakes, groups and routing rest on all"
        )
        return [words]
