"""Spaces and maps as one text each, as they stand in addresses and selections."""

from dataclasses import dataclass

from usad_workbench.core.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class SpaceName:
    """Which space: its text is ``encoder/layer/pooling``."""

    encoder: str
    layer: int
    pooling: str

    def __str__(self) -> str:
        return f"{self.encoder}/{self.layer}/{self.pooling}"

    @staticmethod
    def parse(text: str) -> "SpaceName":
        """The space that a text names; an encoder's name may hold slashes.

        Raises:
            UnknownNameError: a text of another form.

        >>> SpaceName.parse("hf:a/b/3/mean")
        SpaceName(encoder='hf:a/b', layer=3, pooling='mean')
        """
        encoder, *rest = text.rsplit("/", 2)
        if len(rest) != 2 or not _is_layer(rest[0]):
            raise UnknownNameError(
                f"Found the space {text[:200]!r}, expected ENCODER/LAYER/POOLING such as "
                "usad-demo/8/mean."
            )
        return SpaceName(encoder, int(rest[0]), rest[1])


@dataclass(frozen=True, slots=True)
class MapName:
    """Which map: its text is ``encoder/layer/pooling/method``."""

    encoder: str
    layer: int
    pooling: str
    method: str

    def __str__(self) -> str:
        return f"{self.encoder}/{self.layer}/{self.pooling}/{self.method}"

    @property
    def space(self) -> SpaceName:
        """What it is a map of."""
        return SpaceName(self.encoder, self.layer, self.pooling)

    @staticmethod
    def parse(text: str) -> "MapName":
        """The map that a text names; an encoder's name may hold slashes.

        Raises:
            UnknownNameError: a text of another form.

        >>> str(MapName.parse("hf:a/b/3/mean/umap"))
        'hf:a/b/3/mean/umap'
        """
        encoder, *rest = text.rsplit("/", 3)
        if len(rest) != 3 or not _is_layer(rest[0]):
            raise UnknownNameError(
                f"Found the map {text[:200]!r}, expected ENCODER/LAYER/POOLING/METHOD such as "
                "usad-demo/8/mean/umap."
            )
        return MapName(encoder, int(rest[0]), rest[1], rest[2])


def _is_layer(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6
