"""MuQ a second time, in numpy: one clip, no batches (arXiv:2501.01108; Gulati et al. 2020)."""

from typing import Any

import librosa
import numpy as np
import scipy.special

Array = np.ndarray[Any, Any]
Weights = dict[str, Array]
MEAN_DB, STD_DB = 6.768444971712967, 18.417922652295623


def log_mel(samples: Array) -> Array:
    """[mel, frame]; decibels of mel power with no floor but 1e-10, without the last frame."""
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=24_000,
        n_fft=2048,
        hop_length=240,
        n_mels=128,
        pad_mode="reflect",
        htk=True,
        norm=None,
    )
    return (10 * np.log10(np.maximum(power, 1e-10))[:, :-1] - MEAN_DB) / STD_DB


def layers(w: Weights, mel: Array, n_layers: int, n_heads: int) -> tuple[list[Array], list[Array]]:
    """Layers 0 to L and the normed last one; the second feed-forward outputs of 1 to L."""
    x = _stem(w, mel)
    outs, ffns = [x], []
    for i in range(n_layers):
        x, ffn = _block(_within(w, f"conformer.layers.{i}."), x, n_heads)
        outs.append(x)
        ffns.append(ffn)
    return [*outs, _layer_norm(_within(w, "conformer.layer_norm."), x)], ffns


def _stem(w: Weights, mel: Array) -> Array:
    x = mel[None]
    for i in range(2):
        b = _within(w, f"conv.conv.{i}.")
        deep = np.maximum(_batch_norm(b, "bn1", _conv(b, "conv1", x, 2)), 0)
        deep = _batch_norm(b, "bn2", _conv(b, "conv2", deep, 1))
        x = np.maximum(deep + _batch_norm(b, "bn3", _conv(b, "conv3", x, 2)), 0)
    rows = [x[:, :, t].reshape(-1) for t in range(x.shape[2])]  # channel by channel
    return _linear(_within(w, "conv.linear."), np.array(rows))


def _block(w: Weights, x: Array, n_heads: int) -> tuple[Array, Array]:
    x = x + 0.5 * _feed_forward(w, "ffn1", x)
    x = x + _attention(w, x, n_heads)
    x = x + _convolution(_within(w, "conv_module."), x)
    ffn = _feed_forward(w, "ffn2", x)
    return _layer_norm(_within(w, "final_layer_norm."), x + 0.5 * ffn), ffn


def _feed_forward(w: Weights, name: str, x: Array) -> Array:
    hidden = _layer_norm(_within(w, f"{name}_layer_norm."), x)
    hidden = _swish(_linear(_within(w, f"{name}.intermediate_dense."), hidden))
    return _linear(_within(w, f"{name}.output_dense."), hidden)


def _attention(w: Weights, x: Array, n_heads: int) -> Array:
    """Dimensions j and j + d/2 of a head turn by t · 10000^(-2j/d) before queries and keys."""
    x = _layer_norm(_within(w, "self_attn_layer_norm."), x)
    size = x.shape[1] // n_heads
    rates = (1 / 10_000 ** (np.arange(0, size, 2) / size)).astype(np.float32).astype(float)
    turned = x.copy()
    for h in range(n_heads):
        for j in range(size // 2):
            a, b = h * size + j, h * size + j + size // 2
            pair = (x[:, a] + 1j * x[:, b]) * np.exp(1j * np.arange(len(x)) * rates[j])
            turned[:, a], turned[:, b] = pair.real, pair.imag
    query = _linear(_within(w, "self_attn.linear_q."), turned)
    key = _linear(_within(w, "self_attn.linear_k."), turned)
    value = _linear(_within(w, "self_attn.linear_v."), x)
    heads = []
    for h in range(n_heads):
        at = slice(h * size, (h + 1) * size)
        scores = scipy.special.softmax(query[:, at] @ key[:, at].T / np.sqrt(size), axis=1)
        heads.append(scores @ value[:, at])
    return _linear(_within(w, "self_attn.linear_out."), np.concatenate(heads, axis=1))


def _convolution(w: Weights, x: Array) -> Array:
    x = _layer_norm(_within(w, "layer_norm."), x)
    a, b = np.split(x @ w["pointwise_conv1.weight"][:, :, 0].T, 2, axis=1)
    x = a * scipy.special.expit(b)
    kernel = w["depthwise_conv.weight"][:, 0]
    half = kernel.shape[1] // 2
    padded = np.pad(x, ((half, half), (0, 0)))
    x = sum(padded[k : k + len(x)] * kernel[:, k] for k in range(kernel.shape[1]))
    x = _swish(_batch_norm(w, "batch_norm", x.T).T)
    return x @ w["pointwise_conv2.weight"][:, :, 0].T


def _conv(w: Weights, name: str, x: Array, stride: int) -> Array:
    """3 × 3 with one zero around, [channel, mel, frame]."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    cut = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    made = np.einsum("chwij,ocij->ohw", cut[:, ::stride, ::stride], w[f"{name}.weight"])
    return made + w[f"{name}.bias"][:, None, None]


def _batch_norm(w: Weights, name: str, x: Array) -> Array:
    """Of the channels, which come first, by the stored statistics."""
    b = _within(w, f"{name}.")
    over = (slice(None), *(None,) * (x.ndim - 1))
    scale = b["weight"] / np.sqrt(b["running_var"] + 1e-5)
    return (x - b["running_mean"][over]) * scale[over] + b["bias"][over]


def _layer_norm(w: Weights, x: Array) -> Array:
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * w["weight"] + w["bias"]


def _linear(w: Weights, x: Array) -> Array:
    return x @ w["weight"].T + w["bias"]


def _swish(x: Array) -> Array:
    return x * scipy.special.expit(x)


def _within(w: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): v for name, v in w.items() if name.startswith(prefix)}
