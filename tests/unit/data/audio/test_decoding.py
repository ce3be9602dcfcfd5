"""Every recording becomes the same 16 kHz mono float32, or is refused for a reason that can be counted."""

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from whisper_peft.data.audio import decoding
from whisper_peft.data.audio.decoding import decode, header_duration_s
from whisper_peft.errors import AudioError
from whisper_peft.types import SAMPLING_RATE, Utterance


@pytest.fixture(scope="module")
def speech_file(prompts_en: list[dict[str, Any]]) -> Path:
    return Path(prompts_en[0]["file_name"])


@pytest.fixture(scope="module")
def speech(speech_file: Path) -> NDArray[np.float32]:
    return soundfile.read(speech_file, dtype="float32")[0]


def encoded(samples: NDArray[Any], rate: int, format: str, subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=format, subtype=subtype)
    return stream.getvalue()


def waveform(
    audio: Path | bytes | NDArray[Any], rate: int | None = None, text: str = ""
) -> NDArray[np.float32]:
    return decode(Utterance("one", audio, text, sampling_rate=rate)).waveform


def reason(audio: Path | bytes | NDArray[Any], rate: int | None = None, text: str = "") -> str:
    with pytest.raises(AudioError) as refused:
        waveform(audio, rate, text)
    assert refused.value.what
    assert refused.value.todo
    return refused.value.reason


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("format", "subtype", "tolerance"),
    [
        ("FLAC", "PCM_16", 0.0),
        ("WAV", "PCM_16", 0.0),
        ("WAV", "FLOAT", 0.0),
        ("WAV", "PCM_24", 0.0),
        ("WAV", "ULAW", 0.02),
        ("OGG", "VORBIS", 0.15),
        ("OGG", "OPUS", 0.15),
        ("MP3", "MPEG_LAYER_III", 0.15),
    ],
)
def test_every_format_decodes_to_the_same_speech(
    speech: NDArray[np.float32], tmp_path: Path, format: str, subtype: str, tolerance: float
) -> None:
    content = encoded(speech, SAMPLING_RATE, format, subtype)
    path = tmp_path / "speech.audio"
    path.write_bytes(content)
    from_bytes, from_path = waveform(content, text="words"), waveform(path, text="words")
    assert from_bytes.dtype == np.float32
    assert np.array_equal(from_bytes, from_path)
    assert len(from_bytes) == len(speech)
    error = np.sqrt(np.mean((from_bytes - speech) ** 2) / np.mean(speech**2))
    assert error <= tolerance
    assert header_duration_s(content) == header_duration_s(path) == pytest.approx(len(speech) / SAMPLING_RATE)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000])
def test_every_rate_is_resampled_to_the_same_tone(rate: int) -> None:
    found = waveform(encoded(tone(rate), rate, "WAV", "FLOAT"))
    assert len(found) == SAMPLING_RATE
    middle = slice(1000, -1000)
    assert np.abs(found - tone(SAMPLING_RATE))[middle].max() < 1e-3


def test_resampling_leaves_out_what_16_khz_cannot_hold() -> None:
    found = waveform(tone(48_000, hz=12_000), 48_000)
    assert np.abs(found[500:-500]).max() < 1e-4  # the ends of the tone are clicks, which are heard


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(channels: int) -> None:
    levels = np.arange(1, channels + 1) / channels
    samples = np.outer(tone(SAMPLING_RATE), levels).astype(np.float32)
    expected = samples.mean(axis=1)
    assert np.allclose(waveform(encoded(samples, SAMPLING_RATE, "WAV", "FLOAT")), expected, atol=1e-6)
    assert np.allclose(waveform(samples, SAMPLING_RATE), expected, atol=1e-6)
    assert np.allclose(waveform(samples.T, SAMPLING_RATE), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8, np.float16, np.float64])
def test_arrays_of_every_type_are_scaled_to_the_same_tone(dtype: type) -> None:
    kind = np.dtype(dtype).kind
    full = np.iinfo(dtype).max if kind in "iu" else 1
    offset, scale = ((full + 1) / 2, (full - 1) / 2) if kind == "u" else (0, full)
    found = waveform((tone(SAMPLING_RATE) * scale + offset).astype(dtype), SAMPLING_RATE)
    assert np.abs(found - tone(SAMPLING_RATE)).max() < 0.02


