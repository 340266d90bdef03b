"""From mel bands to what enters the first block: two convolutions and positions.

Everything here sees several frames at once, so frames behind the end of a clip are set
to zero before each convolution over time: a clip alone and the same clip padded in a
batch give the same frames.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from usad_workbench.core.models.encoder import frame_mask
from usad_workbench.core.models.sizes import N_BANDS, StudentConfig, position_kernel


def zero_padding(frames: Tensor, n_valid: Tensor | None) -> Tensor:
    """Frames with zeros behind the end of each clip, shape [clip, frame, ...]."""
    if n_valid is None:
        return frames
    is_valid = frame_mask(n_valid, frames.shape[1])
    return frames.masked_fill(~is_valid.view(*is_valid.shape, *[1] * (frames.ndim - 2)), 0.0)


def n_strided(n_frames: Tensor, stride: int) -> Tensor:
    """Frames left by a convolution of kernel 3 and padding 1: the quotient rounded up."""
    return (n_frames + stride - 1).div(stride, rounding_mode="floor")


class ConvStem(nn.Module):
    """Mel bands to frames of the model's width.

    Two 3 x 3 convolutions, each with a ReLU, then a linear layer over channels x bands:
    128 bands become 63, then 31 (no padding over frequency, stride 2). Over time there
    is padding of 1 and stride 2, then 1 (50 Hz) or 2 (25 Hz), which gives 49, 499, 1499
    frames for 1, 10, 30 s (25, 250, 750 at 25 Hz).

    The published parameter counts decide the number of convolutions, their channels and
    the padding over frequency; that time is padded follows from the published ratio of
    mel frames to frames. Whether the norm (config key ``subsample_normalization``) acts
    before or behind the projection is not published: ``StudentConfig.stem_norm``.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        channels, d = config.conv_channels, config.dim
        self.time_strides = (2, config.time_stride // 2)
        self.conv1 = nn.Conv2d(1, channels, 3, (self.time_strides[0], 2), padding=(1, 0))
        self.conv2 = nn.Conv2d(channels, channels, 3, (self.time_strides[1], 2), padding=(1, 0))
        self.projection = nn.Linear(channels * N_BANDS, d)
        width = {"projected": d, "bands": channels * N_BANDS}.get(config.stem_norm)
        self.norm = nn.LayerNorm(width) if width else nn.Identity()
        self.norm_first = config.stem_norm == "bands"

    def n_frames(self, n_mel: Tensor) -> Tensor:
        """Frames of clips with this many mel frames."""
        return n_strided(n_strided(n_mel, self.time_strides[0]), self.time_strides[1])

    def forward(self, mel: Tensor, n_valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Frames [clip, frame, dim] and valid frames, none where all are.

        Args:
            mel: Bands, shape [clip, mel frame, mel].
            n_valid: Valid mel frames per clip, shape [clip]; all where none.
        """
        between = None if n_valid is None else n_strided(n_valid, self.time_strides[0])
        maps = F.relu(self.conv1(zero_padding(mel, n_valid).unsqueeze(1)))
        maps = zero_padding(maps.transpose(1, 2), between).transpose(1, 2)
        maps = F.relu(self.conv2(maps))
        bands = maps.transpose(1, 2).flatten(2)
        frames: Tensor
        if self.norm_first:
            frames = self.projection(self.norm(bands))
        else:
            frames = self.norm(self.projection(bands))
        return frames, None if n_valid is None else self.n_frames(n_valid)


class ConvPosition(nn.Module):
    """Positions from what lies around: the frames plus five grouped convolutions.

    Each convolution is followed by a LayerNorm over channels without weights and a GELU,
    as in data2vec 2.0 (arXiv 2212.07525, audio modality), which USAD (arXiv 2506.18843,
    sec. IV-A) names.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        kernel = position_kernel(config)
        self.convs = nn.ModuleList(
            nn.Conv1d(config.dim, config.dim, kernel, padding=kernel // 2, groups=config.pos_groups)
            for _ in range(config.pos_depth)
        )

    def forward(self, frames: Tensor, n_valid: Tensor | None) -> Tensor:
        """Frames of the same shape [clip, frame, dim]."""
        n_frames, width = frames.shape[1:]
        position = frames
        for conv in self.convs:
            # An even kernel gives one frame too many; it is cut off at the end.
            around = conv(zero_padding(position, n_valid).transpose(1, 2))[..., :n_frames]
            position = F.gelu(F.layer_norm(around.transpose(1, 2), (width,)))
        return torch.add(frames, position)
