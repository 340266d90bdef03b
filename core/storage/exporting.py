"""Out of a workspace: vectors as Parquet or CSV, clips as WAV, in pieces of bounded size.

Everything lands in one new folder under names that are made here: what a clip or an
encoder is called is data and decides no path.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import soundfile

from usad_workbench.core.audio.reading import all_blocks, open_sound
from usad_workbench.core.errors import ConfigError, StoreError, UsadError, wrap_errors
from usad_workbench.core.files import new_folder
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.clip_audio import unchanged
from usad_workbench.core.storage.csv_cells import neutral, write_csv
from usad_workbench.core.storage.importing import Failure
from usad_workbench.core.storage.segment_frame import flat, segment_frame
from usad_workbench.core.storage.slugs import readable_slug
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.vector_tables import matrix_of
from usad_workbench.core.storage.workspace import FloatArray, Workspace

PAGE_ROWS = 16_384
"""Vectors in memory at a time; between pages the workspace is free for writers."""
TableFormat = Literal["parquet", "csv"]
Neighbours = Callable[[FloatArray], tuple[npt.NDArray[np.int64], FloatArray]]
"""From vectors [row, dim] to the nearest other rows and their distances, both [row, neighbour]."""


def export_space(
    workspace: Workspace,
    encoder: str,
    layer: int,
    folder: str | Path,
    kind: TableFormat = "parquet",
    *,
    where: str | None = None,
    neighbours: Neighbours | None = None,
    progress: Progress = no_progress,
) -> list[Path]:
    """Writes the vectors of one space with pooling ``mean``, and what is known of their segments.

    Columns are ``encoder, layer``, those of ``segment_frame`` (among them ``segment_id, clip_id,
    path, label, domain, start_s, end_s, tags``, and ``x, y`` where the space has a map), and
    ``vector`` (CSV: ``v0, v1, ...``). ``neighbors`` is what embedding-atlas reads: places of the
    nearest rows in this table, and their cosine distances; Parquet alone holds it. ``space.json``
    beside it, and the metadata of the Parquet file, hold the space's provenance.

    Args:
        workspace: Where the vectors are.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        folder: A new or empty folder.
        kind: Of the table.
        where: SQL condition on the columns of ``clips``.
        neighbours: Finds the nearest rows of each row of some vectors; none are written without.
        progress: Told the rows that are done.

    Raises:
        UnknownNameError: no such space.
        QueryError: a condition that is not SQL.
        ConfigError: nothing was selected, or something is in the folder already.
    """
    space_id = workspace.space_id(encoder, layer)
    record = workspace.read("SELECT * FROM spaces WHERE space_id = ?", [space_id]).iloc[0].to_dict()
    record = json.loads(json.dumps(record, default=_plain))
    name = SpaceName(encoder, int(record["layer"]), str(record["pooling"]))
    pages = _with_segments(workspace, name, _vector_pages(workspace, record, where))
    if neighbours is not None and kind == "parquet":
        stored = workspace.embeddings(encoder, layer, where=where)
        pages = _with_neighbours(pages, stored.segment_ids, *neighbours(stored.vectors))
    with new_folder(folder) as partial:
        path = partial / f"vectors.{kind}"
        write = _write_parquet if kind == "parquet" else _write_csv
        write(path, _reported(pages, record, progress), record)
        text = json.dumps(record, indent=2, ensure_ascii=False)
        (partial / "space.json").write_text(text + "\n", encoding="utf-8")
    return sorted(Path(folder).iterdir())


def export_clips(
    workspace: Workspace,
    where: str,
    folder: str | Path,
    kind: Literal["wav", "parquet", "csv"] = "wav",
    *,
    progress: Progress = no_progress,
) -> tuple[list[Path], list[Failure]]:
    """Writes a selection of clips: their audio, or the table of them.

    Audio keeps its rate and channels, as 32-bit floats, which hold every sample that was
    decoded. ``manifest.csv`` names each file's clip and can be imported again.

    Args:
        workspace: Where the clips are.
        where: SQL condition on the columns of ``clips``; ``true`` for all.
        folder: A new or empty folder.
        kind: ``wav``, or the table alone.
        progress: Told the clips that are done.

    Returns:
        The files, and the clips whose audio could not be read.

    Raises:
        QueryError: a condition that is not SQL.
        ConfigError: nothing was selected, or something is in the folder already.
    """
    clips = workspace.clips(where)
    if clips.empty:
        raise ConfigError(f"No clip fulfils {where!r}. Ask for something that `clips` holds.")
    failed: list[Failure] = []
    with new_folder(folder) as partial:
        if kind == "parquet":
            clips.to_parquet(partial / "clips.parquet", index=False)
        elif kind == "csv":
            write_csv(clips, partial / "clips.csv")
        else:
            failed = _write_audio(workspace, clips, partial, progress)
    return sorted(Path(folder).iterdir()), failed


def file_name_of(number: int, clip_id: str) -> str:
    """A file name for a clip, whatever its id holds.

    >>> file_name_of(3, "../../etc/passwd"), file_name_of(4, "voice é 1")
    ('000003-etc-passwd.wav', '000004-voice-é-1.wav')
    """
    slug = readable_slug(clip_id.replace(".", " "))
    return f"{number:06d}-{slug}.wav" if slug else f"{number:06d}.wav"


def _write_audio(
    workspace: Workspace, clips: pd.DataFrame, folder: Path, progress: Progress
) -> list[Failure]:
    written, failed = [], []
    for number, row in enumerate(clips.to_dict("records")):
        name = file_name_of(number, str(row["clip_id"]))
        if not row["path"]:
            reason = "The clip was imported without audio: export it as parquet or csv."
            failed.append(Failure(path=str(row["clip_id"]), reason=reason))
            continue
        try:
            source = unchanged(workspace.audio_path(str(row["path"])), row["audio_sha256"])
            with wrap_errors(source):
                _copy_as_wav(source, folder / name)
            written.append({**row, "path": name})
        except (UsadError, soundfile.LibsndfileError) as error:
            (folder / name).unlink(missing_ok=True)
            failed.append(Failure(path=str(row["path"]), reason=str(error)))
        progress(number + 1, len(clips), "clips")
    write_csv(pd.DataFrame(written, columns=clips.columns), folder / "manifest.csv")
    return failed


def _copy_as_wav(source: Path, target: Path) -> None:
    """Copies all that was imported of a file: by the same decoder, to the same end."""
    with (
        open_sound(source) as sound,
        soundfile.SoundFile(
            str(target), "w", sound.sample_rate_hz, sound.n_channels, subtype="FLOAT", format="WAV"
        ) as copy,
    ):
        for block in all_blocks(source, sound):
            copy.write(block)


def _vector_pages(
    workspace: Workspace, record: dict[str, Any], where: str | None
) -> Iterator[pa.Table]:
    # One query a page: nothing keeps the database open while files are written.
    clip_ids = workspace.clip_ids(where)
    query = (
        "SELECT $encoder AS encoder, $layer::INTEGER AS layer, v.segment_id, v.vector "
        f"FROM vectors_{record['space_id']} v "
        "JOIN segments s USING (segment_id) "
        f"WHERE {{chosen}} AND v.segment_id > $last ORDER BY v.segment_id LIMIT {PAGE_ROWS}"
    )
    values = {"encoder": record["encoder"], "layer": record["layer"], "last": -(2**62)}
    while True:
        with workspace.among(clip_ids) as (connection, chosen):
            page: Any = connection.sql(query.format(chosen=chosen), params=values).to_arrow_table()
        is_first = values["last"] == -(2**62)
        if is_first and not page.num_rows and where is not None:
            raise ConfigError(
                f"No vector of {record['encoder']} layer {record['layer']} is of a clip that "
                f"fulfils {where!r}. Ask for something that `clips` holds."
            )
        if page.num_rows or is_first:
            yield page
        if page.num_rows < PAGE_ROWS:
            return
        values["last"] = page["segment_id"][-1].as_py()


def _with_segments(
    workspace: Workspace, name: SpaceName, pages: Iterator[pa.Table]
) -> Iterator[pa.Table]:
    """Pages with all that is known of their segments between encoder and vector."""
    schema: pa.Schema | None = None
    for page in pages:
        frame = segment_frame(workspace, page["segment_id"].to_numpy(), name)
        if len(frame) < page.num_rows:  # clips were deleted since the page was read
            page = page.filter(pc.is_in(page["segment_id"], pa.array(frame["segment_id"])))
        known = pa.Table.from_pandas(frame, preserve_index=False)
        if schema is None:  # a page without a value says nothing of a column's type
            kinds = {"tags": pa.list_(pa.string())}
            fields = [
                pa.field(one.name, kinds.get(one.name, one.type))
                if not pa.types.is_null(one.type)
                else pa.field(one.name, pa.string())
                for one in known.schema
            ]
            schema = pa.schema(fields)
        known = known.cast(schema)
        columns = {one: page[one] for one in ("encoder", "layer")}
        yield pa.table(columns | {one: known[one] for one in known.column_names}).append_column(
            page.schema.field("vector"), page["vector"]
        )


def _with_neighbours(
    pages: Iterator[pa.Table],
    segment_ids: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    distances: FloatArray,
) -> Iterator[pa.Table]:
    start = 0
    for page in pages:
        at = slice(start, start + page.num_rows)
        if not np.array_equal(segment_ids[at], page["segment_id"].to_numpy()):
            raise StoreError(
                "Vectors came or went while they were exported, so that neighbours are of others. "
                "Run the same command again when nobody writes."
            )
        near = pa.StructArray.from_arrays(
            [_lists(rows[at]), _lists(distances[at])], ["ids", "distances"]
        )
        yield page.append_column("neighbors", near)
        start += page.num_rows


def _lists(values: npt.NDArray[Any]) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(offsets, values.ravel())


def _reported(
    pages: Iterator[pa.Table], record: dict[str, Any], progress: Progress
) -> Iterator[pa.Table]:
    done = 0
    for page in pages:
        yield page
        done += page.num_rows
        progress(done, max(done, int(record["n"])), "vectors")


def _write_parquet(path: Path, pages: Iterator[pa.Table], record: dict[str, Any]) -> None:
    first = next(pages)
    schema = first.schema.with_metadata({"usad_space": json.dumps(record)})
    with pq.ParquetWriter(path, schema) as writer:
        writer.write_table(first.cast(schema))
        for page in pages:
            writer.write_table(page.cast(schema))


def _write_csv(path: Path, pages: Iterator[pa.Table], record: dict[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns: list[str] = []
        for page in pages:
            if not columns:
                columns = [name for name in page.column_names if name != "vector"]
                writer.writerow([*columns, *(f"v{i}" for i in range(int(record["dim"])))])
            rows = flat(page.select(columns).to_pandas()).to_dict("records")
            for row, vector in zip(rows, matrix_of(page["vector"]), strict=True):
                # Nine digits give back the same float32.
                writer.writerow(
                    [*map(neutral, row.values()), *(f"{value:.9g}" for value in vector)]
                )


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
