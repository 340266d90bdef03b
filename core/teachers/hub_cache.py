"""Model folders of the Hugging Face hub: where they are on this machine, and getting them.

They stay in the hub's own cache (``$HF_HOME``), where other programs find them too; its
client resumes what was interrupted and checks sizes and hashes. Only ``fetch_snapshot``
uses the network.
"""

from __future__ import annotations

import json
from pathlib import Path

from usad_workbench.core.errors import WeightsError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.teachers.row import HubSource


def local_snapshot(source: HubSource) -> Path | None:
    """The folder of a repository in the cache; none where it is not there or not whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(source.repo, revision=source.revision, local_files_only=True)
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


def fetch_snapshot(name: str, source: HubSource, progress: Progress = no_progress) -> Path:
    """Downloads what is missing of a repository.

    Raises:
        WeightsError: no network, no such repository, or one whose terms were not accepted.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    progress(0, 1, f"{name}: {source.repo} ({source.size_mb:.0f} MB)")
    try:
        found = snapshot_download(
            source.repo, revision=source.revision, allow_patterns=list(source.files)
        )
    except GatedRepoError as error:
        raise WeightsError(
            f"{source.repo} is gated. Accept its terms on {source.url}, run `hf auth login`, "
            f"then `usad encoders get {name}` again."
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"The hub has no repository {source.repo}, or it is private. Check the name."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise WeightsError(
            f"{source.repo} could not be downloaded: {error}. Check the network and run "
            f"`usad encoders get {name}` again: it goes on where it stopped."
        ) from error
    if not is_model_folder(Path(found)):
        raise WeightsError(
            f"{source.repo} has no config.json with weights in safetensors or pytorch_model.bin "
            f"(found in {found}). It is no model of transformers."
        )
    progress(1, 1, f"{name}: done")
    return Path(found)
