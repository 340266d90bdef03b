"""Our log-mel bands against Kaldi's own code, and against their definition."""

import kaldi_native_fbank
import numpy as np
import pytest
import torch

from usad_workbench.core.encoders.networks.mel import MelConfig, MelSpectrogram
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.models.frontend import LOG_FLOOR, FrontendConfig, LogMel
from usad_workbench.core.models.sizes import SIZES
from usad_workbench.core.models.student import Student

RNG = np.random.default_rng(0)


def sound(n_samples: int) -> np.ndarray:
    """Noise with an offset, the second half 60 dB quieter."""
    samples = RNG.standard_normal(n_samples) * 0.1 + 0.05
    samples[n_samples // 2 :] *= 1e-3
    return samples.astype(np.float32)


def kaldi_fbank(samples: np.ndarray, config: FrontendConfig) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.window_type = "hanning"
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = config.n_mels
    options.mel_opts.low_freq = config.low_hz
    options.mel_opts.high_freq = 0
    options.use_energy = False
    options.htk_compat = True
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(16_000, (samples - samples.mean()).tolist())
    fbank.input_finished()
    return np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def undo_scaling(mel: torch.Tensor) -> np.ndarray:
    """From normalised bands to natural logarithms (constants: USAD code, AudioSet)."""
    return mel.numpy() * (2 * 4.569) - 4.268


# Kaldi refuses 128 bands from 20 Hz, since the lowest holds no bin of the Fourier
# transform (torchaudio, which the published students use, leaves it empty). So 128
# bands are compared from 1000 Hz, and the range from 20 Hz with 80 bands.
@pytest.mark.parametrize(("n_mels", "low_hz"), [(80, 20.0), (128, 1000.0)])
@pytest.mark.parametrize("n_samples", [400, 559, 560, 16_000, 33_333])
def test_equals_kaldi(n_mels: int, low_hz: float, n_samples: int) -> None:
    config = FrontendConfig(n_mels=n_mels, low_hz=low_hz)
    samples = sound(n_samples)
    mel, n_valid = LogMel(config)(torch.from_numpy(samples)[None], torch.tensor([n_samples]))
    expected = kaldi_fbank(samples, config)
    assert n_valid.tolist() == [len(expected)] == [1 + (n_samples - 400) // 160]
    np.testing.assert_allclose(undo_scaling(mel[0]), expected, atol=1e-3)


def test_the_lowest_of_128_bands_is_empty_as_in_torchaudio() -> None:
    samples = torch.from_numpy(sound(4000))[None]
    mel, _ = LogMel()(samples, torch.tensor([4000]))
    is_empty = LogMel().filters.sum(1) == 0
    assert int(is_empty.sum()) == 1
    bands = undo_scaling(mel)[0][:, is_empty.numpy()]
    np.testing.assert_allclose(bands, np.log(LOG_FLOOR), atol=1e-4)


def test_a_clip_has_the_bands_that_it_has_alone() -> None:
    lengths = [3000, 16_000, 777]
    batch = torch.full((3, 16_000), 7.0)  # padding that would show
    clips = [torch.from_numpy(sound(n)) for n in lengths]
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    mel, n_valid = LogMel()(batch, torch.tensor(lengths))
    for row, n, clip in zip(mel, n_valid, clips, strict=True):
        alone, none = LogMel()(clip[None])
        assert none is None and int(n) == alone.shape[1]
        torch.testing.assert_close(row[:n], alone[0], atol=1e-5, rtol=0)
        assert not row[n:].any()


def test_an_offset_does_not_matter() -> None:
    samples = torch.from_numpy(sound(5000))[None]
    n = torch.tensor([5000])
    torch.testing.assert_close(
        LogMel()(samples, n)[0], LogMel()(samples + 0.3, n)[0], atol=1e-2, rtol=0
    )


def test_a_clip_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(ShapeError, match="at least 400"):
        LogMel()(torch.zeros(1, 399))
    with pytest.raises(ShapeError, match="has 399 samples"):
        LogMel()(torch.zeros(2, 800), torch.tensor([800, 399]))


@pytest.mark.parametrize("size", ["small", "xxlarge", "demo"])
def test_all_of_a_student_is_made_on_the_default_device(size: str) -> None:
    """The meta device stands for an accelerator: what ignores the default stays on the CPU."""
    with torch.device("meta"):
        student = Student(SIZES[size])
    tensors = {**dict(student.named_parameters()), **dict(student.named_buffers())}
    assert {"log_mel.filters", "log_mel.taper"} <= tensors.keys()
    assert [name for name, tensor in tensors.items() if tensor.device.type != "meta"] == []


def test_all_of_the_front_ends_of_teachers_is_made_there_too() -> None:
    with torch.device("meta"):
        config = MelConfig(sample_rate_hz=16_000, n_fft=400, hop=160, n_mels=40)
        buffers = dict(MelSpectrogram(config).named_buffers())
    assert buffers and {tensor.device.type for tensor in buffers.values()} == {"meta"}
