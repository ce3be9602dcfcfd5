"""Whether a wav file is what its header says. libsndfile reads whatever there is and reports no error.

The layout is of Microsoft's "Multimedia Programming Interface and Data Specifications 1.0": chunks, each with
a name, a size and its content, padded to an even length.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

OPEN_ENDED = 0x7FFF_0000
"""Sizes from here on mean "unknown": into a pipe, ffmpeg writes 0xFFFFFFFF and sox 0x7FFFF024."""

_PCM, _FLOAT = 1, 3
_MOST_PADDING = 1 << 20
"""Bytes that are looked at behind the last chunk; some recorders fill up with zeros."""


class _Chunk(NamedTuple):
    name: bytes
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


def wav_damage(stream: BinaryIO) -> tuple[str, str] | None:
    """Return the reason and the sentence why a wav file is not what its header says, None if it is.

    Example:
        >>> import io
        >>> wav_damage(io.BytesIO(b"RIFF" + (1000).to_bytes(4, "little") + b"WAVE"))
        ('truncated', 'it ends before its header says')
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(4)
    declared = int.from_bytes(stream.read(4), "little")
    if declared < OPEN_ENDED and declared + 8 > size + 1:
        return _TRUNCATED
    for chunk in _chunks(stream, size):
        if chunk.name == b"fmt " and _contradicts_itself(stream.read(16)):
            return "unreadable", "its header contradicts itself about the size of a sample"
        if chunk.name == b"data":
            return _data_damage(stream, chunk, size, declared + 8)
    return None


_TRUNCATED = "truncated", "it ends before its header says"


def _chunks(stream: BinaryIO, size: int) -> Iterator[_Chunk]:
    """Yield the chunks behind the first 12 bytes, the stream being at the content of each."""
    place = 12
    while place + 8 <= size:
        stream.seek(place)
        name, length = struct.unpack("<4sI", stream.read(8))
        yield _Chunk(name, place + 8, length)
        place += 8 + length + length % 2


def _contradicts_itself(content: bytes) -> bool:
    if len(content) < 16:
        return True
    coding, channels, rate, bytes_per_second, frame_bytes, bits = struct.unpack("<HHIIHH", content)
    if coding not in (_PCM, _FLOAT):
        return False
    is_frame_wrong = frame_bytes != channels * ((bits + 7) // 8)
    return is_frame_wrong or bytes_per_second not in (0, (rate * frame_bytes) & 0xFFFF_FFFF)


def _data_damage(stream: BinaryIO, data: _Chunk, size: int, riff_end: int) -> tuple[str, str] | None:
    is_open_ended = data.size >= OPEN_ENDED or (data.size == 0 and riff_end in (8, data.start))
    if is_open_ended:
        return None
    if data.end > size:
        return _TRUNCATED
    ends = (data.end + data.size % 2, data.end)  # not everyone pads
    if any(_is_end(stream, end, min(riff_end, size)) for end in ends):
        return None
    return "unreadable", "it holds more samples than its header says"


def _is_end(stream: BinaryIO, place: int, riff_end: int) -> bool:
    """Tell whether nothing but chunks, or zeros, lie from here to the end of the file's content."""
    while place + 8 <= riff_end:
        stream.seek(place)
        name, length = struct.unpack("<4sI", stream.read(8))
        if not name.isascii() or not name.decode("ascii").isprintable() or place + 8 + length > riff_end + 1:
            return not any(name) and not any(stream.read(min(riff_end - place - 8, _MOST_PADDING)))
        place += 8 + length + length % 2
    return True
