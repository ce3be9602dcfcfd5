"""A server under load: 32 clients for minutes, and what batching gains.

    python -m tests.benchmarks.serving_load load RUN CLIPS --minutes 5
    python -m tests.benchmarks.serving_load ratio RUN CLIPS

`load` starts `whisper-peft serve RUN` in a process of its own, asks for every clip once with nothing else
going on, and then lets the clients draw clips, models and formats. Every answer must be the transcript of
that first pass; hostile requests are sent meanwhile. Printed: lost, crossed and wrong transcripts, the
server's resident memory by time and its slope, latencies and batch sizes.

`ratio` lets the clients ask for clips under 8 s from a server that batches and from one that hears one clip
at a time, in turn, at full and at short context.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import soundfile

from tests.hostile.http_requests import hostile_requests

FORMATS = ("json", "text", "verbose_json", "stream")

WARM_UP = 16
"""Requests before anything is counted."""


@dataclass(frozen=True)
class Clip:
    """A recording as it is uploaded."""

    name: str
    content: bytes
    duration_s: float


@dataclass
class Tally:
    """What the clients met."""

    answers: int = 0
    audio_s: float = 0.0
    wrong: list[str] = field(default_factory=list)
    crossed: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    hostile: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


def read_clips(folder: Path, longest_s: float) -> list[Clip]:
    """Return the recordings of a folder up to a length."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".flac", ".wav"))
    clips = [Clip(path.name, path.read_bytes(), soundfile.info(path).duration) for path in files]
    return [clip for clip in clips if clip.duration_s < longest_s]


@contextmanager
def server(run: str, *flags: str) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    """Start a server on a free port, yield a client and the process, and stop it with SIGTERM."""
    command = [
        str(Path(sys.executable).with_name("whisper-peft")),
        "serve",
        run,
        "--port",
        "0",
        "--page",
        "no",
        *flags,
    ]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            yield _client(log, process), psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(timeout=120):
                log.seek(0)
                print(log.read())


def _client(log: object, process: subprocess.Popen[bytes]) -> httpx.Client:
    for _ in range(600):
        log.seek(0)  # type: ignore[attr-defined]
        lines = log.read()  # type: ignore[attr-defined]
        if " at http://" in lines:
            address = lines.split(" at http://")[1].split("/v1")[0]
            limits = httpx.Limits(max_connections=None)
            return httpx.Client(base_url=f"http://{address}", timeout=300, limits=limits)
        if process.poll() is not None:
            raise RuntimeError(lines)
        time.sleep(0.2)
    raise RuntimeError("the server did not start")


def ask(client: httpx.Client, clip: Clip, model: str, format: str = "json") -> str:
    """Return the transcript of a clip, however it is delivered."""
    data = {"model": model, **({"stream": "true"} if format == "stream" else {"response_format": format})}
    answer = client.post("/v1/audio/transcriptions", data=data, files={"file": ("a", clip.content)})
    answer.raise_for_status()
    if format == "text":
        return answer.text
    if format == "stream":
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        return str(events[-1]["text"])
    return str(answer.json()["text"])


def load(run: str, clips: Sequence[Clip], clients: int, minutes: float, flags: Sequence[str]) -> bool:
    """Let many clients draw clips, and tell whether every answer was right."""
    with server(run, *flags) as (client, process):
        models = [one["id"] for one in client.get("/v1/models").json()["data"]]
        expected = {(m, clip.name): ask(client, clip, m) for m in models for clip in clips}
        print(f"{len(clips)} clips, models {models}: each asked for once alone")
        tally, sizes, ended = Tally(), list[tuple[float, int]](), threading.Event()
        started = time.monotonic()
        watch = threading.Thread(target=_watch, args=(process, started, sizes, ended))
        watch.start()
        until = started + 60 * minutes
        with ThreadPoolExecutor(clients + 1) as threads:
            threads.submit(_attack, client, models[0], tally, until)
            for seed in range(clients):
                threads.submit(_draw, client, clips, models, expected, seed, tally, until)
        ended.set()
        watch.join()
        batches = _batch_sizes(client)
    return _print_load(tally, sizes, batches, time.monotonic() - started, clients)


def _draw(
    client: httpx.Client,
    clips: Sequence[Clip],
    models: Sequence[str],
    expected: dict[tuple[str, str], str],
    seed: int,
    tally: Tally,
    until: float,
) -> None:
    rng = random.Random(seed)
    while time.monotonic() < until:
        clip, model, format = rng.choice(clips), rng.choice(models), rng.choice(FORMATS)
        begun = time.monotonic()
        try:
            text = ask(client, clip, model, format)
        except (httpx.HTTPError, KeyError, IndexError, ValueError) as error:
            tally.lost[f"{type(error).__name__}: {error}"[:120]] += 1
            continue
        tally.latencies.append(time.monotonic() - begun)
        tally.answers += 1
        tally.audio_s += clip.duration_s
        if text != expected[model, clip.name]:
            others = {found for (_, name), found in expected.items() if name != clip.name}
            line = f"{clip.name} by {model} as {format}: {text!r} for {expected[model, clip.name]!r}"
            (tally.crossed if text in others else tally.wrong).append(line)


