"""The HTTP interface: OpenAI's audio API, the health of the server, and its metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from whisper_peft.deploy.serving.forms import ALIAS, Ask, read_ask
from whisper_peft.deploy.serving.guards import Guard
from whisper_peft.deploy.serving.refusals import RefusalError
from whisper_peft.deploy.serving.responses import Answer, deltas, event, respond
from whisper_peft.deploy.serving.service import Piece, Service
from whisper_peft.types import SAMPLING_RATE, Waveform

_Result = TypeVar("_Result")

logger = logging.getLogger(__name__)

MAX_FIELDS = 20
MAX_FIELD_BYTES = 1 << 16

CLIENT_LEFT = 499
"""Status of requests whose client did not wait for the answer (nginx's); only the metrics see it."""


class EventStream(StreamingResponse):
    """Server-sent events that keep the request's place until they end, however they end."""

    def __init__(self, events: AsyncIterator[str], place: ExitStack) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        with self._place:
            await super().__call__(scope, receive, send)


def build_app(service: Service, *, created: int) -> FastAPI:
    """Return the application of a service, without the page.

    Args:
        service: What transcribes.
        created: Seconds since 1970 that clients are told as the models' age.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        hearing = asyncio.create_task(service.run())
        yield
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing

    # FastAPI's own documentation pages load scripts from elsewhere
    app = FastAPI(title="whisper_peft", lifespan=life, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, settings=service.settings, metrics=service.metrics)
    _add_error_handlers(app)
    _add_routes(app, service, created)
    return app


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(RefusalError)
    async def refuse(_: Request, error: RefusalError) -> Response:
        return error.response()

    @app.exception_handler(HTTPException)
    async def refuse_plainly(_: Request, error: HTTPException) -> Response:
        refusal = RefusalError(
            error.status_code, str(error.detail), code="invalid_request", headers=error.headers
        )
        return refusal.response()

    @app.exception_handler(Exception)
    async def fail(_: Request, __: Exception) -> Response:
        return RefusalError(500, "the server failed; its log says why", code="internal_error").response()


def _add_routes(app: FastAPI, service: Service, created: int) -> None:
    def described(name: str) -> dict[str, str | int]:
        return {"id": name, "object": "model", "created": created, "owned_by": "whisper-peft"}

    @app.post("/v1/audio/transcriptions")
    async def transcriptions(request: Request) -> Response:
        return await _transcribed(service, request, "transcribe")

    @app.post("/v1/audio/translations")
    async def translations(request: Request) -> Response:
        return await _transcribed(service, request, "translate")

    @app.get("/v1/models")
    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [described(name) for name in service.engine.models]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        if name not in service.engine.models and name != ALIAS:
            raise RefusalError(
                404, f"the model {name[:100]!r} is not served here", code="model_not_found", param="model"
            )
        return JSONResponse(described(name))

    @app.get("/health")
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _transcribed(service: Service, request: Request, task: str) -> Response:
    """Answer a request, within its time, unless its client leaves."""
    deadline = asyncio.get_running_loop().time() + service.settings.timeout_s
    with ExitStack() as place:
        place.enter_context(service.place())
        form = await _form(service, request)
        try:
            ask = read_ask(form, task, service.engine.models)
            waveform = await _unless_left(service, request, service.decode(ask), deadline)
        finally:
            await form.close()
        if ask.stream:
            return EventStream(_events(service, ask, waveform, deadline), place.pop_all())
        return await _unless_left(service, request, _answer(service, ask, waveform), deadline)


async def _form(service: Service, request: Request) -> FormData:
    """Read the form; files over a megabyte are kept on disk, without their names."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RefusalError(415, "send the recording as multipart/form-data", code="unsupported_content_type")
    try:
        async with asyncio.timeout(service.settings.upload_timeout_s):
            return await request.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
    except TimeoutError:
        raise RefusalError(408, "the upload took too long", code="upload_timeout") from None


async def _answer(service: Service, ask: Ask, waveform: Waveform) -> Response:
    async with aclosing(service.pieces(ask, waveform)) as heard:
        pieces = [piece async for piece in heard]
    return respond(Answer(ask, len(waveform) / SAMPLING_RATE, tuple(pieces)))


async def _unless_left(
    service: Service, request: Request, work: Coroutine[Any, Any, _Result], deadline: float
) -> _Result:
    """Return what comes of some work, and stop it where its time is up or the client has gone."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_gone(request))
    try:
        async with asyncio.timeout_at(deadline):
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            service.metrics.disconnects.inc()
            raise RefusalError(CLIENT_LEFT, "the client has left", code="client_left")
        return working.result()
    except TimeoutError:
        raise _too_slow(service) from None
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_slow(service: Service) -> RefusalError:
    seconds = service.settings.timeout_s
    return RefusalError(504, f"the answer took longer than {seconds:g} s", code="timeout")


async def _events(service: Service, ask: Ask, waveform: Waveform, deadline: float) -> AsyncIterator[str]:
    """Yield the text piece by piece, then whole. Errors on the way are events too."""
    pieces = list[Piece]()
    try:
        async with asyncio.timeout_at(deadline), aclosing(service.pieces(ask, waveform)) as heard:
            async for piece in heard:
                pieces.append(piece)
                if delta := deltas(pieces)[-1]:
                    yield event("transcript.text.delta", delta=delta)
        yield event("transcript.text.done", text="".join(deltas(pieces)))
    except TimeoutError:
        yield event("error", **_too_slow(service).plain)
    except RefusalError as refusal:
        yield event("error", **refusal.plain)
    except Exception:
        logger.exception("a stream failed")
        yield event("error", **RefusalError(500, "the server failed", code="internal_error").plain)
