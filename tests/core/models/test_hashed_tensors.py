"""A file of tensors that a disk changed, cut or exchanged is never read as if it were right."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.models.hashed_tensors import has_hash, open_hashed, save_hashed

TENSORS = {
    "frames": torch.arange(12, dtype=torch.float16).reshape(4, 3),
    "n": torch.tensor([1, 3]),
    "none": torch.zeros(0, 5),
    "one": torch.tensor(2.5),
}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.safetensors"
    save_hashed(path, TENSORS, "a")
    found = open_hashed(path, "a")
    assert found.keys() == TENSORS.keys() and has_hash(path)
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_hashed(path, TENSORS, "a")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            found = open_hashed(path, "a")
        except CheckpointError:
            continue
        # Only space between the parts of the head may differ without a loss.
        assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS), at


@pytest.mark.parametrize("n_bytes", [0, 5, 100, -1])
def test_a_file_cut_short_is_named(tmp_path: Path, n_bytes: int) -> None:
    path = tmp_path / "a.safetensors"
    save_hashed(path, TENSORS, "a")
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError, match=r"a\.safetensors"):
        open_hashed(path, "a")


def test_a_file_of_something_else_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_hashed(path, TENSORS, "shard 0")
    with pytest.raises(CheckpointError, match="belongs elsewhere"):
        open_hashed(path, "shard 64")


def test_a_file_of_an_earlier_version_has_no_hash(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    save_file(TENSORS, path)
    assert not has_hash(path) and not has_hash(tmp_path / "absent") and not has_hash(tmp_path)
    with pytest.raises(CheckpointError, match="expected one in the file"):
        open_hashed(path, "old")


def test_what_killed_processes_left_is_cleared(tmp_path: Path) -> None:
    for name in (".part-1", ".part-1.lock"):
        (tmp_path / name).write_bytes(b"half")
    save_hashed(tmp_path / "a.safetensors", TENSORS, "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
