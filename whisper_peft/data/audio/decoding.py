"""From a recording as it lies (path, bytes, array) to Whisper's input: 16 kHz, mono, float32.

Why a recording is refused is a short word that reports count by:

| reason | meaning |
|---|---|
| `missing` | there is no such file |
| `unreadable` | the bytes are no audio, are damaged, or a header contradicts what follows it |
| `truncated` | the recording ends before its own header says |
| `no-decoder` | m4a, aac, wma, webm, amr or a flac without its length, and no ffmpeg to read it |
| `sampling-rate` | the rate is not given, or is not one of speech |
| `empty` | there are no samples |
| `not-finite` | there are NaN or infinite samples |
| `out-of-range` | samples are far above 1: integers that were not scaled |
| `silent` | every sample is zero, though there is a transcript |
| `bad-times` | the stretch that the row names ends before it begins, or is not in the recording |
"""

from __future__ import annotations

import functools
import io
import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import soundfile
import soxr
from audioread import DecodeError, ffdec
from numpy.typing import NDArray

from whisper_peft.data.audio.containers import HEAD_BYTES, find_damage, foreign_container, states_its_length
from whisper_peft.data.audio.flac_headers import FlacHeader, SampleDigest, flac_header
from whisper_peft.data.sources.stretches import OVERSHOOT_S, Stretch
from whisper_peft.errors import AudioError
from whisper_peft.types import SAMPLING_RATE, Utterance, Waveform

_Sample = TypeVar("_Sample", bound=np.generic)

_BLOCK_FRAMES = 1 << 20
"""Frames read at a time, so that a header that promises terabytes costs nothing."""

_MP3_SLACK = 4 * 1152
"""Samples by which an mp3 may fall short of its header, which can count the encoder's delay and padding."""

_SEEKS_EXACTLY = (
    {"FLAC"}
    | {f"PCM_{width}" for width in ("S8", "U8", "16", "24", "32")}
    | {"FLOAT", "DOUBLE", "ULAW", "ALAW"}
)
"""Formats and sample codings whose samples do not depend on those before them. The rest (mp3, Ogg, ADPCM)
comes out a little different after a seek, so there a stretch is decoded from the recording's start."""

_LOUDEST = 16.0
"""Samples beyond full scale are heard, up to 24 dB; mixing overshoots by less, unscaled integers by more."""

_RATES = range(2_000, 768_001)
"""Sampling rates in Hz that speech is recorded at, with room on both sides."""


def decode(utterance: Utterance) -> Utterance:
    """Return the utterance with its audio at 16 kHz, mono, float32.

    Any rate is resampled (soxr, high quality), channels are averaged, integers are scaled to [-1, 1). A 2-D
    array may be `(channels, samples)` or `(samples, channels)`: the shorter axis is the channels.

    Of a stretch (`start_s`, `end_s`) the samples are those that lie there at the recording's own rate, and
    nothing else is read of wav, flac and the like.

    Raises:
        AudioError: If the recording cannot be used; its `reason` is one of the module's table. Digital
            silence is refused only where there is text, which a model would learn to invent.

    Example:
        >>> tone = np.sin(np.arange(8_000) / 10)
        >>> decode(Utterance("a", tone, "hum", sampling_rate=8_000)).waveform.shape
        (16000,)
    """
    waveform = resampled(*decode_as_recorded(utterance))
    with _naming(utterance.audio, utterance.id):
        _checked_length(len(waveform))
    return utterance.with_audio(waveform)


def decode_as_recorded(utterance: Utterance) -> tuple[NDArray[np.float32], int]:
    """Return the samples as `decode` finds them, mono and float32, at the recording's own rate, and the rate.

    Raises:
        AudioError: As `decode` does.
    """
    with _naming(utterance.audio, utterance.id):
        samples, rate = _read(utterance)
        _refuse_unfit(samples)
        if utterance.text.strip() and not samples.any():
            raise _refusal("silent", "every sample is zero, though there is a transcript", "leave it out")
    return samples, rate


def resampled(samples: NDArray[np.float32], rate: int) -> Waveform:
    """Return samples at 16 kHz (soxr, high quality).

    Example:
        >>> resampled(np.zeros(8_000, np.float32), 8_000).shape
        (16000,)
    """
    if rate != SAMPLING_RATE:
        samples = soxr.resample(samples, rate, SAMPLING_RATE, quality="HQ")
    return np.ascontiguousarray(samples, dtype=np.float32)


