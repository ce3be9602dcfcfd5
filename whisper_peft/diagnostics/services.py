"""Processes that some verbs start: the server of `serve`, its page, and the workers of `label`."""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Mapping
from importlib.metadata import version

from whisper_peft.diagnostics.checks import Attempt

_ANSWER_TIMEOUT_S = 10.0


def _serve() -> str:
    """Let a server answer one request on this machine."""
    import uvicorn
    from fastapi import FastAPI, Form
    from prometheus_client import CollectorRegistry, Counter

    counted = Counter("requests", "Requests answered.", registry=CollectorRegistry())
    api = FastAPI()

    @api.post("/")
    def answer(words: str = Form()) -> str:
        counted.inc()
        return words

    server = uvicorn.Server(uvicorn.Config(api, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        port = _port(server, thread)
        address = f"http://127.0.0.1:{port}/"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(address, data=b"words=heard", timeout=_ANSWER_TIMEOUT_S) as response:
            said = response.read().decode()
    finally:
        server.should_exit = True
        thread.join(_ANSWER_TIMEOUT_S)
    return f"one request answered {said}, fastapi {version('fastapi')}, uvicorn {version('uvicorn')}"


def _port(server: object, thread: threading.Thread) -> int:
    """Return where a server listens, once it does."""
    until = time.monotonic() + _ANSWER_TIMEOUT_S
    while time.monotonic() < until and thread.is_alive():
        for listening in getattr(server, "servers", ()):
            return int(listening.sockets[0].getsockname()[1])
        time.sleep(0.02)
    raise TimeoutError("the server did not start")


def _build_page() -> str:
    import gradio

    with gradio.Blocks():
        gradio.Audio()
    return f"gradio {gradio.__version__}"


def _add_on_worker() -> str:
    """Let one worker of Ray's add two numbers."""
    import ray

    def add(one: int, other: int) -> int:
        return one + other

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        total = ray.get(ray.remote(add).remote(1, 2))
    finally:
        ray.shutdown()
    return f"a worker added 1 and 2 to {total}, ray {ray.__version__}"


_SERVE_TODO = 'pip install "whisper-peft[serve]"'

ATTEMPTS: Mapping[str, Attempt] = {
    "server": Attempt(_serve, _SERVE_TODO, "uvicorn"),
    "page": Attempt(_build_page, _SERVE_TODO, "gradio"),
    "ray": Attempt(
        _add_on_worker,
        'pip install "whisper-peft[cluster]", or use --workers 0',
        "ray",
        "use label with --workers 0",
    ),
}
"""By what they are for."""
