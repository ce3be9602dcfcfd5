"""From an uploaded recording to its transcript: decoded, cut, heard in batches, put together again."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from whisper_peft.deploy.serving.batcher import Batcher
from whisper_peft.deploy.serving.decoders import Decoders
from whisper_peft.deploy.serving.engine import Engine, Heard, Window
from whisper_peft.deploy.serving.forms import Ask
from whisper_peft.deploy.serving.metrics import ServingMetrics
from whisper_peft.deploy.serving.refusals import RefusalError
from whisper_peft.deploy.serving.settings import ServingSettings
from whisper_peft.deploy.serving.voice_activity import Stretch, cut_at_pauses
from whisper_peft.measuring import Stopwatch
from whisper_peft.types import SAMPLING_RATE, Waveform

WINDOWS_AHEAD = 4
"""Windows of one recording in the queue at a time, so that an hour does not make everybody else wait."""

MEMORY_OF_LATENCY = 0.8
"""Share of the former mean that stays when a request has been answered."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What was heard from `start_s` on."""

    start_s: float
    heard: Heard


class Service:
    """Transcribes for many clients, within limits.

    Args:
        engine: What transcribes.
        settings: Limits.
        metrics: Where it is counted.
    """

    def __init__(self, engine: Engine, settings: ServingSettings, metrics: ServingMetrics) -> None:
        self.engine, self.settings, self.metrics = engine, settings, metrics
        self._batcher = Batcher(engine, settings, metrics)
        self._decoders = Decoders(settings)
        self._open = 0
        self._waiting_s = 0.0
        self._usual_s = 1.0

    async def run(self) -> None:
        """Hear what waits, until cancelled."""
        try:
            await self._batcher.run()
        finally:
            self._batcher.stop()
            await self._decoders.stop()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places that there are for requests.

        Raises:
            RefusalError: With 429 if there is none.
        """
        if self._open >= self.settings.max_requests:
            raise self._busy(f"{self._open} requests are being served, which is the most")
        self._open += 1
        self.metrics.open_requests.set(self._open)
        watch = Stopwatch()
        try:
            with watch:
                yield
        finally:
            self._open -= 1
            self.metrics.open_requests.set(self._open)
            self.metrics.latency.observe(watch.seconds)
            self._usual_s += (1 - MEMORY_OF_LATENCY) * (watch.seconds - self._usual_s)

    async def decode(self, ask: Ask) -> Waveform:
        """Return the samples of the uploaded recording.

        Raises:
            RefusalError: If it cannot be used.
        """
        return await self._decoders.decode(ask.read_audio)

    async def pieces(self, ask: Ask, waveform: Waveform) -> AsyncGenerator[Piece, None]:
        """Yield what is heard of a recording, in order, as soon as it is.

        Raises:
            RefusalError: With 429 if too much audio waits already.
        """
        with self._audio(len(waveform) / SAMPLING_RATE):
            prompt = self.engine.prompt_tokens(ask.prompt)
            model = self.engine.models[ask.model]
            stretches = deque(cut_at_pauses(waveform))
            language = ask.language if model.is_multilingual else "en"
            if language is None and stretches:  # what the first window is in, the rest is in too
                first = stretches.popleft()
                piece = await self._hear(ask, waveform, first, prompt, None)
                language = piece.heard.language
                yield piece
            ahead = deque[asyncio.Task[Piece]]()
            try:
                while stretches or ahead:
                    while stretches and len(ahead) < WINDOWS_AHEAD:
                        hearing = self._hear(ask, waveform, stretches.popleft(), prompt, language)
                        ahead.append(asyncio.create_task(hearing))
                    yield await ahead[0]
                    ahead.popleft()
            finally:
                for task in ahead:
                    task.cancel()
                await asyncio.gather(*ahead, return_exceptions=True)
        self.metrics.audio_seconds.labels(ask.model).inc(len(waveform) / SAMPLING_RATE)

    async def _hear(
        self,
        ask: Ask,
        waveform: Waveform,
        stretch: Stretch,
        prompt: tuple[int, ...],
        language: str | None,
    ) -> Piece:
        samples = waveform[stretch.start : stretch.stop]
        window = Window(samples, language, ask.task, prompt, detailed=ask.detailed)
        return Piece(stretch.start_s, await self._batcher.hear(ask.model, window))

    @contextmanager
    def _audio(self, seconds: float) -> Iterator[None]:
        """Hold the memory of decoded audio."""
        if self._waiting_s and self._waiting_s + seconds > self.settings.max_waiting_audio_s:
            raise self._busy(f"{self._waiting_s:.0f} s of audio are waiting already")
        self._waiting_s += seconds
        self.metrics.waiting_audio.set(self._waiting_s)
        try:
            yield
        finally:
            self._waiting_s = max(self._waiting_s - seconds, 0.0)
            self.metrics.waiting_audio.set(self._waiting_s)

    def _busy(self, why: str) -> RefusalError:
        seconds = max(1, math.ceil(self._usual_s))
        return RefusalError(
            429,
            f"the server is busy: {why}; try again in {seconds} s",
            code="server_busy",
            headers={"Retry-After": str(seconds)},
        )
