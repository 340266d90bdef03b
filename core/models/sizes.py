"""The sizes of the student, published and shipped, without torch.

Source: USAD (arXiv 2506.18843), table II, and the cards of the published USAD 2.0
checkpoints. Everything a size does not say is the same for all of them.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from usad_workbench.core.config import Between
from usad_workbench.core.errors import ConfigError

Activation = Literal["swish", "gelu", "relu"]
StemNorm = Literal["projected", "bands", "none"]
Depth = Literal["same", "upscale", "duplicate", "top"]
"""How a deeper student is made from a trained one, see ``core/models/depth.py``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentConfig:
    """Architecture of a student; the defaults are those of the published Small.

    Fields marked *reading* stand where the published description leaves a choice; the
    default is ours.
    """

    dim: Annotated[int, Between(2, 8192)] = 384
    """Width of the residual stream."""
    n_layers: Annotated[int, Between(1, 256)] = 12
    """Blocks."""
    n_heads: Annotated[int, Between(1, 512)] = 6
    """Attention heads; the published sizes have 64 dims per head."""
    frame_rate_hz: Literal[50, 25] = 50
    """Frames per second. 25 Hz strides twice over time (USAD 2.0 XLarge and XXLarge)."""
    ffn_ratio: Annotated[int, Between(1, 16)] = 4
    """Inner width of the feed-forward block over ``dim``."""
    conv_channels: Annotated[int, Between(1, 1024)] = 64
    """Channels of the two convolutions over the mel bands."""
    pos_depth: Annotated[int, Between(1, 64)] = 5
    """Convolutions of the positional encoding (data2vec 2.0)."""
    pos_width: Annotated[int, Between(1, 10_000)] = 95
    """Frames that they see together; each has a kernel of ``pos_width // pos_depth``."""
    pos_groups: Annotated[int, Between(1, 8192)] = 16
    """Groups of channels of these convolutions."""
    dropout: Annotated[float, Between(0, 1, without_high=True)] = 0.1
    """In the attention, the feed-forward blocks and behind both."""
    activation: Activation = "swish"
    """*Reading*: of the feed-forward blocks; Swish in the conformer they come from."""
    stem_norm: StemNorm = "projected"
    """*Reading*: LayerNorm on the projected features, on the bands before, or none."""
    block_norm: bool = False
    """*Reading*: a LayerNorm at the end of each block, as in the conformer."""
    final_norm: bool = True
    """*Reading*: a LayerNorm on the output ``x``; layer L is what enters it."""
    max_mel_frames: Annotated[int, Between(8, 1_000_000)] = 3000
    """*Reading*: longer clips go through in parts of so many mel frames (30 s)."""

    def __post_init__(self) -> None:
        for name, parts in (("n_heads", self.n_heads), ("pos_groups", self.pos_groups)):
            if parts < 1 or self.dim < 1 or self.dim % parts:
                raise ConfigError(
                    f"dim = {self.dim} cannot be divided into {name} = {parts}. Choose a multiple."
                )
        if self.dim % 2 or self.n_layers < 1 or self.max_mel_frames % 4:
            raise ConfigError(
                f"Found dim = {self.dim}, n_layers = {self.n_layers}, max_mel_frames = "
                f"{self.max_mel_frames}; expected an even dim, at least one layer and a "
                "multiple of 4 mel frames."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout = {self.dropout}, expected 0 or more and below 1.")

    @property
    def time_stride(self) -> int:
        """Mel frames per frame."""
        return 100 // self.frame_rate_hz


SIZES: dict[str, StudentConfig] = {
    "small": StudentConfig(),
    "base": StudentConfig(dim=768, n_heads=12),
    "large": StudentConfig(dim=1024, n_layers=24, n_heads=16),
    "xlarge": StudentConfig(dim=1280, n_layers=32, n_heads=20, frame_rate_hz=25),
    "xxlarge": StudentConfig(dim=1280, n_layers=48, n_heads=20, frame_rate_hz=25),
    "demo": StudentConfig(dim=256, n_layers=8, n_heads=4, frame_rate_hz=25),
}
"""By name. ``demo`` is the architecture of the student that ships with this package."""

PUBLISHED_SIZES = ("small", "base", "large", "xlarge", "xxlarge")


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCount:
    """Parameters of a configuration, by the part that they belong to."""

    published: int
    """What the published totals count: everything but the norms in ``added``."""
    added: dict[str, int] = field(default_factory=dict)
    """LayerNorms of ours, where the published description names none."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.published + sum(self.added.values())

    @property
    def up_to_last_layer(self) -> int:
        """Without the norm behind the last layer: what ``EncoderSpec.n_params`` counts."""
        return self.total - self.added.get("final_norm", 0)


def count_parameters(config: StudentConfig) -> ParameterCount:
    """The number of parameters of ``Student(config)``, without building it.

    >>> count_parameters(SIZES["base"]).published
    97218752
    """
    d, c, inner = config.dim, config.conv_channels, config.ffn_ratio * config.dim
    stem = (9 * c + c) + (9 * c * c + c) + (N_BANDS * c * d + d)
    position = config.pos_depth * (position_kernel(config) * d * d // config.pos_groups + d)
    attention = 4 * (d * d + d) + d * d + 2 * d
    feed_forward = (d * inner + inner) + (inner * d + d)
    block = attention + feed_forward + 2 * 2 * d
    stem_norm = {"projected": 2 * d, "bands": 2 * N_BANDS * c, "none": 0}[config.stem_norm]
    added = {
        "stem_norm": stem_norm,
        "block_norm": config.n_layers * 2 * d * config.block_norm,
        "final_norm": 2 * d * config.final_norm,
    }
    return ParameterCount(
        published=stem + position + config.n_layers * block,
        added={name: n for name, n in added.items() if n},
    )


N_MELS = 128
N_BANDS = 31
"""What two unpadded 3 x 3 convolutions of stride 2 leave of 128 mel bands: 63, then 31."""


def position_kernel(config: StudentConfig) -> int:
    """Frames that one convolution of the positional encoding sees (data2vec 2.0)."""
    return max(3, config.pos_width // config.pos_depth)


def published_sizes() -> list[dict[str, str | int]]:
    """One row per published size, as ``usad student sizes`` shows them.

    ``n_params`` is the published count, ``n_params_norms`` what our LayerNorms add.
    """
    rows: list[dict[str, str | int]] = []
    for name in PUBLISHED_SIZES:
        config = SIZES[name]
        count = count_parameters(config)
        rows.append(
            {
                "size": name,
                "n_params": count.published,
                "dim": config.dim,
                "n_layers": config.n_layers,
                "n_heads": config.n_heads,
                "frame_rate_hz": config.frame_rate_hz,
                "n_params_norms": count.total - count.published,
            }
        )
    return rows