def test_decoding_twice_changes_nothing(speech_file: Path) -> None:
    once = decode(Utterance("one", speech_file, "words"))
    assert np.array_equal(decode(once).waveform, once.waveform)
    assert once.duration_s == len(once.waveform) / SAMPLING_RATE


@pytest.mark.parametrize("format", ["FLAC", "WAV", "OGG", "MP3"])
@pytest.mark.parametrize("share", [0.97, 0.6, 0.2])
def test_a_recording_cut_short_is_never_taken_for_a_whole_one(
    speech: NDArray[np.float32], format: str, share: float
) -> None:
    content = encoded(np.tile(speech, 3), SAMPLING_RATE, format)
    assert reason(content[: int(len(content) * share)]) in ("truncated", "unreadable")


def test_a_wav_written_to_a_pipe_has_no_length_and_is_whole() -> None:
    content = bytearray(encoded(tone(SAMPLING_RATE), SAMPLING_RATE, "WAV", "PCM_16"))
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    assert len(waveform(bytes(content))) == SAMPLING_RATE


def mp3_without_length(compression_level: float) -> bytes:
    """Return 3 s at a constant bit rate, without the first frame where that tells the length."""
    stream = io.BytesIO()
    with soundfile.SoundFile(
        stream,
        "w",
        SAMPLING_RATE,
        1,
        format="MP3",
        bitrate_mode="CONSTANT",
        compression_level=compression_level,
    ) as file:
        file.write(tone(SAMPLING_RATE, 3))
    content = stream.getvalue()
    return content[content.index(content[:2], 2) :] if b"Info" in content[:100] else content


def test_an_mp3_that_does_not_say_its_length_is_taken_as_long_as_it_is() -> None:
    assert 3 <= len(waveform(mp3_without_length(0.5))) / SAMPLING_RATE < 3.2
    guessed_far_too_long = mp3_without_length(0.9) + mp3_without_length(0.0)
    assert 6 <= len(waveform(guessed_far_too_long)) / SAMPLING_RATE < 6.4


def test_noise_in_the_middle_of_a_flac_is_unreadable(speech_file: Path) -> None:
    content = bytearray(speech_file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = os.urandom(4000)
    assert reason(bytes(content)) in ("unreadable", "truncated")


@pytest.mark.parametrize("content", [b"no audio at all", b"RIFF", b"fLaC" + bytes(50), b"ID3" + bytes(100)])
def test_what_is_no_audio_is_unreadable(content: bytes) -> None:
    assert reason(content) in ("unreadable", "truncated", "empty")
    with pytest.raises(AudioError):
        header_duration_s(content)


def test_a_header_that_promises_days_costs_no_memory() -> None:
    content = bytearray(encoded(tone(SAMPLING_RATE), SAMPLING_RATE, "FLAC"))
    content[21] |= 0x0F  # STREAMINFO's 36 bits of total samples
    content[22:26] = b"\xff\xff\xff\xff"
    assert reason(bytes(content)) in ("truncated", "unreadable")


@pytest.mark.parametrize(
    "audio", [b"", np.zeros(0, np.float32), np.zeros((0, 2), np.int16)], ids=["bytes", "1d", "2d"]
)
def test_nothing_is_empty(audio: Any) -> None:
    assert reason(audio, SAMPLING_RATE) == "empty"


def test_a_file_without_samples_is_empty() -> None:
    content = encoded(np.zeros(0), SAMPLING_RATE, "WAV")
    assert reason(content) == "empty"
    with pytest.raises(AudioError) as refused:
        header_duration_s(content)
    assert refused.value.reason == "empty"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_refused(bad: float) -> None:
    samples = tone(SAMPLING_RATE)
    samples[5] = bad
    assert reason(samples, SAMPLING_RATE) == "not-finite"
    assert reason(encoded(samples, SAMPLING_RATE, "WAV", "FLOAT")) == "not-finite"


def test_channels_that_are_infinite_both_ways_are_refused_without_a_warning() -> None:
    samples = np.full((SAMPLING_RATE, 2), [np.inf, -np.inf], np.float32)
    assert reason(samples, SAMPLING_RATE) == "not-finite"
    assert reason(encoded(samples, SAMPLING_RATE, "WAV", "FLOAT")) == "not-finite"


def test_digital_silence_is_refused_only_with_a_transcript() -> None:
    silence = np.zeros(SAMPLING_RATE, np.float32)
    assert reason(silence, SAMPLING_RATE, text="words") == "silent"
    assert not waveform(silence, SAMPLING_RATE).any()


def test_a_missing_file_and_a_folder_are_missing(tmp_path: Path) -> None:
    assert reason(tmp_path / "nothing.wav") == reason(tmp_path) == "missing"
    with pytest.raises(AudioError, match=r"nothing\.wav"):
        header_duration_s(tmp_path / "nothing.wav")


@pytest.mark.parametrize("rate", [None, 0, 1, 10_000_000])
def test_an_array_needs_a_plausible_rate(rate: int | None) -> None:
    assert reason(tone(SAMPLING_RATE), rate) == "sampling-rate"


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3, 4)), np.array(["a"]), np.zeros(3, complex), np.zeros(3, bool)]
)
def test_an_array_that_is_no_audio_is_refused(array: NDArray[Any]) -> None:
    assert reason(array, SAMPLING_RATE) == "unreadable"


