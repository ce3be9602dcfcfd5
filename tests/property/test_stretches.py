"""A stretch of a recording is that stretch of its samples, to the bit, however it is stored."""

import functools
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from whisper_peft.data.audio.decoding import decode, header_duration_s
from whisper_peft.data.checking import check_row
from whisper_peft.errors import AudioError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import SAMPLING_RATE, Utterance

PROMPTS = Path(__file__).parents[1] / "data" / "prompts" / "en"
EXACT_CODINGS = [
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("WAV", "ULAW"),
    ("W64", "PCM_16"),
    ("AIFF", "PCM_24"),
]
LOSSY_CODINGS = [
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("WAV", "IMA_ADPCM"),
    ("WAV", "GSM610"),
]


@functools.cache
def speech() -> NDArray[np.float32]:
    """Return 10 s of it."""
    files = sorted(PROMPTS.rglob("*.flac"))[:6]
    joined = np.concatenate([soundfile.read(file, dtype="float32")[0] for file in files])
    return joined[: 10 * SAMPLING_RATE]


@functools.cache
def stored(format: str, subtype: str, rate: int, channels: int) -> bytes:
    stream = io.BytesIO()
    samples = np.outer(speech(), np.linspace(1, 0.5, channels)).astype(np.float32)
    soundfile.write(stream, samples, rate, format=format, subtype=subtype)
    return stream.getvalue()


@functools.cache
def native(content: bytes) -> NDArray[np.float32]:
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].mean(axis=1)


def assert_equal(found: NDArray[np.float32], wanted: NDArray[np.float32], coding: tuple[str, str]) -> None:
    """Compare to the bit; an mp3's last bit depends on how many samples are asked for at a time."""
    if coding[0] == "MP3":
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() < 1e-6
    else:
        assert np.array_equal(found, wanted)


def stretch(audio: Any, start_s: float, end_s: float | None, rate: int | None = None) -> Utterance:
    return Utterance("one", audio, "words", sampling_rate=rate, start_s=start_s, end_s=end_s)


@given(
    st.sampled_from(EXACT_CODINGS + LOSSY_CODINGS),
    st.sampled_from([1, 2]),
    st.tuples(st.floats(0, 9.9), st.floats(0.01, 10)),
    st.booleans(),
)
@settings(max_examples=150)
def test_a_stretch_at_16_khz_is_that_stretch_of_the_samples(
    coding: tuple[str, str], channels: int, times: tuple[float, float], has_end: bool
) -> None:
    content = stored(*coding, SAMPLING_RATE, 1 if coding[1] == "GSM610" else channels)
    start_s, end_s = times[0], min(sum(times), 10.0) if has_end else None
    found = decode(stretch(content, start_s, end_s))
    last = None if end_s is None else round(end_s * SAMPLING_RATE)
    whole = native(content)
    assert_equal(found.waveform, whole[round(start_s * SAMPLING_RATE) : last], coding)
    assert (found.start_s, found.end_s) == (0.0, None)
    assert header_duration_s(content, start_s=start_s, end_s=end_s) == found.duration_s


@given(st.sampled_from(EXACT_CODINGS), st.sampled_from([8_000, 22_050, 48_000]), st.floats(0.1, 3))
@settings(max_examples=40)
def test_a_stretch_at_another_rate_is_cut_before_it_is_resampled(
    coding: tuple[str, str], rate: int, start_s: float
) -> None:
    content = stored(*coding, rate, 1)
    end_s = start_s + 0.25
    cut = native(content)[round(start_s * rate) : round(end_s * rate)]
    expected = decode(Utterance("cut", cut, "words", sampling_rate=rate)).waveform
    assert np.array_equal(decode(stretch(content, start_s, end_s)).waveform, expected)


@given(st.sampled_from([np.int16, np.float32, np.float64]), st.sampled_from([1, 2]), st.floats(0, 9))
def test_a_stretch_of_an_array_is_that_stretch_of_its_samples(
    dtype: type, channels: int, start_s: float
) -> None:
    scale = 32_767 if dtype == np.int16 else 1
    samples = np.outer(speech() * scale, np.ones(channels)).astype(dtype)
    whole = decode(stretch(samples, 0, None, SAMPLING_RATE)).waveform
    for array in (samples, np.ascontiguousarray(samples.T)):
        row = stretch(array, start_s, start_s + 1, SAMPLING_RATE)
        first = round(start_s * SAMPLING_RATE)
        assert np.array_equal(decode(row).waveform, whole[first : round((start_s + 1) * SAMPLING_RATE)])


