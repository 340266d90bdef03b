"""Whether an audio file is truncated: what its container announces against what is there.

libsndfile decodes what there is of such a file and says nothing. Read are headers alone, so
that this costs nothing beside decoding. Where a writer could not know the length, such as a
program that writes to a pipe, it announces none, and nothing can be missing.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

UNKNOWN_FROM = 0x7FFFF000
"""Sizes of 32 bits from here on stand for an unknown length: sox's, and the largest ones."""
MAX_CHUNKS = 10_000
REST_BYTES, REST_SHARE = 4_096, 0.05
"""Behind the audio, and of it: so much may be tags that are no chunk."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the other order."""
MP3_TOLERANCE = 0.01
"""Of the size in a Xing header, which some writers round; mpg123 warns from there on, too."""


@dataclass(frozen=True, slots=True)
class _Chunked:
    """A container of chunks: a name and a size before each."""

    head: int
    """Bytes before the first chunk."""
    name: int
    size: int
    """Bytes of a chunk's name and size."""
    order: Literal["little", "big"]
    align: int
    counts_itself: bool = False
    """Whether a size includes the chunk's own name and size."""
    audio: bytes = b"data"
    """How the name of the chunk with the audio begins."""


_CONTAINERS = {
    b"RIFF": _Chunked(12, 4, 4, "little", 2),
    b"RF64": _Chunked(12, 4, 4, "little", 2),
    b"RIFX": _Chunked(12, 4, 4, "big", 2),
    b"FORM": _Chunked(12, 4, 4, "big", 2, audio=b"SSND"),
    b"riff": _Chunked(40, 16, 8, "little", 8, counts_itself=True),
    b"caff": _Chunked(8, 4, 8, "big", 1),
}


def truncation_reason(file: BinaryIO) -> str:
    """How a file shows that its end is missing, as a clause; empty where it shows nothing.

    >>> import io
    >>> truncation_reason(io.BytesIO(b"RIFF0000WAVEdata" + (100).to_bytes(4, "little") + bytes(60)))
    'its header promises 100 bytes of audio, 60 are there'
    """
    n_bytes = file.seek(0, os.SEEK_END)
    magic = _at(file, 0, 4)
    if magic in _CONTAINERS:
        kind = _CONTAINERS[magic]
        return _compared(*_audio_chunk(file, kind, n_bytes)) or _left_over(file, kind, n_bytes)
    if magic == b".snd":
        first, promised = (int.from_bytes(_at(file, offset, 4)) for offset in (4, 8))
        return _compared(0 if promised >= UNKNOWN_FROM else promised, n_bytes - first)
    if magic == b"OggS":
        return _ogg(file, n_bytes)
    return _mp3(file, n_bytes)


def _compared(promised: int, available: int) -> str:
    if promised <= available:
        return ""
    return f"its header promises {promised} bytes of audio, {available} are there"


def _audio_chunk(file: BinaryIO, kind: _Chunked, n_bytes: int) -> tuple[int, int]:
    """The announced bytes of the audio, 0 where unknown, and those that are there."""
    large = 0
    for name, size, start in _chunks(file, kind, n_bytes):
        if name == b"ds64":  # the size of the audio where 32 bits are too few
            large = int.from_bytes(_at(file, start + 8, 8), "little")
        if name.startswith(kind.audio):
            is_unknown = size >= UNKNOWN_FROM if kind.size == 4 else size >> 63
            return (large if is_unknown else size), n_bytes - start
    return 0, 0


