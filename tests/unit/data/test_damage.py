"""What the bytes of wav, Ogg and flac files tell about their wholeness, beside what libsndfile notices."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from whisper_peft.data.audio.containers import find_damage
from whisper_peft.data.audio.flac_headers import SampleDigest, flac_header
from whisper_peft.data.audio.ogg_pages import page_checksum


@pytest.fixture(scope="module")
def speech_file(prompts_en: list[dict[str, Any]]) -> Path:
    return Path(prompts_en[0]["file_name"])


def encoded(speech_file: Path, format: str, subtype: str) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, soundfile.read(speech_file)[0], 16_000, format=format, subtype=subtype)
    return stream.getvalue()


CODINGS = [
    ("WAV", "PCM_16"), ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"),
    ("WAV", "IMA_ADPCM"), ("WAV", "GSM610"), ("WAVEX", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("FLAC", "PCM_S8"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"),
]  # fmt: skip


@pytest.mark.parametrize(("format", "subtype"), CODINGS)
def test_nothing_is_said_of_a_whole_recording(speech_file: Path, format: str, subtype: str) -> None:
    stream = io.BytesIO(encoded(speech_file, format, subtype))
    assert find_damage(stream, within=True) is None
    assert stream.tell() == 0


@pytest.mark.parametrize("padding", [b"", bytes(1), bytes(4_000), b"TAG" + b"x" * 125])
def test_what_lies_behind_the_riff_chunk_does_not_matter(speech_file: Path, padding: bytes) -> None:
    content = encoded(speech_file, "WAV", "PCM_16") + padding
    assert find_damage(io.BytesIO(content), within=True) is None


@pytest.mark.parametrize("change", [-2, -1_000, 2, 70_000])
def test_a_wav_that_says_more_or_fewer_samples_than_it_holds_is_damaged(
    speech_file: Path, change: int
) -> None:
    content = bytearray(encoded(speech_file, "WAV", "PCM_16"))
    (size,) = struct.unpack_from("<I", content, 40)
    struct.pack_into("<I", content, 40, size + change)
    reason = "truncated" if change > 0 else "unreadable"
    damage = find_damage(io.BytesIO(content), within=False)
    assert (damage is None and change == -2) or (damage is not None and damage[0] == reason)


def test_the_checksum_of_a_page_is_that_of_the_encoder(speech_file: Path) -> None:
    content = encoded(speech_file, "OGG", "VORBIS")
    second = content.index(b"OggS", 4)
    page, (stored,) = content[:second], struct.unpack_from("<I", content, 22)
    assert page_checksum(page[:22] + bytes(4) + page[26:]) == stored


@pytest.mark.parametrize(("subtype", "bits"), [("PCM_S8", 8), ("PCM_16", 16), ("PCM_24", 24)])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_digest_of_a_flac_is_that_of_its_samples(
    speech_file: Path, subtype: str, bits: int, channels: int
) -> None:
    stream = io.BytesIO()
    samples = np.outer(soundfile.read(speech_file)[0], np.linspace(1, 0.3, channels))
    soundfile.write(stream, samples, 16_000, format="FLAC", subtype=subtype)
    header = flac_header(stream)
    assert header is not None
    assert (header.rate, header.channels, header.bits, header.count) == (16_000, channels, bits, len(samples))
    digest = SampleDigest(bits)
    for block in soundfile.blocks(stream, 10_000, dtype="int32", always_2d=True):
        digest.update(block)
    assert digest.value() == header.digest
