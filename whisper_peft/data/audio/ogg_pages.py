"""Whether all pages of an Ogg file are there and whole (RFC 3533). libsndfile skips damaged ones."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

_HEADER = struct.Struct("<4sBBqIIIB")
"""Magic, version, flags, position, serial number, page number, checksum, segments."""

_LAST = 0x04
"""Flag of a stream's last page, which has to be set."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_damage(stream: BinaryIO) -> tuple[str, str] | None:
    """Return the reason and the sentence why an Ogg file is not whole, None if it is.

    Example:
        >>> import io
        >>> ogg_damage(io.BytesIO(b"OggS"))
        ('truncated', 'its last page is cut')
    """
    stream.seek(0)
    flags = _LAST
    while head := stream.read(_HEADER.size):
        if len(head) < _HEADER.size:
            return _CUT
        magic, _, flags, *_, checksum, segments = _HEADER.unpack(head)
        if magic != b"OggS":
            return "unreadable", "there is something else between its pages"
        lacing = stream.read(segments)
        body = stream.read(sum(lacing))
        if len(lacing) < segments or len(body) < sum(lacing):
            return _CUT
        if page_checksum(head[:22] + bytes(4) + head[26:] + lacing + body) != checksum:
            return "unreadable", "a page is damaged: its checksum is another"
    return None if flags & _LAST else ("truncated", "its last page is missing")


_CUT = "truncated", "its last page is cut"


def page_checksum(page: bytes) -> int:
    """Return a page's CRC: polynomial 0x04C11DB7 over bits from the left, which zlib's takes from the right.

    Example:
        >>> hex(page_checksum(bytes([1])))
        '0x4c11db7'
    """
    reflected = ~zlib.crc32(page.translate(_REVERSED), 0xFFFF_FFFF) & 0xFFFF_FFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_REVERSED), "big")
