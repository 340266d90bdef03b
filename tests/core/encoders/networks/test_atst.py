"""ATST-Frame against its formulas, written a second time in numpy and double precision."""

import json
import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import scipy.special
import torch

from tests.core.encoders.planted_weights import noise as planted_noise
from tests.core.encoders.planted_weights import planted
from tests.core.encoders.teacher_files import SMALL_ATST, atst_checkpoint, small_atst
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.networks import atst
from usad_workbench.core.encoders.networks.atst import AtstConfig, AtstEncoder, AtstNet
from usad_workbench.core.encoders.registry import (
    encoder_spec,
    encoder_status,
    get_weights,
    load_encoder,
)
from usad_workbench.core.encoders.weights import CACHE_VARIABLE
from usad_workbench.core.errors import WeightsError
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind
from usad_workbench.workbench.cli import main

Array = np.ndarray[Any, np.dtype[np.float64]]


def small_encoder(net: AtstNet | None = None) -> AtstEncoder:
    net = net or small_atst()
    n_layers = net.config.n_layers
    small = replace(
        encoder_spec("atst-frame"),
        n_layers=n_layers,
        dims=(net.config.dim,) * (n_layers + 1),
        frame_rates_hz=(25.0,) * (n_layers + 1),
    )
    return AtstEncoder(small, net, "0" * 64)


def noise(duration_s: float, seed: int = 0, scale: float = 0.1) -> Clip:
    samples = np.random.default_rng(seed).normal(scale=scale, size=round(duration_s * 16_000))
    return Clip(samples=samples.astype(np.float32), sample_rate_hz=16_000)


def features(encoder: AtstEncoder, *clips: Clip, kind: TargetKind = "block") -> LayerFeatures:
    layers = range(1, encoder.spec.n_layers + 1) if kind == "ffn" else None
    return encoder.features(ClipBatch.from_clips(clips), layers, kind)


# The reference: numpy, one clip, no batches, no masks.


def reference_log_mel(samples: Array) -> Array:
    """[mel, frame]; decibels of mel power, 80 dB at most below the maximum, mapped to -1..1."""
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=16_000,
        n_fft=1024,
        hop_length=160,
        win_length=1024,
        window="hann",
        center=True,
        pad_mode="reflect",
        power=2.0,
        n_mels=64,
        fmin=60,
        fmax=7800,
        htk=True,
        norm=None,
    )
    db = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=80.0)
    return (db + 79.6482) / (50.6842 + 79.6482) * 2 - 1


def reference_norm(x: Array, weight: Array, bias: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6) * weight + bias


def reference_layers(
    w: dict[str, Array], log_mel: Array, config: AtstConfig
) -> tuple[list[Array], list[Array], Array]:
    """Layers 0..L, feed-forward outputs 1..L and the normed last layer of at most 10 s."""
    n_tokens = log_mel.shape[1] // 4
    rows = []
    for t in range(n_tokens):
        patch = np.array([log_mel[mel, 4 * t + k] for mel in range(64) for k in range(4)])
        token = w["patch_embed.patch_embed.weight"] @ patch + w["patch_embed.patch_embed.bias"]
        rows.append(token + w["pos_embed"][0, t + 1])
    x = np.array(rows)
    outs, ffns = [x], []
    dim, d_head = config.dim, config.dim // config.n_heads
    for i in range(config.n_layers):
        b = {name.removeprefix(f"blocks.{i}."): value for name, value in w.items()}
        qkv = reference_norm(x, b["norm1.weight"], b["norm1.bias"]) @ b["attn.qkv.weight"].T
        heads = []
        for h in range(config.n_heads):
            at = slice(h * d_head, (h + 1) * d_head)
            query, key, value = (qkv[:, part * dim : (part + 1) * dim][:, at] for part in range(3))
            heads.append(scipy.special.softmax(query @ key.T / np.sqrt(d_head), axis=1) @ value)
        x = x + np.concatenate(heads, axis=1) @ b["attn.proj.weight"].T + b["attn.proj.bias"]
        hidden = reference_norm(x, b["norm2.weight"], b["norm2.bias"])
        hidden = hidden @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"]
        hidden = hidden * 0.5 * (1 + scipy.special.erf(hidden / np.sqrt(2)))
        ffn = hidden @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"]
        x = x + ffn
        outs.append(x)
        ffns.append(ffn)
    return outs, ffns, reference_norm(x, w["norm_frame.weight"], w["norm_frame.bias"])


