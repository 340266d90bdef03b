"""What is written comes back, and rounded values take about two bytes each."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from usad_workbench.core.storage.rounded_vectors import write_rounded_vectors


def test_rounded_values_take_two_bytes_and_come_back(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float16).astype(np.float32)
    table = pa.table(
        {
            "clip_id": [f"c{i}" for i in range(len(vectors))],
            "vector": pa.array(list(vectors), pa.list_(pa.float32())),
        }
    )
    path = tmp_path / "v.parquet"
    write_rounded_vectors(path, table)
    assert pq.read_table(path).equals(table)
    assert path.stat().st_size < 2.2 * vectors.size
    assert [file.name for file in tmp_path.iterdir()] == ["v.parquet"]
