"""Decoding, resampling, cutting and writing of the clips.

Every clip ends as 16 kHz mono. Levels are left as they are in the source; a clip whose peak exceeds full scale
after resampling is scaled down to ``PEAK_LIMIT``. Nothing is filtered, so a source of 8 kHz keeps an empty band
above 4 kHz: ``source_sample_rate_hz`` in the manifest tells which clips those are.
"""

import io
import struct
import subprocess
from pathlib import Path

import numpy as np
import soundfile
import soxr

from usad_workbench.sample_data.packages import BuildError, require_tool

SAMPLE_RATE_HZ = 16_000
PEAK_LIMIT = 0.95
SILENT_PEAK = 1e-3
"""A clip that never exceeds this (-60 dB of full scale) counts as silent."""
MIN_SOURCE_S = 0.1
"""Shorter sources are left out."""
MIN_CLIP_S = 0.25
"""Shorter clips are filled up with silence, because some encoders have no full frame below 0.2 s."""
_VORBIS_COMPRESSION = 0.9
"""libsndfile's scale: 0 best, 1 smallest. 0.9 keeps the tracked tree small."""
_MAX_ENCODINGS = 5
_RAW_FORMATS = {".g722": ("g722", 16_000), ".gsm": ("gsm", 8_000)}
"""Headerless telephone codecs: ffmpeg's name and the rate that the codec fixes."""


def decode_bytes(data: bytes, name: str) -> tuple[np.ndarray, int]:
    """Mono float32 samples and their rate in Hz, as stored in the source.

    Args:
        data: The whole source file.
        name: Its name; the ending tells the headerless formats apart.

    Raises:
        BuildError: not decodable, or ffmpeg is missing for a telephone codec.
    """
    ending = Path(name).suffix.lower()
    if ending in _RAW_FORMATS:
        codec, rate_hz = _RAW_FORMATS[ending]
        return _decode_with_ffmpeg(data, codec, rate_hz, name), rate_hz
    try:
        samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise BuildError(
            f"{name}: found no audio that libsndfile can read ({error}); expected a WAV, OGG or FLAC"
        ) from error
    return np.ascontiguousarray(samples.mean(axis=1)), int(rate_hz)


def _decode_with_ffmpeg(data: bytes, codec: str, rate_hz: int, name: str) -> np.ndarray:
    ffmpeg = require_tool("ffmpeg", "ffmpeg")
    command = [
        ffmpeg,
        "-v",
        "error",
        "-f",
        codec,
        "-i",
        "pipe:0",
        "-f",
        "f32le",
        "-ac",
        "1",
        "-ar",
        str(rate_hz),
        "pipe:1",
    ]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise BuildError(
            f"{name}: ffmpeg could not decode it as {codec}: {done.stderr.decode(errors='replace').strip()}"
        )
    return np.frombuffer(done.stdout, dtype="<f4").astype(np.float32)


def resample(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """The same sound at 16 kHz, float32."""
    if rate_hz == SAMPLE_RATE_HZ:
        return samples.astype(np.float32)
    resampled = soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ, quality="VHQ")
    return np.asarray(resampled, dtype=np.float32)


def cut(samples: np.ndarray, start_s: float | None, max_s: float) -> tuple[np.ndarray, float]:
    """At most ``max_s`` seconds, and where they begin in the source in seconds.

    With ``start_s`` the cut begins there. Without it a source that fits is taken whole, and a longer one from
    its first sample that is not silent, so that a long lead-in does not use up the clip.
    """
    n_max = int(max_s * SAMPLE_RATE_HZ)
    first = 0
    if start_s is not None:
        first = round(start_s * SAMPLE_RATE_HZ)
    elif samples.size > n_max:
        loud = np.flatnonzero(np.abs(samples) > SILENT_PEAK)
        first = int(loud[0]) if loud.size else 0
    return samples[first : first + n_max], first / SAMPLE_RATE_HZ


def limit_peak(samples: np.ndarray) -> np.ndarray:
    """The same samples, scaled down if they would clip."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    return samples * np.float32(PEAK_LIMIT / peak) if peak > PEAK_LIMIT else samples


def reason_to_drop(samples: np.ndarray) -> str | None:
    """Why a clip is not worth keeping, or None."""
    if samples.size < MIN_SOURCE_S * SAMPLE_RATE_HZ:
        return f"shorter than {MIN_SOURCE_S} s"
    if not np.all(np.isfinite(samples)):
        return "not finite"
    if float(np.max(np.abs(samples))) < SILENT_PEAK:
        return "silent"
    return None


def fill_up(samples: np.ndarray) -> np.ndarray:
    """The same samples, with silence after them up to ``MIN_CLIP_S``."""
    n_missing = int(MIN_CLIP_S * SAMPLE_RATE_HZ) - samples.size
    return np.pad(samples, (0, n_missing)) if n_missing > 0 else samples


def write_ogg(path: Path, samples: np.ndarray) -> None:
    """Write OGG Vorbis whose bytes depend on the samples and the library versions only.

    Vorbis can overshoot what it was given; a clip that does is encoded again, a little softer, so that a player
    with integer samples does not clip.
    """
    for _ in range(_MAX_ENCODINGS):
        buffer = io.BytesIO()
        soundfile.write(
            buffer,
            samples,
            SAMPLE_RATE_HZ,
            format="OGG",
            subtype="VORBIS",
            compression_level=_VORBIS_COMPRESSION,
        )
        decoded, _ = soundfile.read(io.BytesIO(buffer.getvalue()), dtype="float32")
        peak = float(np.max(np.abs(decoded)))
        if peak <= 1.0:
            break
        samples = samples * np.float32(PEAK_LIMIT / peak)
    path.write_bytes(with_fixed_serial(buffer.getvalue()))


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Write 16-bit FLAC; the corpus is large and read often, so decoding should be cheap."""
    soundfile.write(path, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = ((value << 1) ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def _ogg_crc(page: bytes) -> int:
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ _CRC_TABLE[(value >> 24) ^ byte]
    return value


def with_fixed_serial(ogg: bytes, serial: int = 1) -> bytes:
    """The same Ogg stream with a fixed serial number and matching page checksums.

    libsndfile draws the serial number at random, so that the same samples would give other bytes on each run.

    Source: Ogg page layout and checksum, RFC 3533 section 6.
    """
    pages = []
    at = 0
    while at < len(ogg):
        if ogg[at : at + 4] != b"OggS":
            raise BuildError(
                f"found no Ogg page at byte {at} of {len(ogg)}; expected a plain Ogg stream"
            )
        n_segments = ogg[at + 26]
        n_bytes = 27 + n_segments + sum(ogg[at + 27 : at + 27 + n_segments])
        page = bytearray(ogg[at : at + n_bytes])
        page[14:18] = struct.pack("<I", serial)
        page[22:26] = bytes(4)
        page[22:26] = struct.pack("<I", _ogg_crc(bytes(page)))
        pages.append(bytes(page))
        at += n_bytes
    return b"".join(pages)
