"""The processes that decode uploads, as many at a time as there are; a broken one is replaced."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from whisper_peft.deploy.serving.decoding_worker import LENGTH
from whisper_peft.deploy.serving.refusals import RefusalError
from whisper_peft.deploy.serving.settings import ServingSettings
from whisper_peft.types import Waveform

STATUS_OF = {"too-long": 413, "no-decoder": 415}
"""Statuses of reasons why a recording is refused; the rest are 400."""

GRACE_S = 2.0
"""Time that a process has beyond the limit which it keeps itself."""


class Decoders:
    """Decodes recordings in processes of their own.

    Args:
        settings: Limits and the number of processes.
    """

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._started = list[Process]()
        self._resting: asyncio.Queue[Process | None] = asyncio.Queue()
        for _ in range(settings.decoders):
            self._resting.put_nowait(None)

    async def decode(self, read: Callable[[], Awaitable[bytes]]) -> Waveform:
        """Return the samples of an uploaded file at 16 kHz, mono, float32.

        Args:
            read: Reads the file; called when there is a process to decode it, so that memory holds few files.

        Raises:
            RefusalError: With 413 if it is too long, 415 if it is no known format, 400 if it is damaged.
        """
        process = await self._resting.get()
        try:
            if process is None or process.returncode is not None:
                process = await self._start()
            async with asyncio.timeout(self._settings.decode_timeout_s + GRACE_S):
                answer, samples = await _ask(process, await read())
        except BaseException as error:
            if process is not None:
                _end(process)
            process = None
            if isinstance(error, (TimeoutError, asyncio.IncompleteReadError, OSError, ValueError)):
                message = "the recording could not be decoded: its decoder took too long, or broke"
                raise RefusalError(400, message, code="invalid_audio", param="file") from None
            raise
        finally:
            self._resting.put_nowait(process)
        if samples is None:
            raise _refusal(answer)
        return samples

    async def stop(self) -> None:
        """End the processes."""
        for process in self._started:
            _end(process)
            await process.wait()

    async def _start(self) -> Process:
        limits = (
            self._settings.max_duration_s,
            self._settings.max_channels,
            self._settings.decode_timeout_s,
        )
        # What a decoder could be made to tell is not given to it: of the environment only what it runs by.
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "whisper_peft.deploy.serving.decoding_worker",
            *map(str, limits),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the server, which still needs its decoders
        )
        self._started = [*(one for one in self._started if one.returncode is None), process]
        return process


def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()


async def _ask(process: Process, content: bytes) -> tuple[dict[str, Any], Waveform | None]:
    if process.stdin is None or process.stdout is None:
        raise ValueError("a decoder without pipes")
    process.stdin.write(LENGTH.pack(len(content)) + content)
    await process.stdin.drain()
    (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    answer: dict[str, Any] = json.loads(await process.stdout.readexactly(size))
    if "samples" not in answer:
        return answer, None
    raw = await process.stdout.readexactly(4 * int(answer["samples"]))
    return answer, np.frombuffer(raw, np.float32).copy()  # torch wants memory that can be written


def _refusal(answer: dict[str, Any]) -> RefusalError:
    status = STATUS_OF.get(answer["reason"], 400)
    code = {413: "audio_too_long", 415: "unsupported_format"}.get(status, "invalid_audio")
    message = f"the recording cannot be used: {answer['why']} - {answer['todo']}"
    return RefusalError(status, message, code=code, param="file")
