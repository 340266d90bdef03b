"""Model folders of the Hugging Face hub: where they are on this machine, and getting them.

They stay in the hub's own cache (``$HF_HOME``), where other programs find them too. Of a
repository that holds its weights in several formats one is fetched, safetensors before pickles,
and it is fetched last: a folder with weights has everything else. The hub's client checks sizes,
not contents: these are checked here, against the hash that the cache names a file by. Only
``fetch_snapshot`` uses the network.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from usad_workbench.core.encoders.hub.resume import HubFile, fetch_large_file, repository_files
from usad_workbench.core.encoders.row import HubSource
from usad_workbench.core.errors import HubError, WeightsError
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.progress import Progress, no_progress

_INDEX = ".index.json"
"""Ending of a file that says which tensor is in which of several files."""
_WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{_INDEX}",
    "pytorch_model.bin",
    f"pytorch_model.bin{_INDEX}",
)
"""Where a model has its weights, best first."""
_SMALL = (".json", ".txt", ".py", "README.md")
"""Endings of what is fetched beside the weights: configuration, front end, code, model card."""


def local_snapshot(source: HubSource) -> Path | None:
    """The folder of a repository in the cache; none where it is not there or not whole."""
    from huggingface_hub import try_to_load_from_cache

    config_file = try_to_load_from_cache(source.repo, "config.json", revision=source.revision)
    folder = Path(config_file).parent if isinstance(config_file, str) else None
    return folder if folder is not None and is_model_folder(folder, source.tensors) else None


def is_model_folder(folder: Path, tensors: tuple[str, ...] = ()) -> bool:
    """Whether there are a configuration and all files of the weights, or of these tensors.

    What cannot be read as an index of weights is none.
    """
    return (folder / "config.json").is_file() and bool(weight_files(folder, tensors))


def weight_files(folder: Path, tensors: tuple[str, ...] = ()) -> list[Path]:
    """The files that hold the weights, safetensors before pickles; none if one is missing.

    Args:
        folder: Of the model.
        tensors: Beginnings of the names of those that are needed; all where empty.
    """
    names = {path.name for path in folder.glob("*") if path.is_file()}
    files = [folder / name for name in _weight_names(folder, names, tensors)]
    return files if all(file.is_file() for file in files) else []


def _weight_names(folder: Path, names: Collection[str], tensors: tuple[str, ...]) -> list[str]:
    """Which of a model's files hold the weights; of an index, what lies in the folder is read."""
    best = next((name for name in _WEIGHTS if name in names), None)
    if best is None or not best.endswith(_INDEX):
        return [best] if best else []
    try:
        weight_map = json.loads((folder / best).read_text(encoding="utf-8"))["weight_map"]
        return sorted(
            {shard for name, shard in weight_map.items() if name.startswith(tensors or "")}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def snapshot_missing_reason(name: str, source: HubSource) -> str | None:
    """Why the weights cannot be used, or nothing."""
    if local_snapshot(source) is not None:
        return None
    size = f"{source.size_mb:.0f} MB, " if source.size_mb else ""
    code = " --trust-remote-code" if source.needs_remote_code else ""
    return (
        f"The weights of {name} are not on this machine. "
        f"Run `usad encoders get {name}{code}` ({size}{source.repo} on the hub)."
    )


def get_snapshot(name: str, source: HubSource, progress: Progress = no_progress) -> Path:
    """The folder of a repository, every file checked; fetches what is not there.

    What is whole needs no hub, and stays at the commit that it is at. Where a hub answers, files
    that another program had no use for, such as the front end's settings, are fetched to it.

    Raises:
        WeightsError: as for ``fetch_snapshot``.
    """
    here = local_snapshot(source)
    if here is None:
        return fetch_snapshot(name, source, progress)
    try:
        return fetch_snapshot(name, replace(source, revision=here.name), progress)
    except HubError:
        check_files(here, name)
        return here


def fetch_snapshot(name: str, source: HubSource, progress: Progress = no_progress) -> Path:
    """Downloads what is missing of a repository and checks every file.

    Progress is in bytes. The download of a large file that an earlier call began is resumed.

    Raises:
        HubError: no network, no such repository, or one whose terms were not accepted.
        WeightsError: no model, or a file that is not the hub's, which is removed.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = _download(name, source, progress)
    except GatedRepoError as error:
        raise HubError(
            f"{source.repo} is gated. Accept its terms on {source.url}, run `hf auth login`, "
            f"then `usad encoders get {name}` again."
        ) from error
    except RepositoryNotFoundError as error:
        raise HubError(
            f"The hub has no repository {source.repo}, or it is private. Check the name."
        ) from error
    except RevisionNotFoundError as error:
        raise HubError(
            f"{source.repo} has no revision {source.revision}. See those that it has on {source.url}."
        ) from error
    except (_transport_error(), OSError) as error:
        if getattr(getattr(error, "response", None), "status_code", 0) == 401:
            raise HubError(
                f"The hub does not take the token of this machine for {source.repo}. Run "
                f"`hf auth login`, then `usad encoders get {name}` again."
            ) from error
        raise HubError(
            f"{source.repo} could not be downloaded: {_first_line(error)}. Check the network and run "
            f"`usad encoders get {name}` again: what has come is kept."
        ) from error
    check_files(folder, name)
    if not is_model_folder(folder, source.tensors):
        raise WeightsError(
            f"{source.repo} has no config.json with weights in safetensors or pytorch_model.bin "
            f"(found in {folder}). It is no model of transformers."
        )
    return folder


def _download(name: str, source: HubSource, progress: Progress) -> Path:
    """Small files first, then the weights: large ones one by one, then linked by the client."""
    files = repository_files(source)
    small = [file for file in files if file.name.endswith(_SMALL)]
    missing = [file for file in small if not file.is_here]
    n_done = len(missing)
    folder = _fetch_by_client(source, small, _bar(name, progress, missing))
    wanted = _weight_names(folder, {file.name for file in files}, source.tensors)
    weights = [file for file in files if file.name in wanted]
    missing += [file for file in weights if not file.is_here]
    for at, file in enumerate(missing[n_done:], start=n_done):
        if file.sha256:
            fetch_large_file(file, name, _bar(name, progress, missing, at))
    return _fetch_by_client(source, [*small, *weights], _bar(name, progress, missing, n_done))


def _fetch_by_client(source: HubSource, files: Sequence[HubFile], bar: type) -> Path:
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            source.repo,
            revision=source.revision,
            allow_patterns=[file.name for file in files],
            tqdm_class=bar,
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
        digest = _hash_like(blob)
        if digest == blob.name or not digest:
            continue
        path.unlink()
        blob.unlink()
        raise WeightsError(
            f"{path.name} of {name} is damaged: its hash is {digest}, {blob.name} was expected. "
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


def _bar(name: str, progress: Progress, files: Sequence[HubFile], n_before: int = 0) -> type:
    """A bar for the hub's client that draws nothing and reports its bytes.

    Args:
        name: What ``usad encoders get`` is called with.
        progress: What it reports to.
        files: What is fetched.
        n_before: How many of them are here when the bar begins.
    """
    from tqdm import tqdm

    total = sum(file.n_bytes for file in files)
    before = sum(file.n_bytes for file in files[:n_before])

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "disable": True})
            # A disabled bar of tqdm forgets where it began.
            self.n = kwargs.get("initial", 0)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self.counts_bytes:
                done = before + int(self.n)
                progress(done, max(total, done), f"{name}: bytes")

    return Bar
