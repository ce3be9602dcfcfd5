from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.hostile.http_requests import flac, wav
from whisper_peft.data.audio.decoding import decode
from whisper_peft.deploy.serving.decoders import Decoders
from whisper_peft.deploy.serving.refusals import RefusalError
from whisper_peft.deploy.serving.settings import ServingSettings
from whisper_peft.types import Utterance, Waveform

SETTINGS = ServingSettings(page=False, max_duration_s=20.0, decoders=1)


def reading(content: bytes) -> Callable[[], Awaitable[bytes]]:
    async def read() -> bytes:
        return content

    return read


def decoded(*contents: bytes, settings: ServingSettings = SETTINGS) -> list[Waveform | RefusalError]:
    """Decode one after the other with one process."""

    async def work() -> list[Waveform | RefusalError]:
        decoders, found = Decoders(settings), list[Waveform | RefusalError]()
        try:
            for content in contents:
                try:
                    found.append(await decoders.decode(reading(content)))
                except RefusalError as refusal:
                    found.append(refusal)
        finally:
            await decoders.stop()
        return found

    return asyncio.run(work())


def status(found: Waveform | RefusalError) -> int:
    assert isinstance(found, RefusalError)
    return found.status


def test_samples_are_those_of_the_training_data() -> None:
    content = flac(0.1 * np.sin(np.arange(44_100) / 30), 44_100)
    (found,) = decoded(content)
    assert np.array_equal(found, decode(Utterance("a", content, "")).waveform)


def test_a_recording_that_says_it_is_short_and_is_long_is_refused_or_cut_to_what_it_says() -> None:
    bomb = bytearray(flac(np.zeros(400 * 16_000, np.int16)))
    bomb[21:26] = (0x0F & bomb[21]).to_bytes(1, "big") + (16_000).to_bytes(4, "big")
    (found,) = decoded(bytes(bomb))
    assert isinstance(found, RefusalError) or len(found) <= 20 * 16_000


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize(("codec", "name"), [("aac", "a.m4a"), ("libopus", "a.webm")])
def test_what_ffmpeg_reads_is_cut_at_the_limit(tmp_path: Path, codec: str, name: str) -> None:
    for seconds, long in ((600, True), (3, False)):
        source = ["-f", "lavfi", "-i", f"anullsrc=r=48000:cl=mono:d={seconds}"]
        command = ["ffmpeg", "-y", "-v", "error", *source, "-c:a", codec, str(tmp_path / name)]
        if subprocess.run(command, check=False).returncode:
            pytest.skip(f"this ffmpeg has no {codec}")
        (found,) = decoded((tmp_path / name).read_bytes())
        if long:
            assert status(found) == 413
        else:
            assert not isinstance(found, RefusalError)
            assert abs(len(found) / 16_000 - seconds) < 0.1


def test_a_process_that_is_killed_is_replaced() -> None:
    good = wav(np.zeros(1_600))

    async def work() -> list[object]:
        decoders, found = Decoders(SETTINGS), list[object]()
        try:
            found.append(len(await decoders.decode(reading(good))))
            (process,) = decoders._started
            psutil.Process(process.pid).suspend()
            asked = asyncio.create_task(decoders.decode(reading(good)))
            await asyncio.sleep(0.2)
            process.kill()
            with pytest.raises(RefusalError, match="broke"):
                await asked
            found.append(len(await decoders.decode(reading(good))))
        finally:
            await decoders.stop()
        return found

    assert asyncio.run(work()) == [1_600, 1_600]


def test_a_decoder_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whisper_peft.deploy.serving.decoders.GRACE_S", 0.0)

    async def work() -> None:
        decoders = Decoders(ServingSettings(page=False, decoders=1, decode_timeout_s=3.0))
        try:
            await decoders.decode(reading(wav(np.zeros(1_600))))
            psutil.Process(decoders._started[0].pid).suspend()
            with pytest.raises(RefusalError) as refused:
                await decoders.decode(reading(wav(np.zeros(1_600))))
            assert refused.value.status == 400
        finally:
            await decoders.stop()

    asyncio.run(work())


def test_the_key_is_not_told_to_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHISPER_PEFT_API_KEY", "sesame")

    async def work() -> dict[str, str]:
        decoders = Decoders(SETTINGS)
        try:
            await decoders.decode(reading(wav(np.zeros(1_600))))
            return psutil.Process(decoders._started[0].pid).environ()
        finally:
            await decoders.stop()

    assert "sesame" not in str(asyncio.run(work()))
