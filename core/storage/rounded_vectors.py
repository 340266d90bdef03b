"""A small Parquet file of vectors that are rounded to half precision, as the package ships them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from usad_workbench.core.files import written_at_once


def write_rounded_vectors(path: Path, table: pa.Table) -> None:
    """Writes a table as ``import-embeddings`` takes it; rounded values take two bytes.

    Args:
        path: The file, which appears as a whole.
        table: With a column ``vector``, lists of float32 that were rounded to float16.
    """
    with written_at_once(path) as partial:
        # The lower bytes of rounded values are nearly nothing once they stand side by side.
        pq.write_table(
            table,
            partial,
            compression="zstd",
            compression_level=19,
            use_dictionary=[name for name in table.column_names if name != "vector"],
            column_encoding={"vector.list.element": "BYTE_STREAM_SPLIT"},
        )