def _chunks(file: BinaryIO, kind: _Chunked, n_bytes: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, size and start of each chunk."""
    offset, head = kind.head, kind.name + kind.size
    for _ in range(MAX_CHUNKS):
        if offset + head > n_bytes:
            return
        header = _at(file, offset, head)
        size = int.from_bytes(header[kind.name :], kind.order) - head * kind.counts_itself
        yield header[: kind.name], size, offset + head
        offset += head + max(size, 0)
        offset += -offset % kind.align


def _left_over(file: BinaryIO, kind: _Chunked, n_bytes: int) -> str:
    """Audio that no header counts, as where a recorder died before it wrote the length."""
    audio = 0
    for name, size, start in _chunks(file, kind, n_bytes):
        is_audio = name.startswith(kind.audio)
        if audio and (is_audio or not (name.isascii() and name.decode("ascii").isprintable())):
            rest = n_bytes - start
            if rest <= max(REST_BYTES, REST_SHARE * audio) or _is_padding(file, start):
                return ""
            what = "lie in a second one" if is_audio else "belong to none"
            return f"its chunk of audio ends after {audio} bytes, {rest} behind it {what}"
        audio = audio or (size if is_audio else 0)
    return ""


def _is_padding(file: BinaryIO, first: int) -> bool:
    file.seek(first)
    return not any(block.strip(b"\0") for block in iter(lambda: file.read(_BLOCK_BYTES), b""))


def _ogg(file: BinaryIO, n_bytes: int) -> str:
    """Every page has to be whole, and none missing: decoders pass over what is damaged.

    Recordings of a broadcast begin in the middle and never end their stream.
    """
    offset = 0
    numbers: dict[bytes, int] = {}
    while (head := _at(file, offset, 27))[:4] == b"OggS":
        sizes = file.read(head[26]) if len(head) == 27 else b""
        body = file.read(sum(sizes))
        if len(head) < 27 or len(sizes) < head[26] or len(body) < sum(sizes):
            return "its last Ogg page is not whole"
        if not _is_whole_page(head, sizes + body):
            return f"its Ogg page at byte {offset:,} is damaged"
        stream, number = head[14:18], int.from_bytes(head[18:22], "little")
        missing = number - numbers.get(stream, number) - 1
        if missing > 0:
            return f"{missing} Ogg pages are missing before byte {offset:,}"
        numbers[stream] = number
        offset += len(head) + len(sizes) + len(body)
    file.seek(offset)
    follows = _find(file, (b"OggS",)) >= 0 if offset < n_bytes else False
    return f"its Ogg page at byte {offset:,} is damaged" if follows else ""


def _is_whole_page(head: bytes, rest: bytes) -> bool:
    """Whether a page has its checksum: zlib's polynomial, from the other end of each byte."""
    told = int.from_bytes(head[22:26].translate(_REVERSED))
    page = (head[:22] + bytes(4) + head[26:] + rest).translate(_REVERSED)
    return zlib.crc32(page, 0xFFFFFFFF) ^ 0xFFFFFFFF == told


def _mp3(file: BinaryIO, n_bytes: int) -> str:
    """The size that a Xing header announces, where an MP3 has one."""
    head = _at(file, 0, 10)
    first = 0
    if head[:3] == b"ID3" and len(head) == 10:
        first = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
    frame = _at(file, first, 256)
    offset = max(frame.find(b"Xing"), frame.find(b"Info"))
    if frame[:1] != b"\xff" or offset < 0 or len(frame) < offset + 16:
        return ""
    flags = frame[offset + 7]
    if not flags & 2:
        return ""
    after = offset + 8 + 4 * (flags & 1)
    promised = int.from_bytes(frame[after : after + 4])
    available = n_bytes - first
    return _compared(promised, available) if promised > available * (1 + MP3_TOLERANCE) else ""


def _at(file: BinaryIO, offset: int, n_bytes: int) -> bytes:
    file.seek(offset)
    return file.read(n_bytes)


def second_stream(file: BinaryIO) -> tuple[int, bool]:
    """Where another file or stream begins behind the first, and whether a decoder may go on there.

    The offset is in bytes, 0 where nothing follows.

    >>> import io
    >>> second_stream(io.BytesIO(b"RIFF" + (4).to_bytes(4, "little") + b"WAVE" + b"RIFF    WAVE"))
    (12, False)
    """
    n_bytes = file.seek(0, os.SEEK_END)
    magic = _at(file, 0, 4)
    if magic in (b"RIFF", b"RIFX", b"FORM"):
        order: Literal["little", "big"] = "little" if magic == b"RIFF" else "big"
        behind = 8 + int.from_bytes(_at(file, 4, 4), order)
        behind += behind % 2
        return (behind if behind < n_bytes and _at(file, behind, 4) == magic else 0), False
    if magic == b"fLaC":
        file.seek(4)
        return max(_find(file, _FLAC_HEADS) + 4, 0), True
    return (_second_ogg(file, n_bytes) if magic == b"OggS" else 0), True


_FLAC_HEADS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""A FLAC stream's name with the head of its first block, which no frame holds by chance."""
_BLOCK_BYTES = 1 << 20


def flac_samples(file: BinaryIO) -> int:
    """Samples that the streams of a FLAC file promise; 0 where one promises none."""
    file.seek(0)
    offset, n_samples = 0, 0
    while (behind := _find(file, _FLAC_HEADS)) >= 0:
        offset += behind + 8
        promised = int.from_bytes(_at(file, offset + 13, 5)) & 0xFFFFFFFFF
        if not promised:
            return 0
        n_samples += promised
        file.seek(offset)
    return n_samples


def _find(file: BinaryIO, words: tuple[bytes, ...]) -> int:
    """Bytes from the file's position to the first of the words; far below 0 where none follows."""
    offset, tail = 0, b""
    while block := file.read(_BLOCK_BYTES):
        data = tail + block
        starts = [data.find(word) for word in words]
        if max(starts) >= 0:
            return offset - len(tail) + min(start for start in starts if start >= 0)
        tail = data[-7:]
        offset += len(block)
    return -_BLOCK_BYTES


def _second_ogg(file: BinaryIO, n_bytes: int) -> int:
    """A chain: a page that begins a stream behind one that does not."""
    offset, has_begun = 0, False
    while offset + 27 <= n_bytes:
        head = _at(file, offset, 27)
        if head[:4] != b"OggS":
            return 0
        is_first = bool(head[5] & 2)
        if is_first and has_begun:
            return offset
        has_begun = has_begun or not is_first
        offset += 27 + head[26] + sum(file.read(head[26]))
    return 0
