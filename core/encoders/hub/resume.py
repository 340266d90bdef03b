"""Large files of the hub: a download is resumed where an earlier command stopped.

The hub's client (tested with 2.4) resumes a file only as long as one command runs: what it
had is deleted when it gives up, since programs that share a cache must not share a file that
grows. Here each file that the hub names by SHA-256 grows as ``SHA256.part`` beside its place in
the cache, under the client's own lock, and takes its place once its hash is right. The client
finds it there and links it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from usad_workbench.core.encoders.row import HubSource
from usad_workbench.core.errors import WeightsError
from usad_workbench.core.files import sha256_of_file


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A file of a repository."""

    url: str
    name: str
    n_bytes: int
    sha256: str
    """Empty for small files, which the hub names by git's hash."""
    blob: Path
    """Its place in the cache."""

    @property
    def is_here(self) -> bool:
        """Whether it is in the cache."""
        return self.blob.exists()

    @property
    def part(self) -> Path:
        """What there is of it."""
        return self.blob.with_name(f"{self.blob.name}.part")


def repository_files(source: HubSource) -> list[HubFile]:
    """What a repository holds; asks the hub."""
    from huggingface_hub import HfApi, constants, hf_hub_url
    from huggingface_hub.file_download import repo_folder_name

    info = HfApi().model_info(source.repo, revision=source.revision, files_metadata=True)
    folder = repo_folder_name(repo_id=source.repo, repo_type="model")
    return [
        HubFile(
            url=hf_hub_url(source.repo, sibling.rfilename, revision=info.sha),
            name=sibling.rfilename,
            n_bytes=sibling.size or 0,
            sha256=sibling.lfs.sha256 if sibling.lfs else "",
            blob=Path(
                constants.HF_HUB_CACHE,
                folder,
                "blobs",
                sibling.lfs.sha256 if sibling.lfs else sibling.blob_id or sibling.rfilename,
            ),
        )
        for sibling in info.siblings or []
    ]


def fetch_large_file(file: HubFile, model: str, bar: type) -> None:
    """Puts a file into the cache, from where its ``part`` ends.

    Args:
        file: One with a SHA-256.
        model: What ``usad encoders get`` is called with.
        bar: A class like tqdm's that hears of the bytes.

    Raises:
        WeightsError: the content is another; nothing of it is kept.
        Exception: what the hub's client raises where the connection stays broken; the bytes that
            came are kept.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented, not in __all__
        WeakFileLock,
        build_hf_headers,
    )

    blobs = file.blob.parent
    lock = Path(constants.HF_HUB_CACHE, ".locks", blobs.parent.name, f"{file.blob.name}.lock")
    for folder in (blobs, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if file.blob.exists():
            return
        if file.part.exists() and file.part.stat().st_size > file.n_bytes:
            file.part.unlink()
        with file.part.open("ab") as out:
            http_get(
                file.url,
                out,
                resume_size=out.tell(),
                expected_size=file.n_bytes,
                tqdm_class=bar,
                # A range of a packed file would be another file's.
                headers={**build_hf_headers(), "Accept-Encoding": "identity"},
            )
        digest = sha256_of_file(file.part)
        if digest != file.sha256:
            file.part.unlink()
            raise WeightsError(
                f"{file.name} of {model} is damaged: its hash is {digest}, {file.sha256} was "
                f"expected. It was removed; run `usad encoders get {model}` again."
            )
        file.part.replace(file.blob)
