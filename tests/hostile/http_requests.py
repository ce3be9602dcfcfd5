"""Requests that no transcription comes of, each with the status that it must be answered with.

Sizes are for a server that takes 2 MiB and 60 s; with larger limits give both to `hostile_requests`.
"""

from __future__ import annotations

import functools
import gzip
import io
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx
import numpy as np
import soundfile

TRANSCRIPTIONS = "/v1/audio/transcriptions"


@dataclass(frozen=True)
class HostileRequest:
    """A request, and what is expected of the answer."""

    name: str
    status: int
    method: str = "POST"
    path: str = TRANSCRIPTIONS
    parts: tuple[tuple[str, tuple[str | None, bytes]], ...] = ()
    body: bytes | None = None
    is_chunked: bool = False
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, client: httpx.Client) -> httpx.Response:
        """Send it."""
        if self.is_chunked:
            return client.request(self.method, self.path, content=self._chunks(), headers=self.headers)
        files = list(self.parts) or None
        return client.request(
            self.method, self.path, files=files, content=self.body, headers=self.headers or None
        )

    def _chunks(self) -> Iterator[bytes]:
        body = self.body or b""
        yield from (body[start : start + 65_536] for start in range(0, len(body), 65_536))


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    """Return samples as the bytes of a wav file."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", subtype=subtype)
    return stream.getvalue()


def flac(samples: np.ndarray, rate: int = 16_000) -> bytes:
    """Return samples as the bytes of a flac file."""
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="FLAC")
    return stream.getvalue()


def wav_header(*, rate: int, channels: int, size: int) -> bytes:
    """Return a header of 16-bit samples that promises what it is told to."""
    block = 2 * channels
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * block) & 0xFFFFFFFF, block, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", size)
    return b"RIFF" + struct.pack("<I", (size + 36) & 0xFFFFFFFF) + chunks


def hostile_requests(
    model: str, *, max_upload_bytes: int = 2 << 20, max_duration_s: float = 60.0, multilingual: bool = False
) -> list[HostileRequest]:
    """Return the requests for a server of one model with the given limits."""
    form = functools.partial(_form, model)
    return [
        *_recordings(form, max_duration_s),
        *_fields(form),
        *_repeated_parts(model),
        *(() if multilingual else _other_languages(form)),
        *_bodies(max_upload_bytes),
        *_addresses(),
    ]


SPEECH = wav(np.sin(np.arange(16_000) / 20) * 0.1)
"""A second of a tone, with which a form is filled in unless it says otherwise."""

Form = Callable[..., HostileRequest]
"""`_form` of one model."""


def _form(
    served: str,
    name: str,
    status: int,
    file: bytes | None = SPEECH,
    path: str = TRANSCRIPTIONS,
    **fields: str,
) -> HostileRequest:
    """Return a form for the model that is served; `__` in the name of a field stands for `[]`."""
    text = {"model": served, **{key.replace("__", "[]"): value for key, value in fields.items()}}
    parts = [(key, (None, value.encode())) for key, value in text.items()]
    parts += [] if file is None else [("file", ("../../../etc/passwd", file))]
    return HostileRequest(name, status, path=path, parts=tuple(parts))


def _recordings(form: Form, max_duration_s: float) -> list[HostileRequest]:
    long = int(max_duration_s) + 10
    by_ffmpeg = 400 if shutil.which("ffmpeg") else 415
    promised = wav_header(rate=16_000, channels=1, size=1 << 30) + bytes(99)
    return [
        form("no file", 400, None),
        form("an empty file", 400, b""),
        form("text", 415, b"this is no sound at all\n" * 40),
        form("random bytes", 415, np.random.default_rng(0).bytes(5_000)),
        form("a playlist of local files", 415, b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        form("a page", 415, b"<html><script>alert(1)</script></html>"),
        form("a pickle", 415, pickle.dumps({"a": 1})),
        form("a compressed recording", 415, gzip.compress(SPEECH)),
        form("a truncated wav", 400, SPEECH[: len(SPEECH) // 2]),
        form("a header that promises 1 GB", 400, promised),
        form("1 Hz", 400, wav_header(rate=1, channels=1, size=200) + bytes(200)),
        form("4 GHz", 415, wav_header(rate=2**32 - 1, channels=1, size=200) + bytes(200)),
        form("64 channels", 400, wav(np.zeros((1_000, 64)))),
        form("samples that are no numbers", 400, wav(np.full(9_000, np.nan), subtype="FLOAT")),
        form("samples far over full scale", 400, wav(np.full(9_000, 1e30), subtype="DOUBLE")),
        form("a flac of much silence", 413, flac(np.zeros(long * 16_000, np.int16))),
        form("a long recording at 2 kHz", 413, wav(np.zeros(long * 2_000), 2_000, "PCM_U8")),
        form("an m4a of garbage", by_ffmpeg, bytes(4) + b"ftypM4A " + np.random.default_rng(1).bytes(9_000)),
        form("a webm of garbage", by_ffmpeg, b"\x1aE\xdf\xa3" + np.random.default_rng(2).bytes(9_000)),
        form("a tag without an mp3", 415, b"ID3\x04\0\0\0\0\0\0" + bytes(2_000)),
    ]


def _fields(form: Form) -> list[HostileRequest]:
    syllables = {"response_format": "verbose_json", "timestamp_granularities__": "syllable"}
    return [
        form("an unknown model", 404, model="gpt-4o-transcribe"),
        form("a model that is a path", 404, model="../../etc/passwd"),
        form("no model", 400, model=""),
        form("an unknown format", 400, response_format="docx"),
        form("a temperature", 400, temperature="0.7"),
        form("a temperature that is no number", 400, temperature="hot"),
        form("an unknown language", 400, language="xx"),
        form("word times in plain json", 400, timestamp_granularities__="word"),
        form("unknown granularity", 400, **syllables),
        form("streamed subtitles", 400, response_format="srt", stream="true"),
        form("a stream that is maybe", 400, stream="maybe"),
        form("an unknown field", 400, voice="alloy"),
        form("a prompt without end", 400, prompt="word " * 9_000),
        form("a field of a megabyte", 400, prompt="x" * (1 << 20)),
    ]


def _repeated_parts(model: str) -> list[HostileRequest]:
    named = ("model", (None, model.encode()))
    return [
        HostileRequest("the file as text", 400, parts=(named, ("file", (None, b"x")))),
        HostileRequest("the model twice", 400, parts=(named,) * 2),
        HostileRequest("two files", 400, parts=(("file", ("a", SPEECH)),) * 2),
        HostileRequest("a thousand fields", 400, parts=(("model", (None, b"x")),) * 1_000),
    ]


def _other_languages(form: Form) -> list[HostileRequest]:
    return [
        form("French of an English-only model", 400, language="fr"),
        form("a translation by an English-only model", 400, path="/v1/audio/translations"),
    ]


def _bodies(max_upload_bytes: int) -> list[HostileRequest]:
    multipart = {"content-type": "multipart/form-data; boundary=x"}
    part = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    too_large = part + bytes(max_upload_bytes + (2 << 20))
    return [
        HostileRequest("JSON", 415, body=b"{}", headers={"content-type": "application/json"}),
        HostileRequest("no body", 415),
        HostileRequest("a form without an end", 400, body=b"--y\r\nnothing", headers=multipart),
        HostileRequest("no boundary", 400, body=b"x", headers={"content-type": "multipart/form-data"}),
        HostileRequest("too large", 413, body=too_large, headers=multipart),
        HostileRequest("too large, in chunks", 413, body=too_large, is_chunked=True, headers=multipart),
    ]


def _addresses() -> list[HostileRequest]:
    return [
        HostileRequest("GET", 405, "GET"),
        HostileRequest("an unknown path", 404, "GET", "/v1/chat/completions"),
        HostileRequest("a path of the file system", 404, "GET", "/v1/models/..%2f..%2fetc%2fpasswd"),
        HostileRequest("a foreign host", 400, "GET", "/v1/models", headers={"host": "evil.example"}),
        HostileRequest("a foreign page", 403, headers={"origin": "https://evil.example"}),
    ]
