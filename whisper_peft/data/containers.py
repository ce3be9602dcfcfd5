"""What the first and last bytes of a recording tell about its format and its completeness."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_RIFF_OPEN_ENDED = 0x7FFF_0000
"""Sizes from here on mean "unknown": into a pipe, ffmpeg writes 0xFFFFFFFF and sox 0x7FFFF024."""

_OGG_PAGE_LIMIT = 65_307
"""Largest Ogg page: a header of 27 bytes, 255 lacing values and 255 segments of 255 bytes (RFC 3533)."""


def foreign_container(head: bytes) -> str | None:
    """Name a container that soundfile cannot read but ffmpeg can, from its first bytes.

    Example:
        >>> foreign_container(bytes(4) + b"ftypM4A ")
        'm4a'
        >>> foreign_container(b"fLaC") is None
        True
    """
    if head[4:8] == b"ftyp":
        return "m4a"
    magics = {
        b"\x1aE\xdf\xa3": "webm",
        b"0&\xb2u": "wma",
        b"#!AMR": "amr",
        b"\xff\xf1": "aac",
        b"\xff\xf9": "aac",
    }
    return next((name for magic, name in magics.items() if head.startswith(magic)), None)


def is_cut_short(stream: BinaryIO) -> bool:
    """Tell whether a wav or ogg file ends before its own header says. Leaves the stream at its start.

    libsndfile reads both to where they end and reports no error. A file cut exactly between two Ogg pages
    cannot be told from a whole one.

    Example:
        >>> import io
        >>> is_cut_short(io.BytesIO(b"RIFF" + (1000).to_bytes(4, "little") + b"WAVE"))
        True
    """
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    head = stream.read(8)
    if head[:4] == b"RIFF" and len(head) == 8:
        (declared,) = struct.unpack("<I", head[4:])
        cut: bool = declared < _RIFF_OPEN_ENDED and declared + 8 > size + 1
    elif head[:4] == b"OggS":
        stream.seek(max(0, size - _OGG_PAGE_LIMIT))
        cut = _last_page_is_cut(stream.read())
    else:
        cut = False
    stream.seek(0)
    return cut


def states_its_length(stream: BinaryIO) -> bool:
    """Tell whether the number of samples is written in the file. Leaves the stream at its start.

    An mp3 without a Xing, Info or VBRI frame does not say; libmpg123 guesses from the size and the first
    bit rate, and can be wrong either way.

    Example:
        >>> import io
        >>> states_its_length(io.BytesIO(b"fLaC")), states_its_length(io.BytesIO(b"ID3" + bytes(99)))
        (True, False)
    """
    stream.seek(0)
    head = stream.read(10)
    is_mp3 = head.startswith((b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3"))
    if head.startswith(b"ID3") and len(head) == 10:
        stream.seek(10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)))
    first_frame = stream.read(4096)
    stream.seek(0)
    return not is_mp3 or any(name in first_frame for name in (b"Xing", b"Info", b"VBRI"))


def _last_page_is_cut(tail: bytes) -> bool:
    start = tail.rfind(b"OggS")
    page = tail[start:] if start >= 0 else b""
    if len(page) < 27:
        return True
    lacing = page[27 : 27 + page[26]]
    return len(lacing) < page[26] or len(page) < 27 + len(lacing) + sum(lacing)
