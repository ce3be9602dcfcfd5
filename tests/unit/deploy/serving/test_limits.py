"""Places, times, keys and metrics, with an engine whose pace the test decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from tests.hostile.http_requests import wav
from tests.unit.deploy.serving.servers import EchoEngine, running
from whisper_peft.deploy.serving.service import Service
from whisper_peft.deploy.serving.settings import ServingSettings, with_limits
from whisper_peft.errors import ServingError

PATH = "/v1/audio/transcriptions"


def post(address: str, samples: int, timeout: float = 30.0, **fields: str) -> httpx.Response:
    files = {"file": ("a.wav", wav(np.zeros(samples)))}
    return httpx.post(f"{address}{PATH}", data={"model": "echo", **fields}, files=files, timeout=timeout)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, for a minute at most: a busy machine may take its time."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never held")


def waiting(service: Service) -> int:
    return int(service.metrics.queue_length._value.get())


def fill(
    address: str,
    service: Service,
    engine: EchoEngine,
    threads: ThreadPoolExecutor,
    count: int,
    prompt: Callable[[int], str] = lambda place: "",
) -> list[Future[httpx.Response]]:
    """Send requests: the first is in the engine, alone, before the others are sent and wait."""

    def send(place: int) -> Future[httpx.Response]:
        return threads.submit(post, address, 1_600 + place, prompt=prompt(place))

    first = send(0)
    assert engine.busy.wait(60)
    others = [send(place) for place in range(1, count)]
    until(lambda: waiting(service) == count - 1)
    return [first, *others]


def test_one_more_than_there_are_places_for_is_told_when_to_come_again() -> None:
    engine = EchoEngine()
    with running(engine, ServingSettings(page=False, max_requests=3)) as (address, service):
        with ThreadPoolExecutor(3) as threads:
            sent = fill(address, service, engine, threads, 3)
            refused = post(address, 99)
            engine.gate.set()
            answers = [one.result() for one in sent]
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "server_busy"
        assert [answer.json()["text"] for answer in answers] == [f"{1_600 + n} samples" for n in range(3)]
        assert post(address, 99).status_code == 200


def test_what_waits_together_is_heard_together_and_no_more_than_allowed() -> None:
    engine = EchoEngine()
    with (
        running(engine, ServingSettings(page=False, max_batch_size=4)) as (address, service),
        ThreadPoolExecutor(8) as threads,
    ):
        sent = fill(address, service, engine, threads, 8)
        engine.gate.set()
        answers = {one.result().json()["text"] for one in sent}
    assert len(answers) == 8
    assert [len(lengths) for _, lengths in engine.batches] == [1, 4, 3]


def test_windows_of_other_prompts_are_not_mixed() -> None:
    engine = EchoEngine()
    with running(engine) as (address, service), ThreadPoolExecutor(5) as threads:
        sent = fill(address, service, engine, threads, 5, lambda place: "ab" if place % 2 else "")
        engine.gate.set()
        for one in sent:
            assert one.result().status_code == 200
    parities = [{length % 2 for length in lengths} for _, lengths in engine.batches]
    assert all(len(one) == 1 for one in parities)


def test_a_window_that_breaks_its_batch_fails_alone() -> None:
    engine = EchoEngine(poison=1_602)
    with running(engine) as (address, service), ThreadPoolExecutor(4) as threads:
        sent = fill(address, service, engine, threads, 4)
        engine.gate.set()
        statuses = [one.result().status_code for one in sent]
    assert sorted(statuses) == [200, 200, 200, 500]
    assert statuses[2] == 500


def test_a_client_that_leaves_frees_its_place_and_is_not_heard() -> None:
    engine = EchoEngine()
    with running(engine, ServingSettings(page=False, max_requests=2)) as (address, service):
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(post, address, 1_600)
            assert engine.busy.wait(60)
            leaving = threads.submit(post, address, 7_777, timeout=3.0)
            until(lambda: waiting(service) == 1)
            with pytest.raises(httpx.ReadTimeout):
                leaving.result()
            until(lambda: service.metrics.open_requests._value.get() == 1)
            assert waiting(service) == 0
            engine.gate.set()
            assert first.result().status_code == 200
        assert service.metrics.disconnects._value.get() == 1
    assert all(7_777 not in lengths for _, lengths in engine.batches)


def test_a_stream_whose_client_leaves_frees_its_place() -> None:
    engine = EchoEngine()
    with running(engine) as (address, service):
        with pytest.raises(httpx.ReadTimeout):
            post(address, 1_600, timeout=3.0, stream="true")
        assert engine.busy.is_set()
        until(lambda: service.metrics.open_requests._value.get() == 0)
        engine.gate.set()


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    engine = EchoEngine()
    with running(engine, ServingSettings(page=False, timeout_s=2.0)) as (address, service):
        assert post(address, 1_600).status_code == 504
        streamed = post(address, 1_600, stream="true")
        assert "504" not in streamed.text
        assert '"code": "timeout"' in streamed.text
        until(lambda: service.metrics.open_requests._value.get() == 0)
        engine.gate.set()


def test_an_upload_that_never_ends_is_given_up() -> None:
    def slowly() -> object:
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(40):
            time.sleep(0.1)
            yield b"0"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    with running(EchoEngine(), ServingSettings(page=False, upload_timeout_s=0.5)) as (address, _):
        answer = httpx.post(f"{address}{PATH}", content=slowly(), headers=headers, timeout=30)  # type: ignore[arg-type]
    assert answer.status_code == 408


def test_more_audio_than_may_wait_is_told_to_come_again() -> None:
    engine = EchoEngine()
    with (
        running(engine, ServingSettings(page=False, max_waiting_audio_s=3.0)) as (address, service),
        ThreadPoolExecutor(1) as threads,
    ):
        first = threads.submit(post, address, 32_000)
        until(lambda: service.metrics.waiting_audio._value.get() == 2.0)
        assert post(address, 32_000).status_code == 429
        engine.gate.set()
        assert first.result().status_code == 200


def test_the_key_is_asked_for_everywhere_but_for_health() -> None:
    engine = EchoEngine()
    engine.gate.set()
    with running(engine, ServingSettings(page=False, api_key="sesame")) as (address, _):
        assert httpx.get(f"{address}/health").status_code == 200
        for headers in ({}, {"authorization": "Bearer sesam"}, {"authorization": "Basic sesame"}):
            assert httpx.get(f"{address}/v1/models", headers=headers).status_code == 401
            assert httpx.get(f"{address}/metrics", headers=headers).status_code == 401
        right = {"authorization": "Bearer sesame"}
        assert httpx.get(f"{address}/v1/models", headers=right).status_code == 200


def test_metrics_tell_requests_batches_and_audio() -> None:
    engine = EchoEngine()
    engine.gate.set()
    with running(engine) as (address, _):
        assert post(address, 32_000).status_code == 200
        assert httpx.get(f"{address}/nowhere").status_code == 404
        text = httpx.get(f"{address}/metrics").text
    assert 'whisper_peft_requests_total{path="/v1/audio/transcriptions",status="200"} 1.0' in text
    assert 'whisper_peft_requests_total{path="other",status="404"} 1.0' in text
    assert 'whisper_peft_audio_seconds_total{model="echo"} 2.0' in text
    assert "whisper_peft_batch_size_count 1.0" in text
    assert "whisper_peft_queue_length 0.0" in text


def test_a_server_that_stops_answers_what_it_has_taken() -> None:
    engine = EchoEngine()
    with ThreadPoolExecutor(3) as threads:
        with running(engine) as (address, service):
            sent = fill(address, service, engine, threads, 3)
            threading.Timer(0.5, engine.gate.set).start()
        assert [one.result().status_code for one in sent] == [200] * 3
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")


def test_a_host_that_others_reach_needs_a_key() -> None:
    with pytest.raises(ServingError, match="without an API key"):
        ServingSettings(host="0.0.0.0")
    assert not ServingSettings(host="0.0.0.0", api_key="sesame").is_loopback
    assert "sesame" not in repr(ServingSettings(api_key="sesame"))


def test_a_limit_that_cannot_be_is_refused() -> None:
    with pytest.raises(ServingError, match="did you mean max_requests"):
        with_limits(ServingSettings(), {"max_request": 3})
    with pytest.raises(ServingError, match="max_requests is 0"):
        with_limits(ServingSettings(), {"max_requests": 0})
