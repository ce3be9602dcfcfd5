"""What a flac file says about itself (RFC 9639), to be compared with what is heard.

libFLAC checks each frame. What stands in the header is believed: a wrong rate, and a number of samples
smaller than there are, would go through.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_FRAME_RATES = {
    1: 88_200,
    2: 176_400,
    3: 192_000,
    4: 8_000,
    5: 16_000,
    6: 22_050,
    7: 24_000,
    8: 32_000,
    9: 44_100,
    10: 48_000,
    11: 96_000,
}
"""Rates that a frame names by a number; any other is written out, or left to the file's header."""

_WHOLE_BYTES = (8, 16, 24)
"""Bits of a sample that libsndfile hands over as they are."""


@dataclass(frozen=True, slots=True)
class FlacHeader:
    """What STREAMINFO says. `count` and `digest` are 0 and empty where it does not say."""

    rate: int
    channels: int
    bits: int
    count: int
    digest: bytes

    @property
    def is_checkable(self) -> bool:
        """Whether the samples can be compared with their digest."""
        return bool(self.digest) and self.bits in _WHOLE_BYTES


def flac_header(stream: BinaryIO) -> FlacHeader | None:
    """Return a flac file's header, None where that is no flac or has none. Leaves the stream at its start.

    Example:
        >>> import io
        >>> flac_header(io.BytesIO(b"RIFF")) is None
        True
    """
    stream.seek(0)
    head = stream.read(42)
    stream.seek(0)
    if head[:4] != b"fLaC" or len(head) < 42 or head[4] & 0x7F != 0:
        return None
    packed = int.from_bytes(head[18:26], "big")
    digest = head[26:42]
    return FlacHeader(
        rate=packed >> 44,
        channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
        count=packed & (1 << 36) - 1,
        digest=digest if any(digest) else b"",
    )


def flac_damage(stream: BinaryIO, header: FlacHeader) -> tuple[str, str] | None:
    """Return the reason and the sentence why a flac's header cannot be true, None where nothing says so."""
    first = _first_frame(stream)
    if len(first) < 4 or first[0] != 0xFF or first[1] & 0xFC != 0xF8:
        return None
    rate, channels = _FRAME_RATES.get(first[2] & 15, header.rate), first[3] >> 4
    if rate != header.rate or (channels if channels < 8 else 1) != header.channels - 1:
        return "unreadable", "its header says another rate or number of channels than its samples"
    return None


def _first_frame(stream: BinaryIO) -> bytes:
    """Return the first bytes behind the header's blocks."""
    place, is_last = 4, False
    while not is_last:
        stream.seek(place)
        block = stream.read(4)
        if len(block) < 4:
            return b""
        is_last, place = bool(block[0] & 0x80), place + 4 + int.from_bytes(block[1:], "big")
    stream.seek(place)
    return stream.read(4)


class SampleDigest:
    """MD5 of samples as the encoder took it: each in as few whole bytes as it needs, channel by channel.

    Args:
        bits: Bits of a sample: 8, 16 or 24.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self._digest = hashlib.md5(usedforsecurity=False)

    def update(self, block: NDArray[np.int32]) -> None:
        """Take in samples of shape `(samples, channels)` that fill 32 bits from the left."""
        each_byte = np.ascontiguousarray(block, "<i4").view(np.uint8).reshape(-1, 4)
        self._digest.update(each_byte[:, 4 - self.bits // 8 :].tobytes())

    def value(self) -> bytes:
        """Return the digest of what was taken in."""
        return self._digest.digest()
