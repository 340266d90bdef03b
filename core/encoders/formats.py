"""Readers of the file formats that published weights come in.

Each reads bytes and returns arrays or tensors by name. None imports the package that
wrote the file, and none executes what a file says: the pickle reader knows the handful
of names that a PyTorch state dict needs and builds stand-ins for everything else it
admits.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from usad_workbench.core.encoders.quiet import without_meant_warnings
from usad_workbench.core.errors import WeightsError

Array = npt.NDArray[Any]

_CT2_DTYPES = ("<f4", "i1", "<i2", "<i4", "<f2")
"""By the number that CTranslate2 writes for them (its enum DataType)."""
_TF_DTYPES = {1: "<f4", 3: "<i4", 9: "<i8"}
"""By TensorFlow's enum DataType; others hold nothing that a forward pass needs."""
_SSTABLE_FOOTER_BYTES = 48


def read_ctranslate2(data: bytes) -> dict[str, Array]:
    """Variables of a CTranslate2 ``model.bin`` of binary version 6, names as stored.

    Aliases (variables that share their values) are left out.

    Raises:
        WeightsError: another version, or a file that ends early.

    Source: the order that CTranslate2's ``model_spec.py`` writes in.
    """
    cursor = _Cursor(data)
    version = cursor.number("I")
    if version != 6:
        raise WeightsError(
            f"The CTranslate2 file has binary version {version}, version 6 was expected. "
            "Use the package version that `usad encoders list` names."
        )
    cursor.text()  # name of the model class
    cursor.number("I")  # its revision
    variables = {}
    for _ in range(cursor.number("I")):
        name = cursor.text()
        shape = [cursor.number("I") for _ in range(cursor.number("B"))]
        dtype = _CT2_DTYPES[cursor.number("B")]
        variables[name] = np.frombuffer(cursor.take(cursor.number("I")), dtype).reshape(shape)
    return variables


def read_tf_checkpoint(index: bytes, data: bytes) -> dict[str, Array]:
    """Variables of a TensorFlow V2 checkpoint of one shard, names as stored.

    The index is an uncompressed sorted string table (LevelDB's format) from variable
    name to a ``BundleEntryProto`` that says where in the shard the values lie.

    Raises:
        WeightsError: a compressed index, or one that points outside the shard.

    Source: tensorflow/core/util/tensor_bundle and LevelDB's ``table_format.md``.
    """
    footer = index[-_SSTABLE_FOOTER_BYTES:]
    *_, offset, size = _varints(footer, 4)
    variables = {}
    for _, handle in _sstable_block(index, offset, size):
        for key, entry in _sstable_block(index, *_varints(handle, 2)):
            fields = _proto_fields(entry)
            dtype = _TF_DTYPES.get(fields.get(1, [0])[0])
            if not key or dtype is None:
                continue  # the header of the bundle, or a type that nothing here uses
            dims = _proto_fields(fields.get(2, [b""])[0]).get(2, [])
            shape = [_proto_fields(dim).get(1, [0])[0] for dim in dims]
            first, n_bytes = fields.get(4, [0])[0], fields[5][0]
            if first + n_bytes > len(data):
                raise WeightsError(
                    f"The TensorFlow checkpoint has {len(data)} bytes, its index places "
                    f"{key.decode()} at {first} to {first + n_bytes}. Fetch it again."
                )
            values = data[first : first + n_bytes]
            variables[key.decode()] = np.frombuffer(values, dtype).reshape(shape)
    return variables


def read_torch_weights(data: bytes) -> Any:
    """What a ``torch.save`` file of plain tensors holds.

    Raises:
        WeightsError: something other than tensors and plain containers.
    """
    try:
        with without_meant_warnings():
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"The checkpoint holds more than tensors and was not read: {error}. "
            "Use the package version that `usad encoders list` names."
        ) from error


