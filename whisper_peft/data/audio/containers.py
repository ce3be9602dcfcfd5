"""What the first and last bytes of a recording tell about its format and its completeness."""

from __future__ import annotations

from typing import BinaryIO

from whisper_peft.data.audio.flac_headers import flac_damage, flac_header
from whisper_peft.data.audio.ogg_pages import ogg_damage
from whisper_peft.data.audio.wav_chunks import wav_damage

HEAD_BYTES = 26
"""Bytes that tell a container: up to the number of samples of a flac."""


def foreign_container(head: bytes) -> str | None:
    """Name a container that soundfile cannot read but ffmpeg can, from its first `HEAD_BYTES`.

    libsndfile stops with an error at the end of a flac that does not say its length, as from a pipe.

    Example:
        >>> foreign_container(bytes(4) + b"ftypM4A ")
        'm4a'
        >>> foreign_container(b"fLaC") is None
        True
    """
    if head[4:8] == b"ftyp":
        return "m4a"
    is_flac = head.startswith(b"fLaC") and len(head) == HEAD_BYTES and any(head[18:20])
    if is_flac and not head[21] & 15 and not any(head[22:]):
        return "flac without its length"
    magics = {
        b"\x1aE\xdf\xa3": "webm",
        b"0&\xb2u": "wma",
        b"#!AMR": "amr",
        b"\xff\xf1": "aac",
        b"\xff\xf9": "aac",
    }
    return next((name for magic, name in magics.items() if head.startswith(magic)), None)


def find_damage(stream: BinaryIO, *, within: bool) -> tuple[str, str] | None:
    """Return the reason and the sentence why a recording is not whole, None where nothing shows it.

    What decoders report themselves is not looked for, and nothing can be told of an mp3. Leaves the stream at
    its start.

    Args:
        stream: The recording.
        within: Whether to look through what takes reading it whole, beside its header.

    Example:
        >>> import io
        >>> find_damage(io.BytesIO(b"RIFF" + (1000).to_bytes(4, "little") + b"WAVE"), within=False)
        ('truncated', 'it ends before its header says')
    """
    stream.seek(0)
    head = stream.read(12)
    damage = None
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        damage = wav_damage(stream)
    elif head[:4] == b"OggS" and within:
        damage = ogg_damage(stream)
    elif (header := flac_header(stream)) is not None:
        damage = flac_damage(stream, header)
    stream.seek(0)
    return damage


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
