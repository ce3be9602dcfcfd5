"""Hypothesis strategies: valid recordings with damage, and texts that are almost manifests."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.hostile.speech import RATE, encoded, samples

Damage = Callable[[bytes], bytes]

CODINGS = (
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "PCM_24"),
    ("WAV", "ULAW"),
    ("WAV", "IMA_ADPCM"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AIFF", "PCM_16"),
    ("CAF", "ALAC_16"),
    ("AU", "PCM_16"),
    ("W64", "PCM_16"),
    ("RF64", "PCM_16"),
)


@dataclass(frozen=True)
class Damaged:
    """A recording that was damaged; what it was before is `stored(*coding)`."""

    coding: tuple[str, str]
    content: bytes

    def __repr__(self) -> str:
        """Return what is short enough to print, and to find the bytes by."""
        return f"Damaged({self.coding}, {len(self.content)} bytes, {base64.b85encode(self.content[:300])!r})"


@functools.cache
def stored(form: str, coding: str) -> bytes:
    """Return half a second of speech in a format."""
    return encoded(samples()[RATE // 2 : RATE], form, coding)


def _flip(place: float, bit: int) -> Damage:
    def damage(content: bytes) -> bytes:
        at = int(place * len(content))
        return content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :] if content else content

    return damage


def _write(place: int, value: bytes) -> Damage:
    return lambda content: content[:place] + value + content[place + len(value) :]


def _cut(start: float, end: float) -> Damage:
    first, last = sorted((start, end))
    return lambda content: content[: int(first * len(content))] + content[int(last * len(content)) :]


def _repeat(start: float, end: float) -> Damage:
    first, last = sorted((start, end))
    return lambda content: content[: int(last * len(content))] + content[int(first * len(content)) :]


def _splice(place: float, other: bytes) -> Damage:
    return lambda content: content[: int(place * len(content))] + other[int(place * len(other)) :]


share = st.floats(0, 1, exclude_max=True)
numbers = st.sampled_from([0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF])
field = st.builds(
    lambda number, width, order: (number & (1 << 8 * width) - 1).to_bytes(width, order),
    numbers,
    st.sampled_from([1, 2, 4]),
    st.sampled_from(["little", "big"]),
)
flips = st.builds(_flip, share, st.integers(0, 7))
damages = st.one_of(
    flips,
    st.builds(_write, st.integers(0, 100), field),
    st.builds(_write, st.integers(0, 4_000), st.binary(max_size=300)),
    st.builds(lambda place: _cut(place, 1.0), share),
    st.builds(_cut, share, share),
    st.builds(_repeat, share, share),
    st.builds(_splice, share, st.sampled_from(CODINGS).map(lambda coding: stored(*coding))),
)


@st.composite
def damaged(
    draw: st.DrawFn,
    codings: Sequence[tuple[str, str]] = CODINGS,
    kinds: st.SearchStrategy[Damage] = damages,
) -> Damaged:
    """Return a recording that was damaged up to four times."""
    coding = draw(st.sampled_from(codings))
    content = stored(*coding)
    for damage in draw(st.lists(kinds, min_size=1, max_size=4)):
        content = damage(content)
    return Damaged(coding, content)


_PIECES = (
    b"speech.flac",
    b"a/../speech.flac",
    b"../speech.flac",
    b"/dev/null",
    b'{"file_name": "speech.flac", "text": "words"}',
    b'{"audio_filepath": "speech.flac", "text": "words", "offset": 0.5, "duration": 1}',
    b"file_name,text\n",
    b"file_name\ttext\n",
    b"path\tsentence\tclient_id\n",
    b'"',
    b'""',
    b"'",
    b",",
    b"\t",
    b"|",
    b"\n",
    b"\r\n",
    b"\r",
    b"{",
    b"}",
    b"[[[",
    b":",
    b"\\ud800",
    b"\\u0000",
    b"null",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 400,
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x00",
    "é\u2028\u0085 ".encode(),
    b"words",
    b"WEBVTT\n\n",
    b"1\n00:00:00,000 --> 00:00:01,000\n",
    b"00:00.500 --> 00:01.500 align:start\n",
    b"99999999999999999999:00:00.000 --> 00:00:01.000\n",
    b"00:00:00,000 --> 00:00:00,000\n",
    b"<i>",
    b"<00:00:00.500>",
    b"&#x110000;",
    b"&amp;",
    b"{\\an8}",
    b"NOTE\n",
    b"utt1 ",
    b"rec1 ",
    b"rec1 0.0 1.0\n",
    b"utt1 rec1 0.5 -1\n",
    b"utt1 rec1 nan inf\n",
    b"sox speech.flac -t wav - |",
    b"speech.ark:17",
    b"19-198-0000 WORDS\n",
)

texts = st.lists(
    st.sampled_from(_PIECES) | st.binary(max_size=20) | st.text(max_size=10).map(lambda text: text.encode()),
    max_size=25,
).map(b"".join)
"""Bytes that are nearly a manifest, a transcript, subtitles or a table of Kaldi's."""
