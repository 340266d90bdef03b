"""Audio is read to its end or the loss is named; a part is the same samples as the whole."""

import io
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from usad_workbench.core.audio import ffmpeg
from usad_workbench.core.audio.mpeg_frames import count_frames
from usad_workbench.core.audio.reading import probe_audio, read_audio, scan_audio
from usad_workbench.core.errors import AudioError, MissingExtraError
from usad_workbench.core.storage.sources import find_sources

RATE_HZ = 44_100


def _sound(seconds: float = 3.0) -> npt.NDArray[np.float32]:
    """A sweep that ends in noise: the frames of its end take more bits than those before."""
    n = round(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    noise = np.random.default_rng(0).normal(size=n)
    mixed = 0.3 * np.sin(2 * np.pi * (200 + 50 * t) * t) + 0.2 * noise * (t > seconds / 2)
    return np.clip(mixed, -1, 1).astype(np.float32)


def _encoded(path: Path, codec: str, container: str | None = None, rate_hz: int = RATE_HZ) -> Path:
    """The sound as FFmpeg's libraries write it."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        stream.layout, stream.bit_rate = "mono", 128_000
        frame = av.AudioFrame.from_ndarray(_sound()[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = RATE_HZ, 0
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.format, "mono", rate_hz, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path


def _written(path: Path) -> Path:
    soundfile.write(path, _sound(), RATE_HZ)
    return path


def _twice(path: Path) -> Path:
    _written(path)
    path.write_bytes(path.read_bytes() * 2)
    return path


def _no_count_of_frames(path: Path) -> Path:
    """An MP3 whose first frames are the large ones, without the header that counts them."""
    soundfile.write(path, _sound()[::-1], RATE_HZ, bitrate_mode="VARIABLE")
    data = path.read_bytes()
    first = data.index(b"\xff\xfb")
    path.write_bytes(data[data.index(b"\xff\xfb", first + 4) :])
    return path


def _no_length(path: Path) -> Path:
    """A FLAC as a program writes it into a pipe."""
    data = bytearray(_written(path).read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)
    return path


HELD: dict[str, tuple[Callable[[Path], Path], float]] = {
    "a.m4a": (lambda p: _encoded(p, "aac"), 3),
    "a.aac": (lambda p: _encoded(p, "aac", "adts"), 3),
    "a.mp4": (lambda p: _encoded(p, "aac"), 3),
    "alac.caf": (lambda p: _encoded(p, "alac", "caf"), 3),
    "a.mka": (lambda p: _encoded(p, "aac", "matroska"), 3),
    "a.wma": (lambda p: _encoded(p, "wmav2", "asf"), 3),
    "a.wv": (lambda p: _encoded(p, "wavpack"), 3),
    "a.tta": (lambda p: _encoded(p, "tta"), 3),
    "a.mp2": (lambda p: _encoded(p, "mp2"), 3),
    "flac_in.ogg": (lambda p: _encoded(p, "flac", "ogg"), 3),
    "variable.mp3": (_no_count_of_frames, 3),
    "open.flac": (_no_length, 3),
    "mp3_in.wav": (lambda p: _encoded(p, "libmp3lame", "wav"), 3),
    "two.mp3": (_twice, 6),
    "two.flac": (_twice, 6),
    "two.ogg": (_twice, 6),
}
OF_LIBSNDFILE = {"a.mp2", "mp3_in.wav"}
"""Read by libsndfile alone."""


@pytest.mark.parametrize("name", HELD)
def test_all_of_a_file_is_read(name: str, tmp_path: Path) -> None:
    make, seconds = HELD[name]
    path = make(tmp_path / name)
    counted = scan_audio(path)
    assert counted.duration_s == pytest.approx(seconds, abs=0.1)
    whole = read_audio(path)
    assert len(whole.samples) == counted.n_samples
    first, last = (round(t * RATE_HZ) for t in (seconds - 1.5, seconds - 0.5))
    part = read_audio(path, start_s=seconds - 1.5, end_s=seconds - 0.5)
    np.testing.assert_allclose(part.samples, whole.samples[first:last], atol=2e-7)
    level = np.sqrt(np.mean(part.samples**2))
    assert 0.1 < level < 0.4


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz"),
    [("a.webm", "libopus", 48_000), ("a.opus", "libopus", 48_000), ("a.ac3", "ac3", 48_000),
     ("a.3gp", "aac", RATE_HZ), ("a.amr", "libopencore_amrnb", 8_000)],
)  # fmt: skip
def test_what_telephones_browsers_and_films_write_is_read(
    name: str, codec: str, rate_hz: int, tmp_path: Path
) -> None:
    path = _encoded(tmp_path / name, codec, rate_hz=rate_hz)
    assert [source.path for source in find_sources(tmp_path)] == [path]
    scanned = scan_audio(path)
    assert scanned.sample_rate_hz == rate_hz
    assert scanned.duration_s == pytest.approx(3, abs=0.1)
    whole = read_audio(path).samples
    part = read_audio(path, start_s=1.2, end_s=2.7).samples
    expected = whole[round(1.2 * rate_hz) : round(2.7 * rate_hz)]
    np.testing.assert_allclose(part, expected, atol=2e-6)
    assert 0.1 < np.sqrt(np.mean(part**2)) < 0.4


@pytest.mark.parametrize("name", sorted(set(HELD) - OF_LIBSNDFILE))
def test_what_libsndfile_alone_would_lose_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise MissingExtraError("not installed")

    path = HELD[name][0](tmp_path / name)
    monkeypatch.setattr(ffmpeg, "import_av", absent)
    for read in (scan_audio, read_audio, probe_audio):
        with pytest.raises(AudioError, match=r"not read to its end by libsndfile.*package av"):
            read(path)


def test_the_same_from_an_open_file(tmp_path: Path) -> None:
    path = HELD["a.m4a"][0](tmp_path / "a.m4a")
    found = read_audio(io.BytesIO(path.read_bytes()), start_s=1.0, end_s=2.0)
    np.testing.assert_array_equal(found.samples, read_audio(path, start_s=1.0, end_s=2.0).samples)


def test_a_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    path = _encoded(tmp_path / "a.m4a", "aac")
    before = read_audio(path)
    path.write_bytes(_written(tmp_path / "b.wav").read_bytes())
    after = read_audio(path)
    assert len(after.samples) == 3 * RATE_HZ and len(after.samples) != len(before.samples)


@pytest.mark.parametrize("name", ["a.m4a", "a.mka", "a.wma", "a.wv", "a.tta", "open.flac"])
def test_an_end_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    path = HELD[name][0](tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(AudioError, match=r"truncated|no audio that can be read"):
        scan_audio(path)


@pytest.mark.parametrize("name", ["two.wav", "two.aiff"])
def test_another_file_behind_the_first_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="another file from byte"):
        scan_audio(_twice(tmp_path / name))


NO_AUDIO = {
    "text.mp3": b"these are only words " * 500,
    "tags.mp3": b"ID3\x03\x00\x00\x00\x00\x07\x76" + bytes(1014),
    "random.mp3": np.random.default_rng(0).bytes(100_000),
    "random.m4a": np.random.default_rng(1).bytes(100_000),
    "page.opus": b"<html><body>404</body></html>",
    "list.m4a": b"#EXTM3U\n#EXTINF:3,\nsecret.wav\n",
    "concat.wma": b"ffconcat version 1.0\nfile secret.wav\n",
}


@pytest.mark.parametrize("name", NO_AUDIO)
def test_what_holds_no_audio_is_said_to_hold_none(name: str, tmp_path: Path) -> None:
    _written(tmp_path / "secret.wav")
    (tmp_path / name).write_bytes(NO_AUDIO[name])
    with pytest.raises(AudioError, match="holds no audio"):
        scan_audio(tmp_path / name)


def test_frames_are_counted_over_tags_and_pictures() -> None:
    frame = bytes.fromhex("fffb9064") + bytes(413)
    picture = b"ID3\x04\x00\x00\x00\x00\x10\x00" + b"\xff\xfb\x90\x64" * 512
    data = picture + frame * 7 + b"TAG" + bytes(125) + picture + frame * 5
    assert count_frames(io.BytesIO(data)).n_samples == 12 * 1152


def _stereo(path: Path, *channels: npt.NDArray[np.float32], subtype: str = "FLOAT") -> Path:
    soundfile.write(path, np.stack(channels, 1), RATE_HZ, subtype=subtype)
    return path


@pytest.mark.parametrize("turned", [-1.0, -0.97, -0.85])
@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16"])
def test_channels_that_cancel_out_are_named(turned: float, subtype: str, tmp_path: Path) -> None:
    path = _stereo(tmp_path / "a.wav", _sound(), turned * _sound(), subtype=subtype)
    for read in (scan_audio, read_audio):
        with pytest.raises(AudioError, match=r"channels of .* cancel out"):
            read(path)


def test_four_channels_that_cancel_out_are_named(tmp_path: Path) -> None:
    one = _sound()
    with pytest.raises(AudioError, match="cancel out"):
        scan_audio(_stereo(tmp_path / "a.wav", one, -one, one / 2, -one / 2))


def test_channels_that_have_little_in_common_are_averaged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    other = (0.1 * rng.normal(size=(64, RATE_HZ))).astype(np.float32)
    assert scan_audio(_stereo(tmp_path / "many.wav", *other)).n_channels == 64
    silent = np.zeros_like(_sound())
    found = read_audio(_stereo(tmp_path / "one.wav", _sound(), silent)).samples
    np.testing.assert_allclose(found, _sound() / 2, atol=1e-7)


@pytest.mark.parametrize("scale", [32_767, 2**31 - 1, 100])
def test_samples_on_the_scale_of_integers_are_named(scale: float, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.rint(_sound().astype(np.float64) * scale), RATE_HZ, subtype="FLOAT")
    for read in (scan_audio, read_audio):
        with pytest.raises(AudioError, match="scale of integers"):
            read(path)


@pytest.mark.parametrize("peak", [1.5, 8.0])
def test_floats_above_full_scale_are_sound(peak: float, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, peak * _sound(), RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path).samples, peak * _sound(), rtol=1e-6)


@pytest.mark.parametrize("rate_hz", [1, 8, 999])
def test_rates_that_are_no_sounds_are_named(rate_hz: int, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, _sound(), rate_hz)
    for read in (scan_audio, read_audio, probe_audio):
        with pytest.raises(AudioError, match=f"sample rate of {rate_hz} Hz"):
            read(path)


@pytest.mark.parametrize(
    "given",
    [_sound(), _sound()[:3].tolist(), torch.zeros(3), b"RIFF", 7, None, ["a.wav"]],
    ids=lambda given: type(given).__name__,
)
def test_samples_without_a_rate_are_no_audio(given: object) -> None:
    with pytest.raises(AudioError, match=rf"Found {type(given).__name__} .*Clip\(samples"):
        read_audio(given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["n" * 300 + ".wav", "a\0b.wav", "caf\udce9.wav", "loop.wav"])
def test_names_that_are_no_files_are_audio_errors(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    for read in (scan_audio, read_audio, probe_audio):
        with pytest.raises(AudioError, match=r"too long|no file|NUL"):
            read(tmp_path / name)