def _attack(client: httpx.Client, model: str, tally: Tally, until: float) -> None:
    """Send the hostile requests again and again, a few a second."""
    requests = hostile_requests(model, max_upload_bytes=25 << 20, max_duration_s=1800)
    for request in itertools.cycle(requests):
        if time.monotonic() > until:
            return
        try:
            found = str(request.send(client).status_code)
        except httpx.HTTPError as error:
            found = type(error).__name__
        right = found == str(request.status)
        tally.hostile["right" if right else f"{request.name}: {found} for {request.status}"] += 1
        time.sleep(0.3)


def _watch(
    process: psutil.Process, started: float, sizes: list[tuple[float, int]], ended: threading.Event
) -> None:
    while not ended.wait(1.0):
        family = [process, *process.children(recursive=True)]
        sizes.append((time.monotonic() - started, sum(one.memory_info().rss for one in family)))


def _batch_sizes(client: httpx.Client) -> float:
    """Return the mean size of a batch."""
    lines = dict(line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[0] != "#")
    count = float(lines["whisper_peft_batch_size_count"])
    return float(lines["whisper_peft_batch_size_sum"]) / max(count, 1.0)


def _print_load(
    tally: Tally, sizes: Sequence[tuple[float, int]], batch: float, seconds: float, clients: int
) -> bool:
    later = [(at, size) for at, size in sizes if at > 0.2 * seconds]
    times, megabytes = zip(*((at / 60, size / (1 << 20)) for at, size in later), strict=True)
    slope = statistics.linear_regression(times, megabytes).slope
    latencies = sorted(tally.latencies)
    slowest = latencies[int(0.95 * len(latencies))]
    pace = f"{tally.audio_s / seconds:.1f} audio-seconds a second"
    print(f"{clients} clients, {seconds:.0f} s: {tally.answers} answers, {pace}")
    print(f"lost {sum(tally.lost.values())}, crossed {len(tally.crossed)}, wrong {len(tally.wrong)}")
    print(
        f"latency: median {statistics.median(latencies):.2f} s, 95 % {slowest:.2f} s; mean batch {batch:.1f}"
    )
    print(f"resident memory {megabytes[0]:.0f} -> {megabytes[-1]:.0f} MiB, at most {max(megabytes):.0f} MiB")
    print(f"slope after the first fifth: {slope:+.2f} MiB a minute")
    right = tally.hostile.pop("right", 0)
    print(f"hostile requests: {right} answered rightly, otherwise {dict(tally.hostile)}")
    for line in [*tally.lost, *tally.crossed, *tally.wrong][:20]:
        print(line)
    return not (tally.lost or tally.crossed or tally.wrong or tally.hostile)


def ratio(
    run: str, clips: Sequence[Clip], clients: int, rounds: int, requests: int, contexts: Sequence[str]
) -> None:
    """Print how much faster batches are than one clip at a time."""
    for context in contexts:
        flags = ("--audio-context", context)
        with (
            server(run, *flags) as (batching, _),
            server(run, *flags, "--max-batch-size", "1") as (single, _),
        ):
            for client in (batching, single):
                _throughput(client, clips, clients, WARM_UP)
            ratios = list[float]()
            for _ in range(rounds):
                together, alone = (_throughput(one, clips, clients, requests) for one in (batching, single))
                ratios.append(together / alone)
                print(f"{context} context: {together:.1f} / {alone:.1f} audio-seconds a second", flush=True)
            print(f"{context} context: {statistics.median(ratios):.2f} times, at least {min(ratios):.2f}")
            print(f"mean batch {_batch_sizes(batching):.1f}")


def _throughput(client: httpx.Client, clips: Sequence[Clip], clients: int, requests: int) -> float:
    """Return the audio seconds that are transcribed in a second: of the same clips at each call."""
    model = client.get("/v1/models").json()["data"][0]["id"]
    drawn = random.Random(0).choices(clips, k=requests)
    begun = time.monotonic()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(lambda clip: ask(client, clip, model), drawn))
    return sum(clip.duration_s for clip in drawn) / (time.monotonic() - begun)


def main() -> None:
    """Read the words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("load", "ratio"))
    parser.add_argument("run")
    parser.add_argument("clips", type=Path)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--contexts", nargs="+", default=("full", "cut"))
    parser.add_argument("--first", type=int, default=None, help="take the first so many clips")
    parser.add_argument("--flags", nargs="*", default=(), help="further flags of serve, without --")
    words = parser.parse_args()
    flags = [f"--{flag}" for flag in words.flags]
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}")
    if words.what == "load":
        clips = read_clips(words.clips, longest_s=1e9)[: words.first]
        raise SystemExit(0 if load(words.run, clips, words.clients, words.minutes, flags) else 1)
    short = read_clips(words.clips, longest_s=8.0)[: words.first]
    ratio(words.run, short, words.clients, words.rounds, words.requests, words.contexts)


if __name__ == "__main__":
    main()