def header_duration_s(
    audio: Path | bytes | NDArray[Any],
    sampling_rate: int | None = None,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> float | None:
    """Return how long a recording or a stretch of it lasts in seconds, reading no more than its header.

    None where only decoding can tell (m4a and the like, unless the stretch names its end).

    Raises:
        AudioError: If the header already shows that the recording cannot be used.

    Example:
        >>> header_duration_s(np.zeros(8_000), 16_000)
        0.5
    """
    stretch = Stretch(start_s, end_s)
    with _naming(audio, "recording"):
        if isinstance(audio, np.ndarray):
            rate, samples = _checked_rate(sampling_rate), max(audio.shape, default=0)
            return len(stretch.samples(rate, _checked_length(samples))) / rate
        with _opened(audio) as stream:
            if _needs_ffmpeg(stream):
                return (
                    len(stretch.samples(SAMPLING_RATE, None)) / SAMPLING_RATE if end_s is not None else None
                )
            _refuse_damage(stream, within=False)
            with _sound_file(stream) as file:
                rate, samples = _checked_rate(file.samplerate), _checked_length(file.frames)
            known = samples if end_s is None or states_its_length(stream) else None
            return len(stretch.samples(rate, known)) / rate


@contextmanager
def _naming(audio: Path | bytes | NDArray[Any], name: str) -> Iterator[None]:
    """Put the recording's name before the reason why it is refused."""
    try:
        yield
    except AudioError as error:
        readable = str(audio).encode("utf-8", "replace").decode("utf-8") if isinstance(audio, Path) else ""
        what = readable or f"audio of {name}"
        raise AudioError(what, error.why, error.todo, reason=error.reason) from error.__cause__


def _refusal(reason: str, why: str, todo: str) -> AudioError:
    return AudioError("", why, todo, reason=reason)


def _checked_rate(sampling_rate: int | None) -> int:
    if sampling_rate is None:
        raise _refusal("sampling-rate", "an array was given without its rate", "give sampling_rate with it")
    if int(sampling_rate) not in _RATES:
        why = f"a rate of {sampling_rate} Hz is outside {_RATES[0]} to {_RATES[-1]} Hz"
        raise _refusal("sampling-rate", why, "export it again with its true rate")
    return int(sampling_rate)


def _checked_length(samples: int) -> int:
    if not samples:
        raise _refusal("empty", "there are no samples in it", "record or export it again")
    return samples


def _read(utterance: Utterance) -> tuple[NDArray[np.float32], int]:
    audio, stretch = utterance.audio, Stretch(utterance.start_s, utterance.end_s)
    if isinstance(audio, np.ndarray):
        rate, samples = _checked_rate(utterance.sampling_rate), _samples_first(audio)
        return _mono(_scaled(_cut(samples, stretch, rate))), rate
    with _opened(audio) as stream:
        if _needs_ffmpeg(stream):
            samples, rate = _read_with_ffmpeg(audio)
            return _cut(samples, stretch, rate), rate
        return _read_sound_file(stream, stretch)


def _cut(samples: NDArray[_Sample], stretch: Stretch, rate: int) -> NDArray[_Sample]:
    inside = stretch.samples(rate, _checked_length(len(samples)))
    return samples[inside.start : inside.stop]


def _refuse_unfit(samples: NDArray[np.float32]) -> None:
    _checked_length(len(samples))
    loudest = float(np.abs(samples).max())
    if not math.isfinite(loudest):
        raise _refusal("not-finite", "there are NaN or infinite samples in it", "export it again")
    if loudest > _LOUDEST:
        why = f"its samples go up to {loudest:.3g}, and 1 is full scale"
        raise _refusal("out-of-range", why, "divide integers by their largest value, such as 32768")


def _scaled(samples: NDArray[Any]) -> NDArray[np.float32]:
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinite samples are refused
            return samples.astype(np.float32, copy=False)
    if samples.dtype.kind not in "iu":
        raise _refusal("unreadable", f"an array of {samples.dtype} is no audio", "give floats or integers")
    half = 2.0 ** (8 * samples.dtype.itemsize - 1)
    offset = half if samples.dtype.kind == "u" else 0.0
    return ((samples.astype(np.float64) - offset) / half).astype(np.float32)


def _samples_first(samples: NDArray[_Sample]) -> NDArray[_Sample]:
    """Return an array as `(samples,)` or `(samples, channels)`."""
    if samples.ndim == 1:
        return samples
    if samples.ndim != 2:
        raise _refusal("unreadable", f"an array of shape {samples.shape} is no audio", "give 1 or 2 axes")
    _checked_length(samples.size)
    return samples if samples.shape[1] < samples.shape[0] else samples.T


def _mono(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore", over="ignore"):  # samples that are not finite are refused
        return samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)


@contextmanager
def _opened(audio: Path | bytes) -> Iterator[BinaryIO]:
    if isinstance(audio, bytes):
        yield io.BytesIO(audio)
        return
    try:
        if not audio.is_file():
            raise _refusal("missing", "there is no such file", "check its path")
        with audio.open("rb") as stream:
            yield stream
    except OSError as error:
        raise _refusal("unreadable", str(error.strerror), "check its path and permissions") from error


def _needs_ffmpeg(stream: BinaryIO) -> bool:
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    _checked_length(len(head))
    container = foreign_container(head)
    if container and not _has_ffmpeg():
        todo = "install ffmpeg (apt install ffmpeg, brew install ffmpeg), or convert it to flac or wav"
        raise _refusal("no-decoder", f"{container} needs ffmpeg, which is not installed", todo)
    return container is not None


@functools.cache
def _has_ffmpeg() -> bool:
    return bool(ffdec.available())


class _Content:
    """A recording as libsndfile reads it.

    In damaged files it seeks before the start. C has an error code for that; Python's exception would end as
    a traceback on the terminal.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.read, self.tell = stream.read, stream.tell

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with suppress(OSError, ValueError):
            self._stream.seek(offset, whence)
        return self.tell()


@contextmanager
def _sound_file(stream: BinaryIO) -> Iterator[soundfile.SoundFile]:
    todo = "copy or export it again, as flac or wav"
    try:
        with soundfile.SoundFile(_Content(stream)) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise _refusal("unreadable", error.error_string.rstrip("."), todo) from error


def _refuse_damage(stream: BinaryIO, *, within: bool) -> None:
    damage = find_damage(stream, within=within)
    if damage is not None:
        reason, why = damage
        raise _refusal(reason, why, "copy, download or export it again")


def _read_sound_file(stream: BinaryIO, stretch: Stretch) -> tuple[NDArray[np.float32], int]:
    _refuse_damage(stream, within=True)
    states_length, header = states_its_length(stream), flac_header(stream)
    with _sound_file(stream) as file:
        rate = _checked_rate(file.samplerate)
        promised = file.frames if states_length else None
        wanted = stretch.samples(rate, promised)
        if header is not None and header.is_checkable and stretch.is_whole:
            samples = _checked_flac(file, header)
        else:
            samples = np.concatenate([np.zeros(0, np.float32), *_blocks(file, wanted)])
    _check_count(samples, wanted, stretch, rate, is_promised=promised is not None)
    return samples, rate


def _check_count(
    samples: NDArray[np.float32], wanted: range, stretch: Stretch, rate: int, *, is_promised: bool
) -> None:
    if is_promised and len(samples) + _MP3_SLACK < len(wanted):
        why = f"it holds {len(samples)} of the {len(wanted)} samples that its header promises"
        raise _refusal("truncated", why, "copy or download it again")
    is_short = stretch.end_s is not None and len(samples) + OVERSHOOT_S * rate < len(wanted)
    if not stretch.is_whole and (is_short or not len(samples)):
        raise stretch.refusal("the recording ends before that")


def _checked_flac(file: soundfile.SoundFile, header: FlacHeader) -> NDArray[np.float32]:
    """Read a flac whole and compare it with the digest of what its encoder was given."""
    digest, blocks = SampleDigest(header.bits), [np.zeros(0, np.float32)]
    while len(block := file.read(_BLOCK_FRAMES, dtype="int32", always_2d=True)):
        digest.update(block)
        blocks.append((block * np.float32(2**-31)).mean(axis=1, dtype=np.float32))
    samples = np.concatenate(blocks)
    if digest.value() != header.digest and len(samples) >= header.count:
        raise _refusal("unreadable", "its samples are not those that were encoded", "copy it again")
    return samples


def _blocks(file: soundfile.SoundFile, wanted: range) -> Iterator[NDArray[np.float32]]:
    """Yield the wanted samples of a file, its channels averaged."""
    place = 0
    if wanted.start and not _SEEKS_EXACTLY.isdisjoint((file.format, file.subtype)):
        place = file.seek(wanted.start)
    while place < wanted.stop:
        frames = min(_BLOCK_FRAMES, wanted.stop - place)
        block = file.read(frames, dtype="float32", always_2d=True)
        if not len(block):
            return
        yield _mono(block[max(wanted.start - place, 0) :])
        place += len(block)


def _read_with_ffmpeg(audio: Path | bytes) -> tuple[NDArray[np.float32], int]:
    with tempfile.NamedTemporaryFile() as copy:  # ffmpeg wants a file
        if isinstance(audio, bytes):
            copy.write(audio)
            copy.flush()
        path = Path(copy.name) if isinstance(audio, bytes) else audio.resolve()
        try:
            with ffdec.FFmpegAudioFile(str(path)) as file:
                rate, channels, promised_s, pcm = (
                    file.samplerate,
                    file.channels,
                    file.duration,
                    b"".join(file),
                )
        except (DecodeError, OSError) as error:
            raise _refusal("unreadable", "ffmpeg cannot read it", "convert it to flac or wav") from error
    if not channels:
        raise _refusal("unreadable", "ffmpeg finds no sound in it", "convert it to flac or wav")
    frames = len(pcm) // (2 * channels)
    if frames / _checked_rate(rate) < 0.95 * promised_s - 0.2:  # ffmpeg prints tenths of a second
        raise _refusal("truncated", "it ends before its header says", "copy or download it again")
    samples = _scaled(np.frombuffer(pcm, "<i2", count=frames * channels)).reshape(-1, channels)
    return samples.mean(axis=1), rate
