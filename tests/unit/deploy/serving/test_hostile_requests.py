"""Every hostile request is answered with the right status, and the server goes on."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.hostile.http_requests import HostileRequest, hostile_requests, wav
from tests.unit.deploy.serving.servers import EchoEngine, running
from whisper_peft.deploy.serving.settings import ServingSettings

REQUESTS = hostile_requests("echo")


@pytest.fixture(scope="module")
def strict_client() -> Iterator[httpx.Client]:
    engine = EchoEngine()
    engine.gate.set()
    settings = ServingSettings(page=False, max_upload_bytes=2 << 20, max_duration_s=60.0)
    with running(engine, settings) as (address, _), httpx.Client(base_url=address, timeout=30) as client:
        yield client


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: one.name)
def test_a_hostile_request_is_refused_with_its_status(
    strict_client: httpx.Client, request_: HostileRequest
) -> None:
    response = request_.send(strict_client)
    assert response.status_code == request_.status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]


def test_the_server_goes_on_after_all_of_them(strict_client: httpx.Client) -> None:
    import numpy as np

    answer = strict_client.post(
        "/v1/audio/transcriptions",
        data={"model": "echo"},
        files={"file": ("/etc/passwd", wav(np.zeros(1_600)))},
    )
    assert answer.json()["text"] == "1600 samples"


def test_there_are_enough_of_them() -> None:
    assert len(REQUESTS) >= 20