def test_samples_without_a_header_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "speech.raw").write_bytes(tone(SAMPLING_RATE).tobytes())
    assert reason(tmp_path / "speech.raw") == "unreadable"


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".docx"])
def test_a_misleading_suffix_changes_nothing(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"speech{suffix}"
    path.write_bytes(encoded(tone(SAMPLING_RATE), SAMPLING_RATE, "WAV", "FLOAT"))
    assert np.array_equal(waveform(path), tone(SAMPLING_RATE))


def test_m4a_without_ffmpeg_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_has_ffmpeg", lambda: False)
    content = struct.pack(">I", 24) + b"ftypM4A " + bytes(100)
    assert reason(content) == "no-decoder"
    with pytest.raises(AudioError, match=r"m4a needs ffmpeg.*install ffmpeg"):
        header_duration_s(content)


class Soundless:
    """What audioread tells of a file in which ffmpeg finds no sound, such as a film without it."""

    samplerate, channels, duration = 0, 0, 0.0

    def __init__(self, path: str) -> None: ...
    def __enter__(self) -> "Soundless":
        return self

    def __exit__(self, *error: object) -> None: ...
    def __iter__(self) -> Any:
        return iter([])


def test_a_film_without_sound_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_has_ffmpeg", lambda: True)
    monkeypatch.setattr(decoding.ffdec, "FFmpegAudioFile", Soundless)
    assert reason(struct.pack(">I", 24) + b"ftypM4A " + bytes(100)) == "unreadable"


@pytest.fixture
def m4a(tmp_path: Path, speech: NDArray[np.float32]) -> Path:
    import shutil
    import subprocess

    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("ffmpeg is not on this machine")
    soundfile.write(tmp_path / "speech.wav", np.stack([speech, speech], axis=1), SAMPLING_RATE)
    out = tmp_path / "speech.m4a"
    subprocess.run(
        [ffmpeg, "-i", tmp_path / "speech.wav", "-movflags", "faststart", out],
        capture_output=True,
        check=True,
    )
    return out


def test_m4a_decodes_with_ffmpeg_from_path_and_bytes(m4a: Path, speech: NDArray[np.float32]) -> None:
    found = waveform(m4a)
    assert abs(len(found) - len(speech)) < 2_100  # the codec's frames of 1024 samples
    assert np.array_equal(found, waveform(m4a.read_bytes()))
    assert np.corrcoef(found[: len(speech)], speech[: len(found)])[0, 1] > 0.9
    assert header_duration_s(m4a) is None


def test_half_an_m4a_is_refused(m4a: Path) -> None:
    content = m4a.read_bytes()
    assert reason(content[: len(content) // 2]) in ("truncated", "unreadable")
    assert reason(content[:200]) in ("truncated", "unreadable")
