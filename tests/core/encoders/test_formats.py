"""Readers of weight formats on files made here, by hand or by the program that owns the format."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest
import torch

from usad_workbench.core.encoders.formats import (
    read_ctranslate2,
    read_tf_checkpoint,
    read_torch_pickle,
    read_torch_weights,
)
from usad_workbench.core.errors import WeightsError


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def ct2_file(variables: dict[str, np.ndarray], version: int = 6) -> bytes:
    codes = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    parts = [struct.pack("<I", version), text("WhisperSpec"), struct.pack("<II", 3, len(variables))]
    for name, array in variables.items():
        parts += [text(name), struct.pack("<B", array.ndim)]
        parts += [struct.pack("<I", size) for size in array.shape]
        parts += [struct.pack("<BI", codes[str(array.dtype)], array.nbytes), array.tobytes()]
    return b"".join([*parts, struct.pack("<I", 0)])


def test_ctranslate2_variables_come_back() -> None:
    variables = {
        "encoder/weight": np.arange(6, dtype=np.float16).reshape(2, 3),
        "heads": np.array(6, dtype=np.int16),
        "bias": np.array([1.5], dtype=np.float32),
    }
    found = read_ctranslate2(ct2_file(variables))
    assert list(found) == list(variables)
    for name, array in variables.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_a_ctranslate2_file_of_another_version_is_refused() -> None:
    with pytest.raises(WeightsError, match="version 5, version 6"):
        read_ctranslate2(ct2_file({}, version=5))


def test_a_ctranslate2_file_that_ends_early_is_refused() -> None:
    data = ct2_file({"bias": np.ones(8, dtype=np.float32)})
    with pytest.raises(WeightsError, match="ends at byte"):
        read_ctranslate2(data[:-10])


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: list[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    """One LevelDB block with keys that share prefixes, and its trailer."""
    out, previous = b"", b""
    for key, value in entries:
        shared = sum(previous[: i + 1] == key[: i + 1] for i in range(len(previous)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        previous = key
    return out + struct.pack("<II", 0, 1) + bytes([compression]) + bytes(4)


def tf_checkpoint(
    variables: dict[str, np.ndarray], compression: int = 0, cut: int = 0
) -> tuple[bytes, bytes]:
    codes = {"float32": 1, "int32": 3, "int64": 9, "bool": 10}
    shard, entries = b"", [(b"", field(1, 1))]
    for name in sorted(variables):
        array = variables[name]
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        entry = field(1, codes[str(array.dtype)]) + field(2, shape)
        entry += field(4, len(shard)) + field(5, array.nbytes)
        entry += varint(6 << 3 | 5) + bytes(4)  # a checksum, four bytes
        entries.append((name.encode(), entry))
        shard += array.tobytes()
    body = block(entries, compression)
    handle = varint(0) + varint(len(body) - 5)
    index = block([(b"z", handle)])
    footer = varint(0) + varint(0) + varint(len(body)) + varint(len(index) - 5)
    return body + index + footer.ljust(40, b"\0") + bytes(8), shard[: len(shard) - cut]


def test_tensorflow_variables_come_back() -> None:
    variables = {
        "conv2d/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "conv2d/bias": np.array([0.5, -0.5], dtype=np.float32),
        "global_step": np.array(300, dtype=np.int64),
        "a_flag": np.array(True),
    }
    found = read_tf_checkpoint(*tf_checkpoint(variables))
    del variables["a_flag"]  # a type that is left out
    assert set(found) == set(variables)
    for name, array in variables.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_compressed_tensorflow_index_is_refused() -> None:
    with pytest.raises(WeightsError, match="compressed"):
        read_tf_checkpoint(*tf_checkpoint({"a": np.ones(2, np.float32)}, compression=1))


def test_a_tensorflow_shard_that_ends_early_is_refused() -> None:
    with pytest.raises(WeightsError, match="8 bytes"):
        read_tf_checkpoint(*tf_checkpoint({"a": np.ones(4, np.float32)}, cut=8))


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_tensors_of_a_pickle_come_back_as_torch_reads_them() -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {"a": base, "view": base.T[1:], "steps": torch.tensor(7)}
    found = read_torch_pickle(saved((state, {"classes": ("x", 3)})))
    assert found[1] == {"classes": ("x", 3)}
    assert found[0].keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[0][name], tensor)


def test_numpy_scalars_of_a_pickle_become_nothing() -> None:
    data = saved(({"a": torch.ones(2)}, {"n": (np.int64(5), 2)}))
    # NumPy 2 names its module otherwise than the NumPy that wrote the published file.
    found = read_torch_pickle(renamed(data, b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert torch.equal(found[0]["a"], torch.ones(2))
    assert found[1] == {"n": (None, 2)}


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(old, new))
    return buffer.getvalue()


class Intruder:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize("reader", [read_torch_pickle, read_torch_weights])
def test_a_pickle_that_names_anything_else_is_refused(reader: object) -> None:
    assert callable(reader)
    with pytest.raises(WeightsError, match="system"):
        reader(saved({"a": Intruder()}))


def test_plain_tensors_are_read() -> None:
    found = read_torch_weights(saved({"state": {"a": torch.ones(3)}, "step": 4}))
    assert torch.equal(found["state"]["a"], torch.ones(3)) and found["step"] == 4