BAD_TIMES = [
    (-0.1, 2.0),
    (-1.0, None),
    (2.0, 2.0),
    (3.0, 2.0),
    (2.0, 2.000001),
    (math.nan, 2.0),
    (1.0, math.nan),
    (0.0, math.inf),
    (math.inf, None),
    (-math.inf, 1.0),
    (10.0, None),
    (10.0, 11.0),
    (12.0, None),
    (1e300, None),
    (9.0, 10.6),
    (0.0, 1e300),
    (0.0, 0.0),
]


@pytest.mark.parametrize(("start_s", "end_s"), BAD_TIMES)
@pytest.mark.parametrize("coding", [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), "array"])
def test_a_stretch_that_is_not_in_the_recording_is_refused(
    coding: tuple[str, str] | str, start_s: float, end_s: float | None
) -> None:
    audio = speech() if isinstance(coding, str) else stored(*coding, SAMPLING_RATE, 1)
    row = stretch(audio, start_s, end_s, SAMPLING_RATE)
    with pytest.raises(AudioError, match="mend the times") as refused:
        decode(row)
    assert refused.value.reason == "bad-times"
    assert check_row(row, section=DataSection(), label_length=lambda row: 1)[1] == "bad-times"


def test_a_stretch_may_outlast_its_recording_by_half_a_second() -> None:
    for coding in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        content = stored(*coding, SAMPLING_RATE, 1)
        found = decode(stretch(content, 9.0, 10.4))
        assert_equal(found.waveform, native(content)[9 * SAMPLING_RATE :], coding)
        assert header_duration_s(content, start_s=9.0, end_s=10.4) == pytest.approx(1.0, abs=0.11)


def test_the_duration_of_a_row_is_that_of_its_stretch() -> None:
    content = stored("FLAC", "PCM_16", SAMPLING_RATE, 1)
    section = DataSection(max_duration_s=2)
    row, reason = check_row(stretch(content, 1.5, 3.25), section=section, label_length=lambda row: 1)
    assert (row.duration_s, reason) == (1.75, None)
    assert (
        check_row(stretch(content, 1.5, None), section=section, label_length=lambda row: 1)[1] == "too-long"
    )
    tiny = check_row(stretch(content, 1.5, 1.55), section=section, label_length=lambda row: 1)
    assert tiny[1] == "too-short"


class CountingFile(io.BytesIO):
    """A file that counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self.taken += len(content)
        return content

    def readinto(self, buffer: Any) -> int:
        taken = super().readinto(buffer)
        self.taken += taken
        return taken


@pytest.mark.parametrize("coding", EXACT_CODINGS)
def test_little_more_than_the_stretch_is_read(
    coding: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = np.tile(speech(), 30)
    stream = io.BytesIO()
    soundfile.write(stream, minutes, SAMPLING_RATE, format=coding[0], subtype=coding[1])
    file = CountingFile(stream.getvalue())
    monkeypatch.setattr("whisper_peft.data.audio.decoding.io.BytesIO", lambda content: file)
    found = decode(stretch(stream.getvalue(), 200.0, 205.0))
    assert len(found.waveform) == 5 * SAMPLING_RATE
    assert file.taken < len(stream.getvalue()) / 15


def test_silence_in_the_stretch_is_refused_though_the_recording_speaks() -> None:
    samples = np.concatenate([speech(), np.zeros(SAMPLING_RATE, np.float32)])
    with pytest.raises(AudioError) as refused:
        decode(stretch(samples, 10.0, 11.0, SAMPLING_RATE))
    assert refused.value.reason == "silent"


def test_a_flac_damaged_behind_the_stretch_still_gives_the_stretch() -> None:
    content = stored("FLAC", "PCM_16", SAMPLING_RATE, 1)
    cut = content[: len(content) // 2]
    found = decode(stretch(cut, 1.0, 2.0)).waveform
    assert np.array_equal(found, native(content)[SAMPLING_RATE : 2 * SAMPLING_RATE])
    for start_s, end_s in ((4.0, 9.0), (8.0, 9.0)):
        with pytest.raises(AudioError) as refused:
            decode(stretch(cut, start_s, end_s))
        assert refused.value.reason in ("truncated", "unreadable")