def read_torch_pickle(data: bytes) -> Any:
    """What a ``torch.save`` file holds, without executing what its pickle names.

    For files that ``torch.load(weights_only=True)`` refuses because of NumPy scalars.
    Tensors are real, NumPy scalars and types become ``None``; any other name in the
    pickle is refused.

    Raises:
        WeightsError: a name that a state dict does not need.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {name.split("/", 1)[1]: name for name in archive.namelist() if "/" in name}

        def storage(key: str) -> bytes:
            return archive.read(records[f"data/{key}"])

        return _StateDictUnpickler(archive.read(records["data.pkl"]), storage).load()


class _Cursor:
    """A place in a byte string that moves on as values are taken."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, n_bytes: int) -> bytes:
        taken = self._data[self._at : self._at + n_bytes]
        if len(taken) < n_bytes:
            raise WeightsError(
                f"The file ends at byte {len(self._data)}, {n_bytes} more were expected from "
                f"byte {self._at}. Fetch it again."
            )
        self._at += n_bytes
        return taken

    def number(self, code: str) -> int:
        layout = f"<{code}"
        (value,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        return int(value)

    def text(self) -> str:
        return self.take(self.number("H"))[:-1].decode()  # the last byte is C's zero


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A base-128 number and the position behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _varints(data: bytes, count: int) -> list[int]:
    values, at = [], 0
    for _ in range(count):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _sstable_block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block; keys share a prefix with the key before."""
    block = table[offset : offset + size]
    if table[offset + size] != 0:
        raise WeightsError(
            "The index of the TensorFlow checkpoint is compressed, an uncompressed one was "
            "expected. Use the package version that `usad encoders list` names."
        )
    (n_restarts,) = struct.unpack("<I", block[-4:])
    end, at, key = len(block) - 4 * (n_restarts + 1), 0, b""
    while at < end:
        shared, at = _varint(block, at)
        n_key, at = _varint(block, at)
        n_value, at = _varint(block, at)
        key = key[:shared] + block[at : at + n_key]
        at += n_key
        yield key, block[at : at + n_value]
        at += n_value


def _proto_fields(message: bytes) -> dict[int, list[Any]]:
    """Fields of a protocol buffer by number: integers, or bytes where not a varint."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value: int | bytes
        match tag & 7:
            case 0:
                value, at = _varint(message, at)
            case 2:
                n_bytes, at = _varint(message, at)
                value, at = message[at : at + n_bytes], at + n_bytes
            case wire:
                n_bytes = 4 if wire == 5 else 8
                value, at = message[at : at + n_bytes], at + n_bytes
        fields.setdefault(tag >> 3, []).append(value)
    return fields


@dataclass(frozen=True)
class _StorageType:
    dtype: torch.dtype


class _Ignored:
    """Stands in for NumPy's dtype objects, which a state dict does not need."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def _nothing(*_: object) -> None:
    return None


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:
    return torch.as_strided(storage, size, stride, offset).clone()


class _StateDictUnpickler(pickle.Unpickler):
    """Admits the names below and nothing else."""

    _admitted: dict[tuple[str, str], Any] = {  # noqa: RUF012 - never written to
        ("collections", "OrderedDict"): OrderedDict,
        ("torch", "FloatStorage"): _StorageType(torch.float32),
        ("torch", "LongStorage"): _StorageType(torch.int64),
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("numpy.core.multiarray", "scalar"): _nothing,
        ("numpy", "dtype"): _Ignored,
        ("_codecs", "encode"): _nothing,
    }

    def __init__(self, pickled: bytes, storage: Callable[[str], bytes]) -> None:
        super().__init__(io.BytesIO(pickled))
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._admitted[module, name]
        except KeyError:
            raise WeightsError(
                f"The pickle names {module}.{name}, which no state dict needs. Nothing of it "
                "was run. Use the package version that `usad encoders list` names."
            ) from None

    def persistent_load(self, pid: Any) -> Tensor:
        _, kind, key, _, n_values = pid
        values = bytearray(self._storage(key))
        return torch.frombuffer(values, dtype=kind.dtype, count=n_values)
