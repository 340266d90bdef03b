"""Floating-point operations of the student, by formula."""

from usad_workbench.core.models.frontend import FrontendConfig
from usad_workbench.core.models.sizes import N_BANDS, N_MELS, StudentConfig, position_kernel


def forward_flops(config: StudentConfig, n_clips: int, n_samples: int) -> int:
    """Operations of the matrix products and convolutions of one forward pass.

    Multiplications and additions count one each. The Fourier transform, norms,
    activations and softmax are left out (below 2 % together). Clips of at most
    ``max_mel_frames``.
    """
    front = FrontendConfig()
    d, channels = config.dim, config.conv_channels
    n_mel = 1 + (n_samples - front.window) // front.hop
    after_first = -(-n_mel // 2)
    n = -(-after_first // (config.time_stride // 2))
    mel = n_mel * N_MELS * 256
    first = after_first * channels * 63 * 9
    second = n * channels * N_BANDS * 9 * channels
    projection = n * N_BANDS * channels * d
    kernel = position_kernel(config)
    position = config.pos_depth * (n + (kernel + 1) % 2) * kernel * d * d // config.pos_groups
    linear = n * (4 + 2 * config.ffn_ratio) * d * d
    scores = n * 2 * n * d
    attention = 2 * n * n * d
    per_clip = mel + first + second + projection + position
    per_clip += config.n_layers * (linear + scores + attention)
    # The positions are projected once per layer, whatever the number of clips.
    return 2 * (n_clips * per_clip + config.n_layers * 2 * n * d * d)
