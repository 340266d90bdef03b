"""A window of an MP4 that is sought has the very samples of the whole file, or is not given."""

from pathlib import Path

import av
import numpy as np
import pytest

from usad_workbench.core.audio import decoders
from usad_workbench.core.audio.decoders import opened
from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.audio.seeking import frame_times, window
from usad_workbench.core.errors import AudioError

RATE_HZ = 44_100
SECONDS = 12


def _encoded(path: Path, codec: str = "aac", **options: str) -> Path:
    """A sweep in noise, which FFmpeg's encoder substitutes in part unless it is told not to."""
    n = SECONDS * RATE_HZ
    t = np.arange(n) / RATE_HZ
    noise = np.random.default_rng(0).normal(scale=0.05, size=n)
    sound = (0.2 * np.sin(2 * np.pi * (200 + 20 * t) * t) + noise).astype(np.float32)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=RATE_HZ, options=options)
        stream.layout = "stereo"
        frame = av.AudioFrame.from_ndarray(np.stack([sound, sound / 2]), "fltp", "stereo")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        resampler = av.AudioResampler(stream.format, "stereo", RATE_HZ, frame_size=1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path


def _whole(path: Path) -> np.ndarray:
    with opened(path) as sound:
        return sound.read(0, sound.n_samples)


def _windows(path: Path) -> list[tuple[int, np.ndarray | None]]:
    """Windows of half a second, the first and the last that can be sought among them."""
    with path.open("rb") as file:
        times = frame_times(file)
        assert times is not None
        last = times.n_samples - RATE_HZ // 2
        starts = [0, last, *np.random.default_rng(1).integers(0, last, 10).tolist()]
        return [(start, window(file, times, start, RATE_HZ // 2)) for start in starts]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [("a.m4a", "aac", {"aac_pns": "0"}), ("a.mp4", "aac", {}), ("lossless.m4a", "alac", {})],
)
def test_what_is_sought_is_bit_for_bit_that_of_the_whole(
    name: str, codec: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = _encoded(tmp_path / name, codec, **options)
    whole = _whole(path)
    found = _windows(path)
    for start, samples in found:
        if samples is not None:
            np.testing.assert_array_equal(samples, whole[start : start + RATE_HZ // 2])
    n_sought = sum(samples is not None for _, samples in found)
    if name == "a.mp4":  # one pass gives other noise there
        assert 0 < n_sought < len(found)
    else:
        assert n_sought == len(found)


def test_a_window_is_read_without_the_whole_where_that_is_sure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("decoded whole")

    path = _encoded(tmp_path / "a.m4a", aac_pns="0")
    whole = read_audio(path).samples
    monkeypatch.setattr(decoders, "decode", never)
    decoders._known_decoded.cache_clear()
    clip = read_audio(path, start_s=7.3, end_s=8.1)
    np.testing.assert_array_equal(clip.samples, whole[round(7.3 * RATE_HZ) : round(8.1 * RATE_HZ)])
    assert clip.start_s == round(7.3 * RATE_HZ) / RATE_HZ
    with pytest.raises(AssertionError, match="decoded whole"):  # its last frame may be cut
        read_audio(path, start_s=11.5, end_s=SECONDS)


def test_with_noise_of_the_decoder_the_samples_are_those_of_the_whole_too(tmp_path: Path) -> None:
    path = _encoded(tmp_path / "a.m4a")
    whole = read_audio(path).samples
    for start in np.arange(0.25, 11, 0.7):
        first, last = round(start * RATE_HZ), round((start + 0.5) * RATE_HZ)
        found = read_audio(path, start_s=start, end_s=start + 0.5).samples
        np.testing.assert_array_equal(found, whole[first:last])


@pytest.mark.parametrize(("name", "codec"), [("a.mka", "aac"), ("a.aac", "aac"), ("a.ac3", "ac3")])
def test_others_are_not_sought(name: str, codec: str, tmp_path: Path) -> None:
    with _encoded(tmp_path / name, codec).open("rb") as file:
        assert frame_times(file) is None


def test_a_lost_end_is_named_before_a_window_is_given(tmp_path: Path) -> None:
    """The index comes first, as in files that are made to be streamed."""
    path = _encoded(tmp_path / "a.m4a", aac_pns="0")
    streamed = tmp_path / "b.m4a"
    with (
        av.open(str(path)) as source,
        av.open(str(streamed), "w", options={"movflags": "faststart"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = streamed.read_bytes()
    streamed.write_bytes(data[: 2 * len(data) // 3])
    with pytest.raises(AudioError, match="truncated"):
        read_audio(streamed, start_s=1.0, end_s=2.0)
