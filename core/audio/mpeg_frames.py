"""How much sound an MPEG audio stream holds, counted frame by frame from their headers.

What libsndfile says of an MP3 rests on the first frame: on the count in a Xing header, or on
the size of the file at the first frame's bit rate. A file of variable rate without that header,
and one to which another was appended, are longer than that, and libsndfile stops where it
believes their end to be. Headers are counted here without decoding anything.
"""

import os
from dataclasses import dataclass
from typing import BinaryIO

_KBITS = {  # by version and layer; 0 stands for a rate that headers do not name
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_KBITS[2, 3] = _KBITS[2, 2]
_RATES_HZ = (44_100, 48_000, 32_000)
_RATE_DIVISOR = {3: 1, 2: 2, 0: 4}
"""By the two bits of the version: MPEG 1, 2 and 2.5."""


@dataclass(frozen=True, slots=True)
class FrameCount:
    """What the headers of frames say."""

    n_samples: int
    """Of one channel; the frame that holds a Xing header counts, a decoder may leave it out."""
    n_bytes: int
    """Taken by frames."""
    n_around: int
    """Taken by what is neither a frame nor a tag."""


def count_frames(file: BinaryIO) -> FrameCount:
    """Counts the frames of a file; tags before, between and behind them are passed over.

    >>> import io
    >>> frame = bytes.fromhex("fffb9064") + bytes(413)  # 128 kbit/s at 44,100 Hz
    >>> count_frames(io.BytesIO(frame * 10))
    FrameCount(n_samples=11520, n_bytes=4170, n_around=0)
    """
    file.seek(0, os.SEEK_SET)
    data = file.read()
    offset = n_samples = n_bytes = n_around = 0
    is_in_step = False
    while offset + 4 <= len(data):
        size, samples = _frame(data, offset)
        if size and (is_in_step or _begins_a_run(data, offset, size)):
            is_in_step = True
            n_samples, n_bytes = n_samples + samples, n_bytes + min(size, len(data) - offset)
            offset += size
            continue
        is_in_step = False
        tag = _tag_bytes(data, offset)
        following = offset + tag if tag else _next_sync(data, offset + 1)
        n_around += 0 if tag else following - offset
        offset = following
    return FrameCount(n_samples, n_bytes, n_around)


def _frame(data: bytes, offset: int) -> tuple[int, int]:
    """Bytes and samples of the frame that begins here; zeros where none does."""
    if data[offset] != 0xFF or data[offset + 1] & 0xE0 != 0xE0:
        return 0, 0
    version, layer = data[offset + 1] >> 3 & 3, 4 - (data[offset + 1] >> 1 & 3)
    rate, kbits = data[offset + 2] >> 2 & 3, data[offset + 2] >> 4
    if version == 1 or layer == 4 or rate == 3 or kbits in (0, 15):
        return 0, 0
    rate_hz = _RATES_HZ[rate] // _RATE_DIVISOR[version]
    bits_per_s = 1000 * _KBITS[1 if version == 3 else 2, layer][kbits]
    padding = data[offset + 2] >> 1 & 1
    if layer == 1:
        return (12 * bits_per_s // rate_hz + padding) * 4, 384
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bits_per_s // rate_hz + padding, samples


def _begins_a_run(data: bytes, offset: int, size: int) -> bool:
    """Whether another frame follows at once: two bytes alone look like a header by chance."""
    following = offset + size
    return following + 4 > len(data) or bool(_frame(data, following)[0])


def _tag_bytes(data: bytes, offset: int) -> int:
    """The size of a tag that begins here: ID3v2 (with pictures), ID3v1, APE."""
    head = data[offset : offset + 16]
    if head[:3] == b"ID3" and len(head) > 9:
        return 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX":
        return 32 + int.from_bytes(head[12:16], "little")
    return 0


def _next_sync(data: bytes, offset: int) -> int:
    starts = [data.find(word, offset) for word in (b"\xff", b"ID3", b"TAG", b"APETAGEX")]
    return min((one for one in starts if one >= 0), default=len(data))
