"""A selection as a file: a table, or its sounds in one archive."""

import re
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from usad_workbench.core.errors import ConfigError, UsadError
from usad_workbench.core.storage.csv_cells import write_csv
from usad_workbench.core.storage.exporting import file_name_of
from usad_workbench.core.storage.segment_frame import flat, segment_frame
from usad_workbench.core.storage.segment_table import Ids
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.vector_reading import rows_of
from usad_workbench.workbench.instrument.collection import View
from usad_workbench.workbench.instrument.sounds import Sounds
from usad_workbench.workbench.presenters.sound import wav_bytes

FORMATS = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "wav": "application/zip"}
MAX_SOUNDS = 5000
MAX_ROWS = 1_000_000


def export(
    view: View, sounds: Sounds, segment_ids: Ids, kind: str, space: SpaceName | None
) -> Path:
    """Writes segments to a new temporary file, which is the caller's to remove.

    Args:
        view: Of the collection.
        sounds: What was decoded already.
        segment_ids: What is written.
        kind: ``csv``, ``parquet`` (with the vectors of the space, where one is named), or
            ``wav``: an archive of one file for each segment, and ``manifest.csv``.
        space: Adds the coordinates of its map.

    Raises:
        ConfigError: no such format, nothing selected, or too much for it.
    """
    if kind not in FORMATS:
        raise ConfigError(f"Found format={kind[:40]!r}, expected {', '.join(FORMATS)}.")
    most = MAX_SOUNDS if kind == "wav" else MAX_ROWS
    if not 1 <= len(segment_ids) <= most:
        raise ConfigError(
            f"Found {len(segment_ids):,} selected segments, expected 1 to {most:,} of them as "
            f"{kind}. `usad export` writes any number."
        )
    frame = segment_frame(view.workspace, segment_ids, space)
    with tempfile.NamedTemporaryFile(prefix="usad-", suffix=f".{kind}", delete=False) as file:
        path = Path(file.name)
    try:
        if kind == "csv":
            write_csv(flat(frame), path)
        elif kind == "parquet":
            _with_vectors(view, frame, space).to_parquet(path, index=False)
        else:
            _write_archive(view, sounds, frame, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _with_vectors(view: View, frame: pd.DataFrame, space: SpaceName | None) -> pd.DataFrame:
    if space is None:
        return frame
    stored = view.workspace.embeddings(space.encoder, space.layer, space.pooling)
    is_there = frame["segment_id"].isin(stored.segment_ids)
    rows = rows_of(stored.segment_ids, frame["segment_id"].to_numpy())
    vectors = pd.Series(list(stored.vectors[rows]), index=frame.index[is_there], dtype=object)
    return frame.assign(vector=vectors)


def _write_archive(view: View, sounds: Sounds, frame: pd.DataFrame, path: Path) -> None:
    names: list[str] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, row in enumerate(frame.itertuples(index=False)):
            try:
                wav = wav_bytes(sounds.of_segment(view.workspace, int(row.segment_id)))
            except UsadError as error:
                names.append("")
                archive.writestr(f"missing/{number:06d}.txt", str(error))
                continue
            stem = Path(file_name_of(number, str(row.clip_id))).stem
            names.append(f"{stem}_{row.start_s:.3f}_{row.end_s:.3f}.wav")
            archive.writestr(names[-1], wav)
        manifest = write_csv(flat(frame.assign(path=names)))
        archive.writestr("manifest.csv", manifest or "")


def download_name(words: Sequence[str], kind: str) -> str:
    """A name for the file, of letters and digits alone.

    >>> download_name(["my workspace", "128 segments"], "wav")
    'my-workspace-128-segments.zip'
    """
    stem = re.sub(r"[^A-Za-z0-9]+", "-", " ".join(words)).strip("-") or "selection"
    return f"{stem}.{'zip' if kind == 'wav' else kind}"
