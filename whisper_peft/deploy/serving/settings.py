"""What a server allows, and how it works: every limit in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from whisper_peft.errors import ServingError, did_you_mean

MEBIBYTE = 1 << 20

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that nobody outside this machine reaches."""


@dataclass(frozen=True)
class ServingSettings:
    """How a server works.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        api_key: What clients must send as a bearer token. None: nothing, which only loopback may do.
        page: Whether to mount the page at /ui.
        max_upload_bytes: Largest request body; OpenAI's own limit is 25 MiB.
        max_duration_s: Longest recording.
        max_channels: Most channels of a recording.
        max_requests: Requests that are uploading, waiting or being heard; one more is told to come again.
        max_waiting_audio_s: Audio of all these requests together, which bounds their memory (64 kB a second).
        max_batch_size: Windows heard together.
        max_batch_s: Seconds that the encoder hears of a batch; at full context a window counts 30.
        upload_timeout_s: Time for a request to arrive.
        decode_timeout_s: Time to decode a recording.
        timeout_s: Time from arrival to answer.
        decoders: Processes that decode.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = field(default=None, repr=False)
    page: bool = True
    max_upload_bytes: int = 25 * MEBIBYTE
    max_duration_s: float = 1800.0
    max_channels: int = 16
    max_requests: int = 64
    max_waiting_audio_s: float = 7200.0
    max_batch_size: int = 16
    max_batch_s: float = 480.0
    upload_timeout_s: float = 60.0
    decode_timeout_s: float = 60.0
    timeout_s: float = 600.0
    decoders: int = 2

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.api_key:
            raise ServingError(
                f"host {self.host} without an API key",
                "everybody who reaches this machine could use the model and send it files",
                "set WHISPER_PEFT_API_KEY or --api-key-file, or keep --host 127.0.0.1",
            )
        if self.api_key is not None and (not self.api_key.isascii() or not self.api_key.isprintable()):
            raise ServingError("the API key", "a header holds printable ASCII only", "choose another one")
        limits = (
            ("max_upload_bytes", self.max_upload_bytes),
            ("max_duration_s", self.max_duration_s),
            ("max_channels", self.max_channels),
            ("max_requests", self.max_requests),
            ("max_waiting_audio_s", self.max_waiting_audio_s),
            ("max_batch_size", self.max_batch_size),
            ("max_batch_s", self.max_batch_s),
            ("upload_timeout_s", self.upload_timeout_s),
            ("decode_timeout_s", self.decode_timeout_s),
            ("timeout_s", self.timeout_s),
            ("decoders", self.decoders),
        )
        for name, value in limits:
            if value <= 0:
                raise ServingError(f"{name} is {value}", "nothing could be served", "give a positive number")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in LOOPBACK


def with_limits(settings: ServingSettings, limits: Mapping[str, float]) -> ServingSettings:
    """Return settings with some limits changed, of whole numbers where they count.

    Raises:
        ServingError: If there is no such limit, or none can be served within it.

    Example:
        >>> with_limits(ServingSettings(), {"max_requests": 8}).max_requests
        8
    """
    known = sorted({one.name for one in fields(settings)} - set(_CHOICES))
    for name in limits:
        if name not in known:
            raise ServingError(f"{name} is no limit of the server", todo=did_you_mean(name, known))
    changed: dict[str, Any] = {name: type(getattr(settings, name))(value) for name, value in limits.items()}
    return replace(settings, **changed)


_CHOICES = ("host", "port", "api_key", "page")
