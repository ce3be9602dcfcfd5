"""The server's process: it listens, and stops when it has answered what it has taken."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from whisper_peft.deploy.serving.settings import ServingSettings
from whisper_peft.errors import ServingError

KEEP_ALIVE_S = 5

CONNECTIONS_PER_REQUEST = 8
"""Connections that are open at once, for each place: keep-alive, those that wait for a refusal, the page."""


class StoppableServer(uvicorn.Server):
    """uvicorn's server, which on SIGTERM or Ctrl-C stops listening, answers what it has taken, and returns.

    uvicorn itself would kill the process by the same signal in the end, as if it had not stopped cleanly.
    A second signal does not wait.

    Args:
        config: Of uvicorn.
        on_listening: Called with the port when clients can come.
    """

    def __init__(self, config: uvicorn.Config, on_listening: Callable[[int], None]) -> None:
        super().__init__(config)
        self._on_listening = on_listening

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal meanwhile; signals reach the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = (signal.SIGINT, signal.SIGTERM)
        before = {kind: signal.signal(kind, self.handle_exit) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in before.items():
                signal.signal(kind, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, the second time at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: object = None) -> None:
        """Begin to listen, and say where."""
        await super().startup()
        if self.started:
            self._on_listening(int(self.servers[0].sockets[0].getsockname()[1]))


def run_server(app: ASGIApp, settings: ServingSettings, on_listening: Callable[[int], None]) -> None:
    """Serve until a signal comes.

    Raises:
        ServingError: If the address cannot be listened on.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="h11",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=settings.max_requests * CONNECTIONS_PER_REQUEST,
        timeout_graceful_shutdown=int(settings.timeout_s),
    )
    server = StoppableServer(config, on_listening)
    try:
        server.run()
    except SystemExit:  # uvicorn has logged why
        raise ServingError(
            f"{settings.host}:{settings.port} cannot be listened on",
            "another server has the port, or the address is not of this machine",
            "choose another --port or --host",
        ) from None
