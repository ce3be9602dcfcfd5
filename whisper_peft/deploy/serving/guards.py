"""What every request passes before anything else: its host, its key, its size; and where it is counted."""

from __future__ import annotations

import asyncio
import hmac
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whisper_peft.deploy.serving.metrics import ServingMetrics
from whisper_peft.deploy.serving.refusals import RefusalError
from whisper_peft.deploy.serving.settings import LOOPBACK, MEBIBYTE, ServingSettings

PAGE_PATH = "/ui"

ICON_PATH = "/favicon.ico"

OPEN_PATHS = ("/health", PAGE_PATH, ICON_PATH)
"""Paths that need no key: the page asks for it itself."""

FORM_BYTES = MEBIBYTE
"""What a form may be larger than its file."""

DRAINED_BYTES = 64 * MEBIBYTE
DRAINED_S = 5.0
"""How much of a refused body is read and thrown away, and for how long. A client that is still sending when
the connection closes would see that, and not the answer."""

COUNTED_PATHS = (
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/models",
    "/health",
    "/metrics",
    PAGE_PATH,
)
"""Others are counted as one, so that nobody can make the metrics grow."""


@dataclass
class _Body:
    """A request's body, counted while it is read."""

    receive: Receive
    limit: int
    size: int = 0
    is_whole: bool = False

    async def next(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            self.is_whole = not message.get("more_body", False)
            if self.size > self.limit:
                raise _too_large(self.limit)
        else:
            self.is_whole = True
        return message

    async def drain(self) -> None:
        """Read on to the end, within limits, and forget it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAINED_S):
                while not self.is_whole and self.size <= DRAINED_BYTES:
                    self.limit = DRAINED_BYTES + MEBIBYTE
                    with suppress(RefusalError):
                        await self.next()


class Guard:
    """ASGI middleware before an application.

    Args:
        app: What is guarded.
        settings: Host, key and limits.
        metrics: Where answers are counted.
    """

    def __init__(self, app: ASGIApp, settings: ServingSettings, metrics: ServingMetrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":  # the life of the server; there are no websockets
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._settings.max_upload_bytes + FORM_BYTES)
        path = _counted_path(scope["path"])

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.requests.labels(path, str(message["status"])).inc()
                if message["status"] >= 400:
                    await body.drain()
            await send(message)

        try:
            self._check(scope["path"], Headers(scope=scope))
        except RefusalError as refusal:
            await refusal.response()(scope, body.next, answer)
            return
        await self._app(scope, body.next, answer)

    def _check(self, path: str, headers: Headers) -> None:
        """Refuse what no handler needs to see."""
        host = _host_name(headers.get("host", ""))
        if self._settings.is_loopback and host not in LOOPBACK:
            # A page of the web can make a browser send here under a name of its own (DNS rebinding)
            raise RefusalError(400, f"the host {host[:60]!r} is not served here", code="unknown_host")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            raise RefusalError(403, "requests from other web pages are refused", code="foreign_origin")
        if not _lies_in(path, OPEN_PATHS):
            self._check_key(headers.get("authorization", ""))
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.max_upload_bytes + FORM_BYTES:
            raise _too_large(self._settings.max_upload_bytes)

    def _check_key(self, authorization: str) -> None:
        if self._settings.api_key is None:
            return
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not is_key(key, self._settings.api_key):
            raise RefusalError(
                401,
                "the API key is missing or wrong: send it as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


def is_key(given: str, expected: str) -> bool:
    """Compare in a time that does not tell how much is right.

    Example:
        >>> is_key("letmein", "letmein"), is_key("letmeout", "letmein")
        (True, False)
    """
    return hmac.compare_digest(given.encode(), expected.encode())


def _too_large(limit: int) -> RefusalError:
    message = (
        f"the upload is larger than {limit / MEBIBYTE:.0f} MiB: compress it as flac or mp3, or send parts"
    )
    return RefusalError(413, message, code="upload_too_large", param="file")


def _host_name(host: str) -> str:
    """Return a Host header's name.

    Example:
        >>> _host_name("127.0.0.1:8000"), _host_name("[::1]:8000"), _host_name("localhost")
        ('127.0.0.1', '::1', 'localhost')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _lies_in(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _counted_path(path: str) -> str:
    return next((known for known in COUNTED_PATHS if _lies_in(path, (known,))), "other")
