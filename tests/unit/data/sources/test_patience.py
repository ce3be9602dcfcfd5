"""A network that fails for a while costs time, not the run; what is not there is not asked for again."""

import http.server
import importlib
import threading

import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session, hf_raise_for_status

from whisper_peft.data.sources.patience import WAITS_S, ask_patiently, is_passing, read_patiently


class Flaky(http.server.BaseHTTPRequestHandler):
    """Answers 503 until it has been asked often enough."""

    def do_GET(self):  # the server's own name for it
        self.server.asked += 1
        self.send_response(200 if self.server.asked > self.server.failures else 503)
        self.end_headers()
        self.wfile.write(b"here")

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    with http.server.HTTPServer(("127.0.0.1", 0), Flaky) as server:
        server.asked = server.failures = 0
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(server):
    answer = HTTP.get(f"http://127.0.0.1:{server.server_port}/", trust_env=False)
    hf_raise_for_status(answer)
    return answer.text


@pytest.mark.parametrize("failures", [0, 1, 3, len(WAITS_S)])
def test_a_server_that_comes_back_is_asked_until_it_answers(server, failures, caplog):
    server.failures, waits = failures, []
    assert ask_patiently(lambda: fetch(server), name="the Hub", sleep=waits.append) == "here"
    assert tuple(waits) == WAITS_S[:failures]
    assert caplog.text.count("the Hub did not answer (HfHubHTTPError); asking again in") == failures


def test_a_server_that_does_not_come_back_is_given_up(server):
    server.failures, waits = 99, []
    with pytest.raises(HfHubHTTPError):
        ask_patiently(lambda: fetch(server), name="the Hub", sleep=waits.append)
    assert server.asked == len(WAITS_S) + 1


HTTP = importlib.import_module(get_session().__class__.__module__.partition(".")[0])
"""The HTTP client that the Hub's library uses."""


def answered(status):
    return HTTP.Response(status, request=HTTP.Request("GET", "https://huggingface.co"))


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (TimeoutError("read"), True),
        (ConnectionResetError(), True),
        (HTTP.ReadTimeout("read"), True),
        (HfHubHTTPError("busy", response=answered(503)), True),
        (HfHubHTTPError("slow down", response=answered(429)), True),
        (HfHubHTTPError("no such data set", response=answered(404)), False),
        (OfflineModeIsEnabled("offline"), False),
        (FileNotFoundError("no such file"), False),
        (ValueError("no such split"), False),
    ],
)
def test_only_what_may_pass_is_waited_for(error, passing):
    assert is_passing(error) is passing
    wrapped = RuntimeError("Couldn't reach the Hub")
    wrapped.__cause__ = error
    assert is_passing(wrapped) is passing


def test_a_stream_that_breaks_off_goes_on_at_its_row():
    opened, waits = [], []

    def open_at(first):
        opened.append(first)
        for number in range(first, 10):
            if number in (4, 7) and len(opened) < 5:
                raise ConnectionError
            yield number

    assert list(read_patiently(open_at, name="rows", sleep=waits.append)) == list(range(10))
    assert opened == [0, 4, 4, 4, 4]
    assert tuple(waits) == WAITS_S[:4]


def test_a_stream_that_stays_away_ends_with_its_own_error():
    def open_at(first):
        yield from range(first, 2)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        list(read_patiently(open_at, name="rows", sleep=lambda _: None))
