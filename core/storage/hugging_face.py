"""Audio data sets of the Hugging Face library on disk, read by pyarrow alone.

Three layouts: a folder of ``Dataset.save_to_disk`` (``state.json`` and Arrow streams), one of
``DatasetDict.save_to_disk`` (``dataset_dict.json`` and a folder for each split), and folders of
Parquet files as on the hub (``data/train-00000-of-00002.parquet``, ``default/train/0000.parquet``).
The audio is a column of structs with ``bytes`` and ``path``. Classes come by their names, other
columns of single values as fields, the split as ``split``.

Arrow files are mapped into memory, so that a shard may be larger than it. Of Parquet one row group
is held at a time: one of 300 MB took 1.1 GB, whether it was mapped or read in pieces. The library
writes groups of a hundred sounds.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from usad_workbench.core.audio.folders import walk
from usad_workbench.core.errors import (
    ConfigError,
    DamagedFileError,
    UsadError,
    printable,
    wrap_errors,
)
from usad_workbench.core.storage.clip_fields import refuse_collisions
from usad_workbench.core.storage.packs import PackedSound
from usad_workbench.core.storage.table_file import text_of

SUFFIXES = frozenset({".arrow", ".parquet"})
STATE = "state.json"
"""What ``save_to_disk`` says of the files of one split."""
SPLITS = frozenset({"train", "test", "validation", "valid", "val", "dev", "eval"})
PARQUET_ROWS = 16
"""That are read at once."""
_SHARD = re.compile(r"(?P<split>.+?)-\d{4,}(-of-\d{4,})?(-[0-9a-f]+)?$")


class HuggingFaceDataset:
    """A data set on disk as a pack."""

    def __init__(self, path: Path, shards: Sequence[tuple[Path, str]]) -> None:
        self.path = path
        self.dataset = path.stem if path.is_file() else path.resolve().name
        self.left_out: dict[str, int] = Counter()
        self._shards = shards

    def sounds(self) -> Iterator[PackedSound]:
        """Its rows in the order of the shards; a shard that is damaged is one with a fault."""
        for shard, split in self._shards:
            try:
                with wrap_errors(shard):
                    yield from self._rows(shard, split)
            except UsadError as error:
                name = "" if shard == self.path else str(shard.relative_to(self.path))
                yield PackedSound(name=name, fault=str(error))

    def _rows(self, shard: Path, split: str) -> Iterator[PackedSound]:
        number = 0
        if shard.name == STATE:
            raise DamagedFileError(
                f"This split is missing: its {STATE} is not there or names no files. Copy or save "
                "the data set again."
            )
        for batch in _batches(shard):
            audio = _audio_column(batch.schema)
            if not audio:
                raise ConfigError(
                    f"{shard} has the columns {', '.join(batch.schema.names)}, expected one of "
                    "audio: structs of bytes and path. Name another data set."
                )
            names = [name for name in batch.schema.names if name != audio]
            single = [name for name in names if _is_single(batch.schema.field(name).type)]
            refuse_collisions(single, shard)
            for name in set(names) - set(single):
                self.left_out[f"column {name}"] = 1
            classes = _classes(batch.schema)
            column = batch.column(audio)
            for row in range(batch.num_rows):
                cells = {name: batch.column(name)[row].as_py() for name in single}
                fields = _fields(cells, classes)
                yield self._sound(
                    column[row],
                    f"{split or shard.stem}-{number:06d}",
                    {"split": split, **fields} if split else fields,
                )
                number += 1

    def _sound(self, audio: Any, name: str, fields: dict[str, str]) -> PackedSound:
        content, path = (audio[part] if audio.is_valid else None for part in ("bytes", "path"))
        given = str(path.as_py() or "") if path is not None and path.is_valid else ""
        if content is not None and content.is_valid:
            data = content.as_buffer()
            return PackedSound(
                name=Path(given).name or name,
                n_bytes=data.size,
                content=pa.BufferReader(data),
                fields=fields,
            )
        if not given:
            return PackedSound(name=name, fields=fields, fault="It has neither bytes nor a path.")
        base = self.path if self.path.is_dir() else self.path.parent
        return PackedSound(name=given, path=base / given, fields=fields)


def find_dataset(path: Path) -> HuggingFaceDataset | None:
    """The data set behind a file or folder; none where there is none.

    Raises:
        UsadError: a file that says what a data set holds, and cannot be read.
    """
    if path.is_file():
        is_one = path.suffix.lower() in SUFFIXES and _has_audio(path)
        return HuggingFaceDataset(path, [(path, "")]) if is_one else None
    splits = _read_json(path / "dataset_dict.json").get("splits")
    if isinstance(splits, list):
        shards = [
            (shard, str(split))
            for split in splits
            if Path(str(split)).name == split  # a name, no path
            for shard in _saved_shards(path / split)
        ]
        return HuggingFaceDataset(path, shards)
    if (path / STATE).is_file():
        split = str(_read_json(path / STATE).get("_split") or "")
        return HuggingFaceDataset(path, [(shard, split) for shard in _saved_shards(path)])
    found = [
        (file, _split_of(file.relative_to(path)))
        for file in sorted(walk(path))
        if file.suffix.lower() in SUFFIXES and file.is_file() and _has_audio(file)
    ]
    return HuggingFaceDataset(path, found) if found else None


def _saved_shards(folder: Path) -> list[Path]:
    """The Arrow files of one split, in their order, as its state names them; else the state."""
    files = _read_json(folder / STATE).get("_data_files") or []
    names = [Path(str(file["filename"])).name for file in files if isinstance(file, dict)]
    return [folder / name for name in names] or [folder / STATE]


def _split_of(path: Path) -> str:
    """The split that the name of a shard or of its folder says.

    >>> [_split_of(Path(name)) for name in ("data/train-00000-of-00002.parquet", "test.parquet")]
    ['train', 'test']
    >>> [_split_of(Path(name)) for name in ("default/dev/0000.parquet", "all.parquet")]
    ['dev', '']
    """
    shard = _SHARD.fullmatch(path.stem)
    if shard:
        return shard["split"]
    named = [part for part in (path.stem, *reversed(path.parts[:-1])) if part.lower() in SPLITS]
    return named[0] if named else ""


def _read_json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    with wrap_errors(path):
        found = json.loads(path.read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def _has_audio(file: Path) -> bool:
    try:
        with wrap_errors(file):
            return bool(_audio_column(_schema(file)))
    except UsadError:
        return True  # said where its rows are read


def _schema(file: Path) -> pa.Schema:
    if file.suffix.lower() == ".parquet":
        return pq.read_schema(file)
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_stream(source).schema


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    if file.suffix.lower() == ".parquet":
        with pq.ParquetFile(file) as parquet:
            yield from parquet.iter_batches(batch_size=PARQUET_ROWS)
        return
    with pa.memory_map(str(file)) as source:
        yield from pa.ipc.open_stream(source)


def _audio_column(schema: pa.Schema) -> str:
    """The first column of sounds; ``audio`` before others; empty where there is none."""
    features = _features(schema)
    names = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type)
        and {field.type.field(i).name for i in range(field.type.num_fields)} == {"bytes", "path"}
        and features.get(field.name, {}).get("_type", "Audio") == "Audio"
    ]
    return "audio" if "audio" in names else next(iter(names), "")


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """What the library says of the columns, in the schema's metadata."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return {k: v for k, v in info["info"]["features"].items() if isinstance(v, dict)}
    except (ValueError, KeyError, AttributeError, TypeError):
        return {}


def _classes(schema: pa.Schema) -> dict[str, list[str]]:
    """The names of the classes of each column that has some."""
    return {
        name: [printable(str(one)) for one in feature.get("names") or []]
        for name, feature in _features(schema).items()
        if feature.get("_type") == "ClassLabel"
    }


def _is_single(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_binary = pa.types.is_binary(value) or pa.types.is_large_binary(value)
    return not (pa.types.is_nested(value) or is_binary)


def _fields(cells: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The cells as text; a class by its name, one of -1 (not known) left out."""
    fields = {}
    for name, value in cells.items():
        if name in classes and isinstance(value, int):
            value = classes[name][value] if 0 <= value < len(classes[name]) else None
        if text := text_of(value):
            fields[name] = text
    return fields
