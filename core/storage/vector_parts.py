"""Parts: vectors that other machines made, in whole files that a workspace adopts.

A part is one Parquet file with the vectors of some segments in all asked layers. It lies where
``fsspec`` reaches: a folder that machines share, ``s3://``, ``gs://``. Object stores know no
renaming, so a part is one object that is put as a whole; in a folder it is written under
another name and renamed. Either way it is there or it is not.

What it was made with stands in its metadata (``PartOrigin``), and what each vector was made from
in its rows: segment, times and the hash of the audio. A part of another origin is refused, and a
row whose segment the workspace does not have like that is left out. Nothing depends on where a
part lies or what it is called. Each page of a file has a checksum: damage is noticed.

Vectors are stored as they are: of all layers of usad-demo zstd leaves 93%, at 230 MB per processor
second, about what the whole of adopting a part costs.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from usad_workbench.core.errors import (
    ConfigError,
    DamagedFileError,
    MissingExtraError,
    ProvenanceError,
    wrap_errors,
)
from usad_workbench.core.storage.segment_audio import SegmentAudio
from usad_workbench.core.storage.slugs import readable_slug
from usad_workbench.core.storage.vector_tables import matrix_of
from usad_workbench.core.storage.workspace import FloatArray

_KEY = b"usad_part"
_FORMAT = 1
_SUFFIX = ".parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class PartOrigin:
    """What the vectors of a part were made with; those of another origin are not adopted.

    >>> one = PartOrigin(encoder="hf:a/b", weights_sha256="0", code_version="1",
    ...     precision="float32", segmentation="10s/10s", layers=(0, 1), pooling="mean",
    ...     replaces=False)
    >>> one.folder.startswith("hf-a-b-")
    True
    """

    encoder: str
    weights_sha256: str
    code_version: str
    precision: str
    segmentation: str
    layers: tuple[int, ...]
    pooling: str
    replaces: bool
    """Whether they are to replace stored vectors: what is made anew is not taken from before."""

    @property
    def folder(self) -> str:
        """Where its parts lie, below all parts."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{readable_slug(self.encoder)}-{digest[:16]}"

    def differences(self, other: "PartOrigin") -> str:
        """In words what another has otherwise; nothing where they are equal."""
        mine, theirs = asdict(self), asdict(other)
        return ", ".join(
            f"{name} {theirs[name]!r} instead of {mine[name]!r}"
            for name in mine
            if mine[name] != theirs[name]
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """The vectors of some segments, and why others have none."""

    origin: PartOrigin
    segments: list[SegmentAudio]
    """Those with vectors; their paths are not kept."""
    vectors: Mapping[int, FloatArray]
    """Per layer an array [segment, dim]; empty where no segment has vectors."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Reasons by the numbers of segments."""
    audio_seconds: float = 0.0
    """Of what went through the encoder."""

    def of(
        self, wanted: Mapping[int, SegmentAudio]
    ) -> tuple[npt.NDArray[np.int64], dict[int, FloatArray]]:
        """The vectors of wanted segments.

        Args:
            wanted: By number. A number of other times or audio is another segment: parts may
                come from another workspace, or from before a clip was deleted.

        Returns:
            Segment ids, shape [segment], and per layer an array [segment, dim].
        """
        found = [i for i, s in enumerate(self.segments) if _is_same(s, wanted.get(s.segment_id))]
        ids = np.array([self.segments[i].segment_id for i in found], dtype=np.int64)
        if len(found) == len(self.segments):
            return ids, dict(self.vectors)
        return ids, {layer: values[found] for layer, values in self.vectors.items()}


class PartStore:
    """The place where parts lie: a folder, or a URL that ``fsspec`` opens.

    Args:
        url: Such as ``/shared/parts`` or ``s3://bucket/parts``.

    Raises:
        ConfigError: a URL of no known kind.
        MissingExtraError: a kind whose package is not installed, such as s3fs for ``s3://``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._files, self._root = file_system(url)
        self._is_local = not url_is_remote(url)

    def write(self, name: str, part: Part) -> None:
        """Puts a part there, whole, in the place of one of this name.

        Raises:
            UsadError: it cannot be written.
        """
        folder = f"{self._root}/{part.origin.folder}"
        path = f"{folder}/{name}{_SUFFIX}"
        data = encode(part)
        with wrap_errors(f"{self.url}/{part.origin.folder}"):
            if not self._is_local:
                self._files.pipe_file(path, data)
                return
            self._files.makedirs(folder, exist_ok=True)
            partial = f"{folder}/.{name}-{secrets.token_hex(4)}"
            self._files.pipe_file(partial, data)
            os.replace(partial, path)

    def names(self, origin: PartOrigin) -> list[str]:
        """The parts of an origin that are there, by name."""
        files = self._listed(origin.folder)
        return sorted(
            name.removesuffix(_SUFFIX)
            for name in files
            if name.endswith(_SUFFIX) and not name.startswith(".")
        )

    def foreign(self, origin: PartOrigin) -> list[str]:
        """Folders with parts of the same encoder, but of another origin."""
        start = origin.folder.rpartition("-")[0]
        return [
            folder
            for folder in self._listed("")
            if folder.rpartition("-")[0] == start and folder != origin.folder
        ]

    def read(self, origin: PartOrigin, name: str) -> Part:
        """A part of an origin.

        Raises:
            FileError: it is not there, or cannot be read.
            DamagedFileError: a file that is not whole, no part, or has values that are not finite.
            ProvenanceError: its vectors were made with something else.
        """
        where = f"{self.url}/{origin.folder}/{name}{_SUFFIX}"
        with wrap_errors(where):
            data = self._files.cat_file(f"{self._root}/{origin.folder}/{name}{_SUFFIX}")
        part = decode(data, where)
        if differences := origin.differences(part.origin):
            raise ProvenanceError(f"{where} was made with {differences}. It is not adopted.")
        if not all(np.isfinite(values).all() for values in part.vectors.values()):
            raise DamagedFileError(
                f"{where} has values that are not finite. It is not adopted; its segments are "
                "embedded again."
            )
        return part

    def remove(self, origin: PartOrigin, names: list[str]) -> None:
        """Removes parts, and folders that hold nothing any more."""
        folder = f"{self._root}/{origin.folder}"
        with wrap_errors(f"{self.url}/{origin.folder}"):
            for name in names:
                with suppress(FileNotFoundError):
                    self._files.rm_file(f"{folder}/{name}{_SUFFIX}")
            if self._is_local:
                self._clear(folder)

    def _clear(self, folder: str) -> None:
        """Removes what killed workers have left in a folder without parts, and the folder."""
        with suppress(OSError):
            left = os.listdir(folder)
            if all(name.startswith(".") for name in left):
                for name in left:
                    os.unlink(f"{folder}/{name}")
                os.rmdir(folder)

    def _listed(self, folder: str) -> list[str]:
        with wrap_errors(f"{self.url}/{folder}"):
            self._files.invalidate_cache()  # what others wrote meanwhile counts
            try:
                found = self._files.ls(f"{self._root}/{folder}".rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)


def _is_same(segment: SegmentAudio, other: SegmentAudio | None) -> bool:
    return other is not None and (segment.start_s, segment.end_s, segment.audio_sha256) == (
        other.start_s,
        other.end_s,
        other.audio_sha256,
    )


def url_is_remote(url: str) -> bool:
    """Whether it names something else than a file or folder of this machine.

    >>> url_is_remote("s3://bucket/parts"), url_is_remote("/shared/parts")
    (True, False)
    """
    return "://" in url and not url.startswith(("file://", "local://"))


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises:
        ConfigError: a URL of no known kind.
        MissingExtraError: a kind whose package is not installed.
    """
    try:
        from fsspec.core import url_to_fs

        files, path = url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(
            f"{url} cannot be opened: {error}. s3:// needs the package s3fs, gs:// needs gcsfs: "
            "install it on every machine that takes part."
        ) from error
    except ValueError as error:
        raise ConfigError(
            f"{url} cannot be opened: {error}. Expected a folder, or a URL such as "
            "s3://bucket/folder."
        ) from error
    return files, path.rstrip("/")


def encode(part: Part) -> bytes:
    """A part as the bytes of a Parquet file."""
    columns: dict[str, Any] = {
        "segment_id": pa.array([s.segment_id for s in part.segments], pa.int64()),
        "start_s": pa.array([s.start_s for s in part.segments], pa.float64()),
        "end_s": pa.array([s.end_s for s in part.segments], pa.float64()),
        "audio_sha256": pa.array([s.audio_sha256 for s in part.segments], pa.string()),
    }
    for layer, values in part.vectors.items():
        flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
        columns[f"layer_{layer}"] = pa.FixedSizeListArray.from_arrays(
            pa.array(flat), values.shape[1]
        )
    header = {
        "format": _FORMAT,
        "origin": asdict(part.origin),
        "failed": dict(part.failed),
        "audio_seconds": part.audio_seconds,
    }
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(header).encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_page_checksum=True)
    return bytes(sink.getvalue())


