"""Recordings that are damaged, lie about themselves, or are no recordings."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from tests.hostile.speech import RATE, Spoken, encoded, flac, flipped, patched, samples

TEXT = "Words of the hostile row."
FINE = "fine"
WAV_HEADER = 44
"""Bytes before the samples of a wav as soundfile writes it."""


@dataclass(frozen=True)
class Recording:
    """A recording that a manifest names.

    Attributes:
        name: What it is called in tests and tables.
        what: What is wrong with it.
        outcome: The reason it is counted under (`a or b` where it depends on the machine), or `FINE`.
        content: Its bytes; or a function that puts it in a folder under a path.
        path: The path that the manifest gives.
        heard: What has to come out where it is fine; None: the first prompt, to the bit.
    """

    name: str
    what: str
    outcome: str
    content: bytes | Callable[[Path, str], None]
    path: str | None = None
    heard: Spoken | None = None

    @property
    def cell(self) -> str:
        """The path in the manifest."""
        return f"{self.name}.audio" if self.path is None else self.path

    @property
    def spoken(self) -> Spoken:
        """The row that has to come out."""
        return self.heard or Spoken(TEXT, samples())

    def put(self, folder: Path) -> None:
        """Write it where the manifest says."""
        if isinstance(self.content, bytes):
            (folder / self.cell).write_bytes(self.content)
        else:
            self.content(folder, self.cell)


def recordings() -> tuple[Recording, ...]:
    """Return all of them."""
    groups = (_flac, _wav_sizes, _wav_fields, _compressed, _contents, _names, _files)
    return tuple(recording for group in groups for recording in group())


def _flac() -> Iterator[Recording]:
    whole = flac()
    stream_info = 8  # after `fLaC` and a block's header
    yield Recording("flac-half", "a flac cut in the middle", "unreadable", whole[: len(whole) // 2])
    yield Recording("flac-tail", "a flac without its last 400 bytes", "unreadable", whole[:-400])
    yield Recording("flac-header-only", "the first 30 bytes of a flac", "unreadable", whole[:30])
    yield Recording("flac-magic", "nothing but the letters fLaC", "unreadable", b"fLaC")
    yield Recording(
        "flac-bits", "a flac with 20 bits flipped", "unreadable", flipped(whole, 0.3, 0.9, bits=20)
    )
    yield Recording(
        "flac-one-bit", "a flac with one bit flipped", "unreadable", flipped(whole, 0.5, 0.6, bits=1)
    )
    zeros = patched(whole, len(whole) // 2, bytes(600))
    yield Recording("flac-hole", "a flac with 600 bytes of zeros in it", "unreadable", zeros)
    rate = stream_info + 10
    slow = patched(whole, rate, bytes([0, 0, whole[rate + 2] & 0x0F]))
    yield Recording("flac-rate-0", "a flac of 0 Hz by its header", "unreadable", slow)
    days = patched(whole, stream_info + 13, bytes([whole[stream_info + 13] | 0x0F]) + b"\xff" * 4)
    yield Recording("flac-days", "a flac of days by its header", "too-long", days)
    count = stream_info + 14
    short = patched(whole, count, struct.pack(">I", 10_000))
    yield Recording("flac-says-less", "a flac that holds more than its header says", "unreadable", short)
    open_ended = patched(whole, count, bytes(4))
    yield Recording(
        "flac-says-0", "a flac that was streamed: no length in its header", "fine or no-decoder", open_ended
    )
    tagged = b"ID3\x04\x00\x00\x00\x00\x00\x14" + bytes(20) + whole
    yield Recording("flac-id3", "a flac behind an ID3 tag", FINE, tagged)
    yield Recording(
        "flac-spliced", "two flacs in one file, of which the first is heard", FINE, whole + flac(1)
    )
    yield Recording("flac-junk-behind", "a flac and 100 kB of zeros", FINE, whole + bytes(100_000))


def _wav_sizes() -> Iterator[Recording]:
    wav = encoded()
    size, half = len(wav) - WAV_HEADER, struct.pack("<I", (len(wav) - WAV_HEADER) // 4 * 2)
    endless = b"\xff" * 4
    yield Recording("wav-half", "a wav cut in the middle", "truncated", wav[: len(wav) // 2])
    yield Recording("wav-header-only", "the first 20 bytes of a wav", "truncated", wav[:20])
    yield Recording("wav-no-data", "a wav that ends before its samples", "truncated", wav[:36])
    yield Recording(
        "wav-piped", "a wav written to a pipe: sizes 0xFFFFFFFF", FINE, _sized(wav, endless, endless)
    )
    yield Recording("wav-riff-0", "a wav with a RIFF size of 0", FINE, _sized(wav, bytes(4), wav[40:44]))
    yield Recording("wav-sizes-0", "a wav whose sizes are 0", "empty", _sized(wav, bytes(4), bytes(4)))
    yield Recording(
        "wav-data-half", "a wav that holds more than it says", "unreadable", _sized(wav, wav[4:8], half)
    )
    more = struct.pack("<I", size + 5_000)
    yield Recording(
        "wav-data-more", "a wav that says more than it holds", "truncated", _sized(wav, wav[4:8], more)
    )
    yield Recording("wav-rf64", "a wav for more than 4 GB (RF64)", FINE, encoded(form="RF64"))
    listed = _with_chunk(wav, b"LIST", b"INFOISFT\x04\0\0\0abc\0")
    yield Recording("wav-listed", "a wav with a list of its maker in front", FINE, listed)
    tail = _sized(wav + b"LIST\x04\0\0\0INFO", struct.pack("<I", len(wav) + 4), wav[40:44])
    yield Recording("wav-list-behind", "a wav with a list behind its samples", FINE, tail)
    huge = _with_chunk(wav, b"JUNK", b"")[:40] + b"\xf0\xff\xff\x7f" + wav[36:]
    yield Recording("wav-junk-2gb", "a wav with a chunk of 2 GB by its header", "unreadable", huge)
    yield Recording("wav-zeros", "the size of a wav, all zeros", "unreadable", bytes(len(wav)))


def _sized(wav: bytes, riff: bytes, data: bytes) -> bytes:
    return patched(patched(wav, 4, riff), 40, data)


def _with_chunk(wav: bytes, name: bytes, content: bytes) -> bytes:
    chunk = name + struct.pack("<I", len(content)) + content
    return wav[:4] + struct.pack("<I", len(wav) - 8 + len(chunk)) + wav[8:36] + chunk + wav[36:]


def _wav_fields() -> Iterator[Recording]:
    wav = encoded()
    for rate in (0, 1, 1_999, 800_000, 0x7FFFFFFF, 0xFFFFFFFF):
        reason = "sampling-rate" if 0 < rate < 1 << 31 else "unreadable"
        content = patched(wav, 24, struct.pack("<II", rate, 2 * rate & 0xFFFFFFFF))
        yield Recording(f"wav-rate-{rate}", f"a wav of {rate} Hz by its header", reason, content)
    flipped_rate = patched(wav, 24, struct.pack("<I", RATE + 4_096))
    yield Recording("wav-rate-bit", "a wav with a bit of its rate flipped", "unreadable", flipped_rate)
    for channels in (0, 1_025, 65_535):
        content = patched(wav, 22, struct.pack("<H", channels))
        yield Recording(f"wav-channels-{channels}", f"a wav of {channels} channels", "unreadable", content)
    for bits in (0, 1, 24, 65_535):
        content = patched(wav, 34, struct.pack("<H", bits))
        yield Recording(f"wav-bits-{bits}", f"a wav of {bits} bits a sample", "unreadable", content)
    unknown = patched(wav, 20, b"\x34\x12")
    yield Recording("wav-coding", "a wav in a coding that nobody knows", "unreadable", unknown)


def _compressed() -> Iterator[Recording]:
    mp3, ogg, opus = (
        encoded(form="MP3"),
        encoded(form="OGG", coding="VORBIS"),
        encoded(form="OGG", coding="OPUS"),
    )
    heard = Spoken(TEXT, samples(), tolerance=0.2)
    yield Recording("mp3", "a whole mp3", FINE, mp3, heard=heard)
    yield Recording("mp3-half", "an mp3 cut in the middle", "truncated", mp3[: len(mp3) // 2])
    yield Recording("mp3-bits", "an mp3 with 200 bits flipped", "truncated", flipped(mp3, 0.3, 0.9, bits=200))
    yield Recording("mp3-hole", "an mp3 with half of it zeros", "unreadable", _hole(mp3))
    yield Recording(
        "mp3-tag-only", "an ID3 tag without an mp3", "unreadable", b"ID3\x04\0\0\x0f\x7f\x7f\x7f" + bytes(99)
    )
    yield Recording("ogg", "a whole Ogg Vorbis", FINE, ogg, heard=heard)
    yield Recording("ogg-half", "an Ogg Vorbis cut in the middle", "truncated", ogg[: len(ogg) // 2])
    yield Recording("ogg-page", "an Ogg Vorbis cut between two pages", "truncated", _without_last_page(ogg))
    yield Recording(
        "ogg-bits", "an Ogg Vorbis with 5 bits flipped", "unreadable", flipped(ogg, 0.5, 0.9, bits=5)
    )
    yield Recording("opus", "a whole Opus", FINE, opus, heard=heard)
    yield Recording("opus-half", "an Opus cut in the middle", "truncated", opus[: len(opus) // 2])
    yield Recording("opus-bits", "an Opus with 5 bits flipped", "unreadable", flipped(opus, 0.5, 0.9, bits=5))
    yield Recording(
        "m4a-noise",
        "the first bytes of an m4a and noise",
        "unreadable or no-decoder",
        b"\0\0\0\x18ftypM4A " + bytes(500),
    )


def _hole(content: bytes) -> bytes:
    return patched(content, len(content) // 4, bytes(len(content) // 2))


def _without_last_page(ogg: bytes) -> bytes:
    return ogg[: ogg.rfind(b"OggS")]


def _contents() -> Iterator[Recording]:
    speech = samples()
    nan, inf, loud = speech.copy(), speech.copy(), speech * 32_768
    nan[1_000], inf[1_000] = np.nan, -np.inf
    yield Recording("zero-bytes", "a file of 0 bytes", "empty", b"")
    yield Recording("one-byte", "a file of 1 byte", "unreadable", b"R")
    yield Recording("no-samples", "a wav of 0 samples", "empty", encoded(speech[:0]))
    yield Recording(
        "no-samples-flac", "a flac of 0 samples", "empty or no-decoder", encoded(speech[:0], "FLAC")
    )
    yield Recording("one-sample", "a wav of 1 sample", "too-short", encoded(speech[:1]))
    yield Recording("nan", "a float wav with a NaN", "not-finite", encoded(nan, coding="FLOAT"))
    yield Recording("inf", "a float wav with an infinite sample", "not-finite", encoded(inf, coding="FLOAT"))
    vast = encoded(speech.astype(np.float64) * 1e300, coding="DOUBLE")
    yield Recording("vast", "a float64 wav with samples of 1e299", "not-finite", vast)
    yield Recording(
        "unscaled", "a float wav with samples up to 32768", "out-of-range", encoded(loud, coding="FLOAT")
    )
    yield Recording("silence", "digital silence with a text", "silent", encoded(np.zeros(RATE)))
    yield Recording("hour", "an hour of silence, sparse on disk", "too-long", _sparse_hour)
    eight = Spoken(TEXT, speech, tolerance=0.1)
    yield Recording("8-bit", "a wav of 8 bits", FINE, encoded(coding="PCM_U8"), heard=eight)
    yield Recording("24-bit", "a wav of 24 bits", FINE, encoded(coding="PCM_24"))
    yield Recording("32-bit", "a wav of 32 bits", FINE, encoded(coding="PCM_32"))
    yield Recording("float64", "a wav of 64-bit floats", FINE, encoded(coding="DOUBLE"))
    yield Recording("a-law", "a wav in A-law", FINE, encoded(coding="ALAW"), heard=Spoken(TEXT, speech, 0.05))
    yield Recording("u-law", "a wav in u-law", FINE, encoded(coding="ULAW"), heard=Spoken(TEXT, speech, 0.05))
    six = np.repeat(speech[:, None], 6, axis=1)
    yield Recording("6-channels", "a wav of 6 channels", FINE, encoded(six, coding="FLOAT"))
    up = soxr.resample(speech, RATE, 192_000)
    heard = Spoken(TEXT, speech, tolerance=0.05)
    yield Recording(
        "192-khz", "a wav of 192 kHz", FINE, encoded(up, coding="FLOAT", rate=192_000), heard=heard
    )
    yield Recording(
        "text-file", "a text that is named like a recording", "unreadable", b"This is a transcript.\n" * 50
    )
    page = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
    yield Recording("web-page", "a sign-in page saved as flac", "unreadable", page, path="page.flac")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    yield Recording(
        "lfs-pointer", "a pointer of git-lfs instead of a flac", "unreadable", pointer, path="lfs.flac"
    )
    yield Recording(
        "gzipped", "a wav in gzip", "unreadable", gzip.compress(encoded(), mtime=0), path="speech.wav.gz"
    )
    yield Recording("raw", "samples without a header", "unreadable", speech.tobytes(), path="speech.raw")


def _sparse_hour(folder: Path, name: str) -> None:
    size = 3_600 * RATE * 2
    header = encoded(np.zeros(1, np.float32))[:WAV_HEADER]
    with (folder / name).open("wb") as file:
        file.write(_sized(header, struct.pack("<I", size + 36), struct.pack("<I", size)))
        file.truncate(WAV_HEADER + size)


def _names() -> Iterator[Recording]:
    odd = {
        "name-spaces": (" a  name with spaces .wav", "a name with spaces, also in front"),
        "name-quotes": ('it\'s "quoted" `name`.wav', "a name with quotes"),
        "name-newline": ("two\nlines.wav", "a name with a newline"),
        "name-emoji": ("\U0001f3a4\U0001f1eb\U0001f1f7.wav", "a name of emoji"),
        "name-bytes": ("caf\udce9.wav", "a name that is not UTF-8 (latin-1 on disk)"),
        "name-combining": ("e\u0301te\u0301.wav", "a name with combining accents"),
        "name-rtl": ("\u202eصوت.wav", "a name from right to left"),
        "name-dash": ("-rf *.wav", "a name like an option"),
        "name-long": ("x" * 250 + ".wav", "a name of 254 characters"),
        "name-flac": ("wav-inside.flac", "a wav that is named flac"),
        "name-percent": ("100%25%s{0}$HOME.wav", "a name with escapes in it"),
    }
    for name, (path, what) in odd.items():
        yield Recording(name, what, FINE, encoded(), path=path)


def _files() -> Iterator[Recording]:
    yield Recording("missing", "no such file", "missing", _nothing)
    yield Recording(
        "folder", "a folder in the place of a file", "missing", lambda folder, name: (folder / name).mkdir()
    )
    yield Recording(
        "fifo", "a named pipe that nobody writes to", "missing", lambda folder, name: os.mkfifo(folder / name)
    )
    yield Recording("endless", "a link to /dev/zero", "missing", _link("/dev/zero"))
    yield Recording("link", "a link to a recording", FINE, _link_to_recording)
    yield Recording("link-broken", "a link to nothing", "missing", _link("nowhere.wav"))
    yield Recording("link-loop", "a link to itself", "missing", _link_to_itself)
    yield Recording(
        "failing-read", "a file that opens but cannot be read", "unreadable", _link("/proc/self/mem")
    )
    yield Recording("below-a-file", "a path below a file", "missing", _nothing, path="good-1.flac/inside.wav")
    yield Recording("path-nul", "a path with a NUL", "missing", _nothing, path="a\0b.wav")
    yield Recording("path-vast", "a path of 5000 characters", "unreadable", _nothing, path="x" * 5_000)
    yield Recording("path-empty", "an empty path", "empty", _nothing, path="")
    yield Recording("path-dot", "the folder itself", "missing", _nothing, path=".")
    yield Recording(
        "path-outside", "a path out of the folder", "path-outside", _nothing, path="../../etc/passwd"
    )
    yield Recording(
        "path-winding", "a path out of the folder by a detour", "path-outside", _nothing, path="a/../../b.wav"
    )
    yield Recording(
        "path-absolute",
        "an absolute path to a file that is no audio",
        "unreadable",
        _nothing,
        path="/etc/passwd",
    )


def _nothing(folder: Path, name: str) -> None:
    """Put nothing there."""


def _link(target: str) -> Callable[[Path, str], None]:
    return lambda folder, name: (folder / name).symlink_to(target)


def _link_to_itself(folder: Path, name: str) -> None:
    (folder / name).symlink_to(name)


def _link_to_recording(folder: Path, name: str) -> None:
    (folder / "target.wav").write_bytes(encoded())
    (folder / name).symlink_to("target.wav")