def weights_of(net: AtstNet) -> dict[str, Array]:
    return {name: value.double().numpy() for name, value in net.state_dict().items()}


@pytest.mark.parametrize("scale", [0.1, 1e-4, 0.0])
def test_log_mel_is_librosas(scale: float) -> None:
    """Measured: 2e-6 at most. A loud end makes the floor of 80 dB below it bite."""
    clip = noise(1.3, scale=scale)
    samples = clip.samples.copy()
    samples[-2000:] *= 1e4
    expected = reference_log_mel(samples)
    n_valid = torch.tensor([len(samples)])
    found = small_atst().log_mel(torch.from_numpy(samples)[None], n_valid)[0].numpy().T
    assert scale == 0 or np.isclose(expected.max() - expected.min(), 80 / 130.3324 * 2)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_every_layer_is_that_of_the_formulas() -> None:
    """Double precision from the log-mel on; measured: 1e-14."""
    net = small_atst().double()
    log_mel = reference_log_mel(noise(1.03).samples).astype(np.float64)
    outs, ffns, final = reference_layers(weights_of(net), log_mel, SMALL_ATST)
    with torch.no_grad():
        found, found_ffns = net(
            torch.from_numpy(log_mel.T)[None], torch.tensor([log_mel.shape[1] // 4]), 3
        )
        normed = net.norm_frame(found[-1])
    for a, b in zip([*found, *found_ffns, normed], [*outs, *ffns, final], strict=True):
        np.testing.assert_allclose(a[0].numpy(), b, rtol=1e-10, atol=1e-10)


def test_a_clip_goes_from_samples_to_the_layers_of_the_formulas() -> None:
    encoder, clip = small_encoder(), noise(0.7, seed=3)
    expected, ffns, final = reference_layers(
        weights_of(encoder.net), reference_log_mel(clip.samples), SMALL_ATST
    )
    for kind, wanted in (("block", expected), ("ffn", ffns), ("output", [*expected[:-1], final])):
        found = features(encoder, clip, kind=kind)  # type: ignore[arg-type]
        for a, b in zip(found.frames, wanted, strict=True):
            np.testing.assert_allclose(a[0].numpy(), b, rtol=0, atol=1e-3 * np.abs(b).max())


@pytest.mark.parametrize(("duration_s", "n_frames"), [(1, 25), (10, 250), (30, 750), (0.04, 1)])
def test_frames(duration_s: float, n_frames: int) -> None:
    found = features(small_encoder(), noise(duration_s))
    assert {int(n[0]) for n in found.n_valid} == {n_frames}
    assert {frames.shape[1] for frames in found.frames} == {n_frames}


def test_a_long_clip_is_its_chunks_of_ten_seconds() -> None:
    """Mel frames 1000 k to 1000 k + 1000 of the whole clip's mel, each with its own positions."""
    encoder, clip = small_encoder(), noise(24.3, seed=5)
    log_mel = reference_log_mel(clip.samples)
    found = features(encoder, clip).of(3)[0].numpy()
    parts = [
        reference_layers(weights_of(encoder.net), log_mel[:, start : start + 1001], SMALL_ATST)[0][
            3
        ]
        for start in (0, 1000, 2000)
    ]
    assert [len(part) for part in parts] == [250, 250, 107]
    expected = np.concatenate(parts)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_clips_of_all_lengths_share_a_batch() -> None:
    encoder = small_encoder()
    clips = [noise(d, seed) for seed, d in enumerate((0.5, 12.0, 3.337, 10.02, 21.5))]
    clips[2] = noise(3.337, 2, scale=1e-4)  # a floor of its own
    together = features(encoder, *clips)
    for row, clip in enumerate(clips):
        alone = features(encoder, clip)
        for a, b, n in zip(together.frames, alone.frames, together.n_valid, strict=True):
            assert int(n[row]) == b.shape[1]
            torch.testing.assert_close(a[row, : int(n[row])], b[0], rtol=0, atol=1e-4)


# The authors' own program (``fixtures/make_atst_reference.py``).


@pytest.fixture(scope="module")
def authors() -> Any:
    return np.load(Path(__file__).parents[1] / "fixtures" / "atst_reference.npz")


@pytest.fixture(scope="module")
def theirs(authors: Any) -> AtstEncoder:
    """Our network with the weights of theirs."""
    shapes: dict[str, list[int]] = json.loads(str(authors["names"]))
    state = {n: torch.from_numpy(planted(n, tuple(s))) for n, s in shapes.items()}
    net = AtstNet(SMALL_ATST).eval()
    assert set(state) - set(net.state_dict()) == {"mask_embed"}
    net.load_state_dict({n: value for n, value in state.items() if n != "mask_embed"})
    return small_encoder(net)


def planted_clip(n_samples: int, seed: int = 0) -> Clip:
    return Clip(samples=planted_noise(n_samples, seed), sample_rate_hz=16_000)


def test_log_mel_is_the_authors(authors: Any, theirs: AtstEncoder) -> None:
    """A fifth of the clip is silence, which is raised to 80 dB below the loudest band."""
    samples = planted_clip(32_999).samples
    found = theirs.net.log_mel(torch.from_numpy(samples)[None], torch.tensor([32_999]))[0].T
    assert (found == found.min()).float().mean() > 0.1
    np.testing.assert_allclose(found.numpy(), authors["log_mel"], rtol=0, atol=1e-5)


def test_layers_are_those_of_the_authors(authors: Any, theirs: AtstEncoder) -> None:
    """Their extractor gives each block behind the final norm."""
    clip = planted_clip(32_999)
    blocks = features(theirs, clip).frames[1:]
    for ours, expected in zip(blocks, authors["normed"], strict=True):
        found = theirs.net.norm_frame(ours[0]).numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    output = features(theirs, clip, kind="output").of(3)[0]
    assert torch.equal(output, theirs.net.norm_frame(blocks[-1][0]))
    for ours, expected in zip(
        features(theirs, clip, kind="ffn").frames, authors["ffn"], strict=True
    ):
        limit = 2e-5 * np.abs(expected).max()
        np.testing.assert_allclose(ours[0].numpy(), expected, rtol=0, atol=limit)


def test_of_a_long_clip_the_first_ten_seconds_are_the_authors(
    authors: Any, theirs: AtstEncoder
) -> None:
    """Behind them theirs are 10 ms late, and 30 s have 749 frames."""
    found = features(theirs, planted_clip(11 * 16_000, seed=1), kind="output").of(3)[0].numpy()
    expected = authors["longer"]
    assert len(found) == len(expected) == 275 and authors["n_frames_of_30_s"] == 749
    limit = 2e-5 * np.abs(expected).max()
    np.testing.assert_allclose(found[:250], expected[:250], rtol=0, atol=limit)
    assert np.abs(found[250:] - expected[250:]).max() > 100 * limit


def test_size_is_that_of_the_paper() -> None:
    """85.42 M parameters; what a frame of the last layer depends on is what the spec counts."""
    with torch.device("meta"):
        net = AtstNet(AtstConfig())
    counted = sum(p.numel() for p in net.parameters())
    assert round(counted / 1e6, 2) == 85.42
    assert encoder_spec("atst-frame").n_params == counted - 2 * 768  # without the final norm


# The published file's form.


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a table whose ATST-Frame is the small one."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(atst, "AtstConfig", lambda: SMALL_ATST)
    return tmp_path / "cache"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "atstframe_base.ckpt"
    torch.save(atst_checkpoint(small_atst(seed=7).state_dict()), path)
    return path


def test_the_teachers_weights_are_read_from_the_checkpoint(cache: Path, published: Path) -> None:
    get_weights("atst-frame", from_file=published)
    assert encoder_status("atst-frame").available
    encoder = load_encoder("atst-frame")
    expected = small_atst(seed=7).state_dict()
    found = encoder.net.state_dict()  # type: ignore[attr-defined]
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert {path.name for path in (cache / "encoders").rglob("*") if path.is_file()} == {
        "weights.safetensors",
        "source.json",
    }
    published.unlink()
    get_weights("atst-frame")  # is there


def test_lightnings_own_settings_are_read_without_lightning(
    cache: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``AttributeDict`` is a dict to us; Lightning is not installed."""
    module = types.ModuleType("pytorch_lightning.utilities.parsing")
    made = type("AttributeDict", (dict,), {"__module__": module.__name__})
    module.AttributeDict = made  # type: ignore[attr-defined]
    read = torch.load(published, weights_only=False)
    with monkeypatch.context() as patch:
        for name in ("pytorch_lightning", "pytorch_lightning.utilities", module.__name__):
            patch.setitem(sys.modules, name, module)
        torch.save({**read, "hyper_parameters": made(arch="base")}, published)
    get_weights("atst-frame", from_file=published)
    assert encoder_status("atst-frame").available


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, ("__import__('pathlib').Path('harm').touch()",))


def test_nothing_in_a_checkpoint_is_executed(
    cache: Path, published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    made = torch.load(published, weights_only=False)
    torch.save({**made, "callbacks": Harmful()}, published)
    with pytest.raises(WeightsError, match=r"more than tensors and plain settings \(\S+\)"):
        get_weights("atst-frame", from_file=published)
    assert not Path("harm").exists()
    assert not (cache / "encoders").exists()


def test_wrong_files_are_named(cache: Path, published: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"browser.*drive\.google\.com.*--from FILE"):
        get_weights("atst-frame")
    assert "--from FILE" in encoder_status("atst-frame").reason
    with pytest.raises(WeightsError, match="is no file"):
        get_weights("atst-frame", from_file=tmp_path / "missing.ckpt")
    other = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"encoder.weight": torch.ones(1)}}, other)
    with pytest.raises(WeightsError, match=r"begin with encoder\. Expected the authors'"):
        get_weights("atst-frame", from_file=other)
    other.write_bytes(published.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="damaged"):
        get_weights("atst-frame", from_file=other)
    other.write_bytes(pickle.dumps({"no": "tensors"}))
    with pytest.raises(WeightsError):
        get_weights("atst-frame", from_file=other)
    torch.save({"state_dict": [torch.ones(1)]}, other)
    with pytest.raises(WeightsError, match="holds no tensor named"):
        get_weights("atst-frame", from_file=other)
    other.write_text("hello, this is text\n" * 20)
    with pytest.raises(WeightsError, match="no checkpoint of torch") as told:
        get_weights("atst-frame", from_file=other)
    assert "weights_only" not in str(told.value)
    with pytest.raises(WeightsError, match="not read from a file"):
        get_weights("musicnn", from_file=published)
    assert not (cache / "encoders").exists()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (AtstConfig(dim=32, n_layers=3, n_heads=4), "pos_embed has shape .1, 251, 24."),
        (AtstConfig(dim=24, n_layers=4, n_heads=4), r"blocks\.3\..* has shape none"),
        (AtstConfig(dim=24, n_layers=2, n_heads=4), r"blocks\.2\..* expected none"),
    ],
)
def test_a_checkpoint_of_another_size_is_refused_and_not_installed(
    cache: Path, published: Path, monkeypatch: pytest.MonkeyPatch, other: AtstConfig, named: str
) -> None:
    """Such as the authors' small one."""
    monkeypatch.setattr(atst, "AtstConfig", lambda: other)
    with pytest.raises(WeightsError, match=f"another network.*{named}"):
        get_weights("atst-frame", from_file=published)
    assert not (cache / "encoders").exists()


def test_a_wrong_file_leaves_what_was_there(cache: Path, published: Path, tmp_path: Path) -> None:
    get_weights("atst-frame", from_file=published)
    before = load_encoder("atst-frame").weights_sha256
    other = tmp_path / "other.ckpt"
    other.write_bytes(published.read_bytes()[:-5000])
    with pytest.raises(WeightsError):
        get_weights("atst-frame", from_file=other)
    assert load_encoder("atst-frame").weights_sha256 == before
    assert [path.name for path in (cache / "encoders").iterdir()] == ["atst-frame"]


def test_the_command_installs_a_file_or_says_what_is_wrong(
    cache: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def get(file: Path, *names: str) -> int:
        return main(["encoders", "get", *names, "--from", str(file), "--json"])

    other = tmp_path / "other.ckpt"
    other.write_bytes(b"no checkpoint")
    assert get(other, "atst-frame") == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert not row["available"] and str(other) in row["reason"]
    assert not (cache / "encoders").exists()
    for name in ("wavlm-large", "log-mel-statistics", "hf:me/model"):
        assert get(published, name) == 1
        (row,) = json.loads(capsys.readouterr().out)
        assert "not read from a file" in row["reason"]
    assert get(published, "atst-frame", "musicnn") == 2
    assert "checkpoint of one encoder" in capsys.readouterr().err
    assert get(published, "atst-frame") == 0
    folder = str(cache / "encoders" / "atst-frame")
    assert json.loads(capsys.readouterr().out) == [
        {"encoder": "atst-frame", "available": True, "reason": "", "folder": folder}
    ]
