"""A process that decodes what strangers send, one recording after the other, within limits of its own.

`python -m whisper_peft.deploy.serving.decoding_worker MAX_DURATION_S MAX_CHANNELS MAX_SECONDS`

It reads a length (8 bytes, little-endian) and as many bytes, and answers with a length, a line of JSON of
that length, and the samples that it announces (16 kHz, mono, float32). Nothing is pickled, and a crash of a
decoder ends this process alone.
"""

from __future__ import annotations

import io
import json
import resource
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

import psutil
import soundfile

from whisper_peft.data.audio.containers import HEAD_BYTES, foreign_container
from whisper_peft.data.audio.decoding import decode, header_duration_s
from whisper_peft.errors import AudioError
from whisper_peft.types import SAMPLING_RATE, Utterance, Waveform

LENGTH = struct.Struct("<Q")
"""A number of bytes."""

FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "MP3", "MPEG", "AIFF", "AU", "CAF"})
"""What libsndfile may read here; its two dozen other formats are of no use to speech."""

DEMUXERS = {
    "m4a": "mov",
    "webm": "matroska",
    "wma": "asf",
    "amr": "amr",
    "aac": "aac",
    "flac without its length": "flac",
}
"""ffmpeg's reader of each container: named, so that content cannot choose one that opens other files."""

BASE_BYTES = 512 << 20
"""Memory for the libraries' own buffers."""

BYTES_PER_SECOND = 48_000 * 4 * 6
"""Memory for a second of recording: six copies of samples at 48 kHz."""


def main(max_duration_s: float, max_channels: int, max_seconds: float) -> None:
    """Answer until nothing more is asked."""
    limit_this_process(max_duration_s)
    while head := sys.stdin.buffer.read(LENGTH.size):
        (size,) = LENGTH.unpack(head)
        content = sys.stdin.buffer.read(size)
        try:
            samples = decode_untrusted(content, max_duration_s, max_channels, max_seconds)
        except AudioError as error:
            send(sys.stdout.buffer, _plain(error))
        except MemoryError:
            send(sys.stdout.buffer, _plain(_too_long(max_duration_s)))
        else:
            send(sys.stdout.buffer, {"samples": len(samples)}, samples.tobytes())
            del samples
        del content


def send(stream: BinaryIO, answer: dict[str, str | int], samples: bytes = b"") -> None:
    """Write an answer, and the samples behind it."""
    line = json.dumps(answer).encode()
    stream.write(LENGTH.pack(len(line)) + line)
    stream.write(samples)
    stream.flush()


def limit_this_process(max_duration_s: float) -> None:
    """Bound the memory and the files of this process and of those that it starts."""
    budget = BASE_BYTES + int(BYTES_PER_SECOND * max_duration_s)
    if sys.platform == "linux":  # macOS does not keep this limit
        whole = psutil.Process().memory_info().vms + budget
        resource.setrlimit(resource.RLIMIT_AS, (whole, whole))
    resource.setrlimit(resource.RLIMIT_FSIZE, (budget, budget))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def decode_untrusted(
    content: bytes, max_duration_s: float, max_channels: int, max_seconds: float
) -> Waveform:
    """Return the samples of a recording, at 16 kHz, mono, float32.

    Args:
        content: The file.
        max_duration_s: Longest recording.
        max_channels: Most channels.
        max_seconds: Time for ffmpeg.

    Raises:
        AudioError: If it cannot be used; beside the reasons of `data.decoding` there are `too-long`,
            `too-many-channels` and `no-decoder` for what is no known format.
    """
    if foreign_container(content[:HEAD_BYTES]) is not None:
        content = _with_ffmpeg(content, max_duration_s, max_seconds)
    _refuse_other_formats(content, max_channels)
    seconds = header_duration_s(content)
    if seconds is not None and seconds > max_duration_s:
        raise _too_long(max_duration_s)
    waveform = decode(Utterance("upload", content, "")).waveform
    if len(waveform) > max_duration_s * SAMPLING_RATE:
        raise _too_long(max_duration_s)
    return waveform


def _refuse_other_formats(content: bytes, max_channels: int) -> None:
    todo = "send flac, mp3, m4a, ogg, wav or webm"
    if not content:
        raise AudioError("upload", "the file is empty", todo, reason="empty")
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            format, channels = file.format, file.channels
    except (soundfile.LibsndfileError, OSError, ValueError):
        raise AudioError("upload", "it is no audio that can be read", todo, reason="no-decoder") from None
    if format not in FORMATS:
        raise AudioError("upload", f"{format} is not served", todo, reason="no-decoder")
    if channels > max_channels:
        why = f"it has {channels} channels, and {max_channels} are the most"
        raise AudioError("upload", why, "mix it down to mono", reason="too-many-channels")


def _with_ffmpeg(content: bytes, max_duration_s: float, max_seconds: float) -> bytes:
    """Return the sound of a container as wav, at most a second longer than is allowed."""
    kind = str(foreign_container(content[:HEAD_BYTES]))
    with tempfile.TemporaryDirectory(prefix="whisper-peft-") as folder:
        source, target = Path(folder, "upload"), Path(folder, "sound.wav")
        source.write_bytes(content)
        # fmt: off
        command = [
            "ffmpeg", "-nostdin", "-v", "error", "-protocol_whitelist", "file",
            "-f", DEMUXERS[kind], "-i", str(source), "-map", "0:a:0", "-t", str(max_duration_s + 1),
            "-ac", "1", "-ar", str(SAMPLING_RATE), "-c:a", "pcm_s16le", "-f", "wav", str(target),
        ]
        # fmt: on
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=max_seconds)
        except FileNotFoundError:
            why = f"{kind} needs ffmpeg, which is not installed on the server"
            raise AudioError("upload", why, "send flac, mp3, ogg or wav", reason="no-decoder") from None
        except subprocess.TimeoutExpired:
            raise AudioError("upload", "it took too long to decode", "send wav or flac") from None
        except subprocess.CalledProcessError:
            raise AudioError("upload", f"ffmpeg finds no sound in this {kind}", "send wav or flac") from None
        return target.read_bytes()


def _too_long(max_duration_s: float) -> AudioError:
    why = f"it lasts longer than {max_duration_s:g} s, or takes as much memory"
    return AudioError("upload", why, "send it in parts", reason="too-long")


def _plain(error: AudioError) -> dict[str, str | int]:
    return {"reason": error.reason, "why": error.why, "todo": error.todo}


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
