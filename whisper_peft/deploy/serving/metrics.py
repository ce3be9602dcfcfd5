"""What a server counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)

LATENCIES_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class ServingMetrics:
    """Counters of one server, in a registry of their own.

    Example:
        >>> metrics = ServingMetrics()
        >>> metrics.audio_seconds.labels("demo").inc(2.5)
        >>> 'whisper_peft_audio_seconds_total{model="demo"} 2.5' in metrics.text().decode()
        True
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "whisper_peft_requests", "Answered requests", ["path", "status"], registry=registry
        )
        self.disconnects = Counter(
            "whisper_peft_disconnects", "Clients that left before their answer", registry=registry
        )
        self.open_requests = Gauge(
            "whisper_peft_open_requests", "Requests that have a place", registry=registry
        )
        self.queue_length = Gauge(
            "whisper_peft_queue_length", "Windows that wait to be heard", registry=registry
        )
        self.waiting_audio = Gauge(
            "whisper_peft_waiting_audio_seconds", "Decoded audio of open requests", registry=registry
        )
        self.batch_size = Histogram(
            "whisper_peft_batch_size", "Windows heard together", registry=registry, buckets=BATCH_SIZES
        )
        self.audio_seconds = Counter(
            "whisper_peft_audio_seconds", "Audio transcribed", ["model"], registry=registry
        )
        self.latency = Histogram(
            "whisper_peft_latency_seconds",
            "From arrival to answer of a transcription",
            registry=registry,
            buckets=LATENCIES_S,
        )

    def text(self) -> bytes:
        """Return all of it in Prometheus's format."""
        return generate_latest(self._registry)
