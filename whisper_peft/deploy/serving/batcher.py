"""Windows of concurrent requests heard together.

The engine works in one thread. Whatever has come meanwhile and fits together is its next batch: nobody waits
for company, and under load batches form by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from whisper_peft.deploy.serving.engine import Engine, Heard, Window, heard_seconds
from whisper_peft.deploy.serving.metrics import ServingMetrics
from whisper_peft.deploy.serving.settings import ServingSettings


@dataclass(frozen=True, eq=False)
class _Waiting:
    """A window in the queue."""

    model: str
    window: Window
    key: tuple[str, Hashable]
    heard_s: float
    answer: asyncio.Future[Heard]


class Batcher:
    """The queue before an engine.

    Args:
        engine: What transcribes.
        settings: The size of batches.
        metrics: Where queue and batches are counted.
    """

    def __init__(self, engine: Engine, settings: ServingSettings, metrics: ServingMetrics) -> None:
        self._engine, self._settings, self._metrics = engine, settings, metrics
        self._queue: list[_Waiting] = []
        self._filled = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")

    async def hear(self, model: str, window: Window) -> Heard:
        """Return the transcript of a window when its turn has come; cancelling it frees its place."""
        waiting = _Waiting(
            model,
            window,
            (model, self._engine.batch_key(model, window)),
            heard_seconds(self._engine.models[model], window),
            asyncio.get_running_loop().create_future(),
        )
        self._queue.append(waiting)
        self._count()
        self._filled.set()
        try:
            return await waiting.answer
        finally:
            if waiting in self._queue:
                self._queue.remove(waiting)
                self._count()

    async def run(self) -> None:
        """Hear batch after batch, until cancelled."""
        while True:
            await self._filled.wait()
            batch = self._next_batch()
            self._metrics.batch_size.observe(len(batch))
            await self._hear(batch)

    def stop(self) -> None:
        """Let the engine's thread end."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _next_batch(self) -> list[_Waiting]:
        """Take the window that has waited longest, and those like it that are nearest in length."""
        first = self._queue[0]
        alike = [one for one in self._queue if one.key == first.key]
        alike.sort(key=lambda one: abs(one.heard_s - first.heard_s))  # stable: the first stays the first
        batch, seconds = list[_Waiting](), 0.0
        for one in alike[: self._settings.max_batch_size]:
            seconds += one.heard_s
            if batch and seconds > self._settings.max_batch_s:
                break
            batch.append(one)
        self._queue = [one for one in self._queue if one not in batch]
        self._count()
        return batch

    async def _hear(self, batch: Sequence[_Waiting]) -> None:
        """Answer a batch; where it fails as a whole, each window is heard alone and fails for itself."""
        loop = asyncio.get_running_loop()
        windows = [one.window for one in batch]
        try:
            found = await loop.run_in_executor(self._thread, self._engine.transcribe, batch[0].model, windows)
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self._hear([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for one, heard in zip(batch, found, strict=True):
            if not one.answer.done():
                one.answer.set_result(heard)

    def _count(self) -> None:
        self._metrics.queue_length.set(len(self._queue))
        if not self._queue:
            self._filled.clear()
