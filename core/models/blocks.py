"""The transformer block of the student: relative attention and a feed-forward block."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from usad_workbench.core.models.sizes import StudentConfig

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swish": F.silu,
    "gelu": F.gelu,
    "relu": F.relu,
}


QUERIES_AT_ONCE = 256
"""Rows of attention that a CPU computes together, see ``RelativeAttention``."""


def distance_table(n_frames: int, dim: int, device: torch.device) -> Tensor:
    """Sinusoids of the distances n, n - 1, ..., 1 - n, shape [2 n, dim].

    Signed, sine and cosine interleaved, base 10000 (Transformer-XL, arXiv 1901.02860,
    sec. 3.3, for attention in both directions). In float32 at any precision. The
    farthest is never used; with it ``shift_to_keys`` needs no copy.
    """
    distance = torch.arange(n_frames, -n_frames, -1, device=device, dtype=torch.float32)
    exponent = torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim
    angle = distance.unsqueeze(1) * torch.exp(-math.log(10_000.0) * exponent)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)


def shift_to_keys(scores: Tensor) -> Tensor:
    """From one score per distance to one per key: [..., m, m + n] to [..., m, n].

    The m queries follow each other. Column c of the first holds its score at the distance of
    key c - m from it; the next query is one farther from every key, so that a row of the result
    begins m + n - 1 places behind the one before. That is the trick of Transformer-XL
    (arXiv 1901.02860, appendix B) as a view.

    >>> shift_to_keys(torch.tensor([[2, 1, 0, -1], [2, 1, 0, -1]])).tolist()
    [[0, -1], [1, 0]]
    """
    m, width = scores.shape[-2:]
    rows = scores.flatten(-2)[..., m:].view(*scores.shape[:-2], m, width - 1)
    return rows[..., : width - m]


class RelativeAttention(nn.Module):
    """Multi-head attention with relative positions in the form of Transformer-XL.

    score(i, j) = ((q_i + u) . k_j + (q_i + v) . W r_(i-j)) / sqrt(dims per head), with u
    and v learned per head and W without bias per layer. USAD (arXiv 2506.18843, sec.
    IV-A) cites Shaw et al. 2018, yet its parameter counts need a d x d matrix for
    positions in every layer, which is this form (arXiv 1901.02860, eq. 5).

    m queries at n keys use m + n - 1 distances. All queries at once score twice as many pairs as
    there are and throw half away: 42 % of the forward pass of 30 s on a CPU. There queries go in
    blocks, whose scores also stay in the cache: one layer of the base size takes 0.66 of the time
    at 30 s, 0.97 at 10 s. Dropped: one buffer of scores filled by blocks for a single call
    (0.74), products and softmax by hand (0.68). Elsewhere, and where a graph is traced for any
    length, there is one block.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.n_heads, self.dropout = config.n_heads, config.dropout
        d = config.dim
        self.query = nn.Linear(d, d)
        self.key = nn.Linear(d, d)
        self.value = nn.Linear(d, d)
        self.position = nn.Linear(d, d, bias=False)
        self.output = nn.Linear(d, d)
        self.content_bias = nn.Parameter(torch.zeros(config.n_heads, d // config.n_heads))
        self.position_bias = nn.Parameter(torch.zeros(config.n_heads, d // config.n_heads))

    def forward(self, frames: Tensor, is_valid: Tensor | None, distances: Tensor) -> Tensor:
        """Frames [clip, frame, dim] to the same shape.

        Args:
            frames: Shape [clip, frame, dim].
            is_valid: Frames to attend to, shape [clip, frame]; all where none.
            distances: ``distance_table`` of this number of frames.
        """
        query, key, value = (
            self._heads(projection(frames)) for projection in (self.query, self.key, self.value)
        )
        to_content = query + self.content_bias.to(query.dtype).unsqueeze(1)
        # Scaled here, where the factor meets the fewest numbers.
        to_position = (query + self.position_bias.to(query.dtype).unsqueeze(1)) / math.sqrt(
            query.shape[-1]
        )
        position = self._heads(self.position(distances.to(query.dtype)).unsqueeze(0))
        n_frames = frames.shape[1]
        in_blocks = frames.device.type == "cpu" and not torch.compiler.is_compiling()
        mixed = []
        for start, stop in _blocks(n_frames, QUERIES_AT_ONCE if in_blocks else n_frames):
            needed = position[:, :, n_frames - stop : 2 * n_frames - start]
            scores = shift_to_keys(to_position[:, :, start:stop] @ needed.transpose(2, 3))
            if is_valid is not None:
                scores = scores.masked_fill(~is_valid[:, None, None, :], float("-inf"))
            attended = F.scaled_dot_product_attention(
                to_content[:, :, start:stop],
                key,
                value,
                attn_mask=scores,
                dropout_p=self.dropout if self.training else 0.0,
            )
            mixed.append(attended)
        output: Tensor = self.output(torch.cat(mixed, dim=2).transpose(1, 2).flatten(2))
        return output

    def _heads(self, frames: Tensor) -> Tensor:
        # [clip, frame, dim] to [clip, head, frame, dim per head]
        n_clips, n_frames, width = frames.shape
        heads = frames.view(n_clips, n_frames, self.n_heads, width // self.n_heads)
        return heads.transpose(1, 2)


def _blocks(n: int, size: int) -> list[tuple[int, int]]:
    """Where blocks of at most ``size`` of n places start and stop."""
    if size >= n:
        return [(0, n)]
    return [(start, min(start + size, n)) for start in range(0, n, size)]


class FeedForward(nn.Module):
    """Two linear layers with an activation between.

    Which one is not published; Swish is that of the conformer whose names the published
    code uses.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        inner = config.ffn_ratio * config.dim
        self.inner = nn.Linear(config.dim, inner)
        self.output = nn.Linear(inner, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.activation = _ACTIVATIONS[config.activation]

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [clip, frame, dim] to the same shape, before the residual addition."""
        output: Tensor = self.output(self.dropout(self.activation(self.inner(frames))))
        return output


class Block(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + feed_forward(norm(x)).

    Order, pre-norm and a residual factor of 1 are readings: USAD's counts fix one
    attention, one feed-forward block and two or three norms per block, no more.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim)
        self.attention = RelativeAttention(config)
        self.ffn_norm = nn.LayerNorm(config.dim)
        self.ffn = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.dim) if config.block_norm else nn.Identity()
        self.checkpoints_activations = False

    def forward(
        self, frames: Tensor, is_valid: Tensor | None, distances: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What leaves the block, and its feed-forward output before the residual."""
        if self.checkpoints_activations and torch.is_grad_enabled():
            outputs: tuple[Tensor, Tensor] = checkpoint(
                self._forward, frames, is_valid, distances, use_reentrant=False
            )
            return outputs
        return self._forward(frames, is_valid, distances)

    def _forward(
        self, frames: Tensor, is_valid: Tensor | None, distances: Tensor
    ) -> tuple[Tensor, Tensor]:
        attended = self.attention(self.attention_norm(frames), is_valid, distances)
        frames = frames + self.dropout(attended)
        ffn = self.ffn(self.ffn_norm(frames))
        return self.norm(frames + self.dropout(ffn)), ffn
