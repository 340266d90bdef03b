"""Model folders of the Hugging Face hub: where they are on this machine, and getting them.

They stay in the hub's own cache (``$HF_HOME``), where other programs find them too. The hub's
client checks sizes, not contents: these are checked here, against the hash that the cache names
a file by. Only ``fetch_snapshot`` uses the network.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from usad_workbench.core.errors import WeightsError
from usad_workbench.core.hashing import sha256_of_file
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.teachers.hub_resume import fetch_large_file, missing_files
from usad_workbench.core.teachers.row import HubSource


def local_snapshot(source: HubSource) -> Path | None:
    """The folder of a repository in the cache; none where it is not there or not whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        # Without the patterns what was never asked for would be missing.
        found = snapshot_download(
            source.repo,
            revision=source.revision,
            allow_patterns=list(source.files),
            local_files_only=True,
        )
    except LocalEntryNotFoundError:
        return None
    folder = Path(found)
    return folder if is_model_folder(folder) else None


def is_model_folder(folder: Path) -> bool:
    """Whether there are a configuration and all files of the weights.

    What cannot be read as an index of weights is none.
    """
    return (folder / "config.json").is_file() and bool(weight_files(folder))


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, safetensors before pickles; none if one is missing."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            try:
                shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                return []
            files = [folder / shard for shard in sorted(shards)]
            return files if all(file.is_file() for file in files) else []
    return []


def snapshot_missing_reason(name: str, source: HubSource) -> str | None:
    """Why the weights cannot be used, or nothing."""
    if local_snapshot(source) is not None:
        return None
    size = f"{source.size_mb:.0f} MB, " if source.size_mb else ""
    gated = f" Accept its terms on {source.url} and log in first." if source.is_gated else ""
    code = " --trust-remote-code" if source.needs_remote_code else ""
    return (
        f"The weights of {name} are not on this machine. "
        f"Run `usad encoders get {name}{code}` ({size}{source.repo} on the hub).{gated}"
    )


def get_snapshot(name: str, source: HubSource, progress: Progress = no_progress) -> Path:
    """The folder of a repository, every file checked; downloads what is not there.

    Raises:
        WeightsError: as for ``fetch_snapshot``.
    """
    here = local_snapshot(source)
    if here is None:
        return fetch_snapshot(name, source, progress)
    check_files(here, name)
    return here


def fetch_snapshot(name: str, source: HubSource, progress: Progress = no_progress) -> Path:
    """Downloads what is missing of a repository and checks every file.

    Progress is in bytes, of all files together. What an earlier call left of a large file is
    gone on with.

    Raises:
        WeightsError: no network, no such repository, one whose terms were not accepted, or a
            file that is not the hub's, which is removed.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        found = _download(name, source, progress)
    except GatedRepoError as error:
        raise WeightsError(
            f"{source.repo} is gated. Accept its terms on {source.url}, run `hf auth login`, "
            f"then `usad encoders get {name}` again."
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"The hub has no repository {source.repo}, or it is private. Check the name."
        ) from error
    except (_transport_error(), OSError) as error:
        raise WeightsError(
            f"{source.repo} could not be downloaded: {_first_line(error)}. Check the network and run "
            f"`usad encoders get {name}` again: what has come is kept."
        ) from error
    check_files(found, name)
    if not is_model_folder(found):
        raise WeightsError(
            f"{source.repo} has no config.json with weights in safetensors or pytorch_model.bin "
            f"(found in {found}). It is no model of transformers."
        )
    return found


def _download(name: str, source: HubSource, progress: Progress) -> Path:
    """Large files one by one, the rest by the client, which links all of them to a folder."""
    from huggingface_hub import snapshot_download

    missing = missing_files(source)
    total, done = sum(file.n_bytes for file in missing), 0

    def bar() -> type:
        before = done
        return _reporting_bar(
            lambda n: progress(before + n, max(total, before + n), f"{name}: bytes")
        )

    for file in missing:
        if file.sha256:
            fetch_large_file(file, name, bar())
            done += file.n_bytes
    return Path(
        snapshot_download(
            source.repo,
            revision=source.revision,
            allow_patterns=list(source.files),
            tqdm_class=bar(),
        )
    )


def _transport_error() -> type[Exception]:
    """What the client's transport raises; its package depends on the client's version."""
    from huggingface_hub.errors import HfHubHTTPError

    bases = [base for base in HfHubHTTPError.__mro__[1:] if issubclass(base, Exception)]
    return bases[0]


def _first_line(error: Exception) -> str:
    """What happened; the client's further lines are advice on its own interface."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")


def check_files(folder: Path, name: str) -> None:
    """Compares each file of a snapshot with the hash that the cache names it by.

    That is SHA-256 for weights, and git's hash for small files. A file without such a name, as
    in a cache without links, is left alone.

    Raises:
        WeightsError: a file that is another; it is removed, so that it is fetched again.
    """
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        blob = path.resolve()
        found = _hash_like(blob)
        if found == blob.name or not found:
            continue
        path.unlink()
        blob.unlink()
        raise WeightsError(
            f"{path.name} of {name} is damaged: its hash is {found}, {blob.name} was expected. "
            f"It was removed; run `usad encoders get {name}` again."
        )


def _hash_like(blob: Path) -> str:
    """The hash of a file, of the kind that its name is; empty where that is none."""
    if re.fullmatch("[0-9a-f]{64}", blob.name):
        return sha256_of_file(blob)
    if not re.fullmatch("[0-9a-f]{40}", blob.name):
        return ""
    content = blob.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _reporting_bar(report: Callable[[int], None]) -> type:
    """A bar for the hub's client that draws nothing and reports its bytes."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "disable": True})
            # A disabled bar of tqdm forgets where it began.
            self.n = kwargs.get("initial", 0)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self.counts_bytes:
                report(int(self.n))

    return Bar
