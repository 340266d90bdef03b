"""Vectors whose clusters, near duplicates and groups are known, at any size.

Embeddings of audio lie in clusters and vary in few directions within each, about a common
offset. So do these: centres of ``CLUSTER_SIZE`` vectors, differences within a cluster in
``WITHIN`` directions common to all, and a little of every direction. Isotropic clusters were
tried: every index finds everything in them, or nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.workspace import Workspace

DIM = 384
CLUSTER_SIZE = 250
WITHIN = 32
SPREAD = 0.8
NOISE = 0.15
DOMAINS = (("speech", 0.55), ("sound", 0.3), ("music", 0.14), ("effects", 0.01))
"""Domains and their shares; a cluster is of one domain, which is what misleads graphs."""
COPY_EVERY = 1000
"""One row in so many is nearly a copy of the row before it."""
COPY_NOISE = 1e-3
PAGE_ROWS = 50_000
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Planted:
    """Clips ``c0000000`` and on: what is known of each, and how its vectors are made."""

    n: int
    dim: int
    seed: int
    cluster: npt.NDArray[np.int64]
    """Shape [clip]: from 0 on."""

    @property
    def clip_ids(self) -> list[str]:
        """The name of each clip, ascending."""
        return [f"c{i:07}" for i in range(self.n)]

    @property
    def n_clusters(self) -> int:
        """How many clusters there are, none of them empty only by chance."""
        return n_clusters_of(self.n)

    @property
    def domain(self) -> npt.NDArray[np.str_]:
        """Shape [clip]; clusters are dealt to domains by their shares."""
        ends = np.cumsum([share for _, share in DOMAINS])
        place = (np.arange(self.n_clusters) + 0.5) / self.n_clusters
        names = np.array([name for name, _ in DOMAINS])
        kinds: npt.NDArray[np.str_] = names[np.searchsorted(ends, place).clip(max=len(names) - 1)]
        return kinds[self.cluster]

    @property
    def copies(self) -> npt.NDArray[np.int64]:
        """Rows that are nearly the row before them."""
        return np.arange(COPY_EVERY - 1, self.n, COPY_EVERY)

    def pages(self, rows: int = PAGE_ROWS) -> Iterator[FloatArray]:
        """The vectors [clip, dim], so many rows at a time; the same each time for the same ``rows``."""
        rng = np.random.default_rng(self.seed + 1)
        centres = rng.standard_normal((self.n_clusters, self.dim), dtype=np.float32)
        within = rng.standard_normal((WITHIN, self.dim), dtype=np.float32)
        within *= SPREAD / np.sqrt(np.arange(1, WITHIN + 1, dtype=np.float32)[:, None])
        for start in range(0, self.n, rows):
            cluster = self.cluster[start : start + rows]
            page = centres[cluster] + 0.3
            page += rng.standard_normal((len(cluster), WITHIN), dtype=np.float32) @ within
            page += NOISE * rng.standard_normal(page.shape, dtype=np.float32)
            copies = self.copies[(self.copies >= start) & (self.copies < start + rows)] - start
            page[copies] = page[copies - 1]
            page[copies] += COPY_NOISE * rng.standard_normal(page[copies].shape, dtype=np.float32)
            yield page

    def vectors(self) -> FloatArray:
        """All vectors, shape [clip, dim]."""
        made = np.empty((self.n, self.dim), np.float32)
        start = 0
        for page in self.pages():
            made[start : start + len(page)] = page
            start += len(page)
        return made


def plant(n: int, dim: int = DIM, seed: int = 0) -> Planted:
    """Clips with clusters dealt at random: the same for every seed, which is of the vectors.

    >>> planted = plant(1000, dim=8)
    >>> planted.vectors().shape, len(planted.copies), sorted(set(planted.domain.tolist()))
    ((1000, 8), 1, ['music', 'sound', 'speech'])
    """
    cluster = np.random.default_rng(0).integers(n_clusters_of(n), size=n)
    cluster[COPY_EVERY - 1 :: COPY_EVERY] = cluster[COPY_EVERY - 2 : -1 : COPY_EVERY]
    return Planted(n=n, dim=dim, seed=seed, cluster=cluster)


def n_clusters_of(n: int) -> int:
    """How many clusters so many clips are dealt to."""
    return max(4, n // CLUSTER_SIZE)


def write_manifest(planted: Planted, path: Path) -> None:
    """The clips as Parquet for ``--clips``: domain, recording, label, and ``place``.

    ``place`` is the number of the cluster in thousandths of all of them: a condition on it
    leaves whole clusters, as a domain does.
    """
    place = planted.cluster * 1000 // planted.n_clusters
    columns = {
        "clip_id": planted.clip_ids,
        "domain": planted.domain,
        "cluster_id": [f"r{i:06}" for i in range(0, planted.n, 4) for _ in range(4)][: planted.n],
        "label": [f"k{c:05}" for c in planted.cluster],
        "place": [str(p) for p in place],
    }
    pq.write_table(pa.table({name: pa.array(values) for name, values in columns.items()}), path)


def write_vectors(planted: Planted, path: Path, encoder: str, layer: int = 0) -> None:
    """The vectors as Parquet for ``import-embeddings``, a page at a time."""
    writer: pq.ParquetWriter | None = None
    start = 0
    for page in planted.pages():
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(page.ravel()), planted.dim)
        table = pa.table(
            {
                "clip_id": [f"c{i:07}" for i in range(start, start + len(page))],
                "encoder": pa.array([encoder] * len(page)),
                "layer": pa.array([layer] * len(page), pa.int32()),
                "vector": vectors.cast(pa.list_(pa.float32())),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        start += len(page)
    if writer is not None:
        writer.close()


def workspace_of(planted: Planted, folder: Path) -> Workspace:
    """A workspace of the clips, without any vector; segment i is clip i."""
    folder.mkdir(parents=True, exist_ok=True)
    write_manifest(planted, folder / "clips.parquet")
    workspace = Workspace.create(folder / "workspace")
    import_clips_without_audio(workspace, folder / "clips.parquet")
    return workspace
