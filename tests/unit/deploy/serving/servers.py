"""Servers in a thread, and an engine that answers at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn

from whisper_peft.deploy.serving.app import build_app
from whisper_peft.deploy.serving.engine import Engine, Heard, ServedModel, Window
from whisper_peft.deploy.serving.metrics import ServingMetrics
from whisper_peft.deploy.serving.server import StoppableServer
from whisper_peft.deploy.serving.service import Service
from whisper_peft.deploy.serving.settings import ServingSettings

ECHO = ServedModel("echo", "en", "full", is_multilingual=False)


@dataclass
class EchoEngine:
    """Writes how many samples it hears. A closed gate keeps it waiting; `batches` tells what it was given.

    `busy` is set as soon as it was given something: what comes afterwards waits together.
    """

    models: dict[str, ServedModel] = field(default_factory=lambda: {"echo": ECHO})
    gate: threading.Event = field(default_factory=threading.Event)
    busy: threading.Event = field(default_factory=threading.Event)
    batches: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    poison: int = -1

    def prompt_tokens(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    def batch_key(self, model: str, window: Window) -> int:
        return len(window.prompt)

    def transcribe(self, model: str, windows: Sequence[Window]) -> list[Heard]:
        self.busy.set()
        self.gate.wait(30)
        lengths = tuple(len(window.waveform) for window in windows)
        self.batches.append((model, lengths))
        if self.poison in lengths:
            raise RuntimeError("poisoned")
        return [
            Heard(f"{length} samples", (1,), window.language or "en")
            for length, window in zip(lengths, windows, strict=True)
        ]


@contextmanager
def running(engine: Engine, settings: ServingSettings | None = None) -> Iterator[tuple[str, Service]]:
    """Run a server in a thread, and yield its address and its service."""
    service = Service(engine, settings or ServingSettings(page=False), ServingMetrics())
    app = build_app(service, created=1)
    if service.settings.page:
        from whisper_peft.deploy.serving.page import mount_page  # importing Gradio takes seconds

        mount_page(app, service)
    ports: queue.Queue[int] = queue.Queue()
    config = uvicorn.Config(
        app, port=0, http="h11", ws="none", log_level="error", timeout_graceful_shutdown=5
    )
    server = StoppableServer(config, ports.put)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{ports.get(timeout=30)}", service
    finally:
        server.should_exit = True
        thread.join()
