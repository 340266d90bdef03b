"""One row of the table of encoders: what it is, who loads it, where its weights come from.

Free of torch: loaders are named by text and imported when used.
"""

from __future__ import annotations

from dataclasses import dataclass

from usad_workbench.core.encoders.sources import FileSource, WeightsSource
from usad_workbench.core.models.spec import EncoderSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class HubSource:
    """A model repository of the Hugging Face hub, or the part of one that is needed."""

    repo: str
    """``owner/name``."""
    licence: str
    """Of the weights."""
    size_mb: float
    """Of the download, so that a person knows before it starts; 0 where it is not known."""
    revision: str = "main"
    tensors: tuple[str, ...] = ()
    """Beginnings of the names of the tensors that are needed; all where empty. Files without any
    are not fetched."""
    needs_remote_code: bool = False
    """Whether it runs code of the repository, hence only with ``--trust-remote-code``."""

    @property
    def needs(self) -> str:
        """What has to be on this machine."""
        size = f"{self.size_mb:.0f} MB, " if self.size_mb else ""
        code = ", runs its own code" if self.needs_remote_code else ""
        return f"{size}from {self.repo} on the hub{code}"

    @property
    def url(self) -> str:
        """Its page."""
        return f"https://huggingface.co/{self.repo}"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderRow:
    """One row of the table."""

    spec: EncoderSpec
    loader: str
    """``module:function`` that gives the ``Encoder``: called with the spec, and with the source
    behind it where that is a ``HubSource``."""
    source: WeightsSource | FileSource | HubSource | None = None
    """None where there are no weights to fetch."""