def decode(data: bytes, where: str) -> Part:
    """The part that bytes hold.

    Args:
        data: Of a whole file.
        where: Named in errors.

    Raises:
        DamagedFileError: they are not whole, or no part of this format.
    """
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            table = file.read()
        header = json.loads((table.schema.metadata or {})[_KEY])
        if header["format"] != _FORMAT:
            raise ValueError(f"format {header['format']}, expected {_FORMAT}")
        origin = PartOrigin(**{**header["origin"], "layers": tuple(header["origin"]["layers"])})
        segments = [
            SegmentAudio(row["segment_id"], "", row["start_s"], row["end_s"], row["audio_sha256"])
            for row in table.select(["segment_id", "start_s", "end_s", "audio_sha256"]).to_pylist()
        ]
        return Part(
            origin=origin,
            segments=segments,
            vectors={
                layer: matrix_of(table[f"layer_{layer}"]) for layer in origin.layers if segments
            },
            failed={int(key): reason for key, reason in header["failed"].items()},
            audio_seconds=float(header["audio_seconds"]),
        )
    # OSError: what Arrow makes of a page whose checksum is wrong; the bytes are in memory.
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"{where} is no whole part ({type(error).__name__}: {error}). It is not adopted; its "
            "segments are embedded again."
        ) from error
