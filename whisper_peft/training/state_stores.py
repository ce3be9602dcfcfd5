"""Where encoder states are kept between epochs: in memory, or in one file that only grows at its end.

Neither grows past its budget, and nothing that was kept gives way: with a budget of 30 % of a corpus, 30 % of
it is found in every epoch. A cache that drops what was used longest ago would find nothing, as each epoch
uses everything once.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from whisper_peft.data.batches.audio_contexts import WINDOW_FRAMES
from whisper_peft.data.batches.batching import Recording
from whisper_peft.errors import StorageError

logger = logging.getLogger(__name__)

DIGEST_BYTES = 16
"""Length of a recording's digest: at 10^9 recordings, the chance that any two share one is 10^-21."""


class StateStore(Protocol):
    """Keeps the encoder states of recordings, shape `(positions, d_model)`, by their digests."""

    kind: str
    used_bytes: int

    def find(self, digest: bytes) -> Recording | None:
        """Return what is known of a recording whose states are kept."""

    def read(self, digest: bytes) -> Tensor:
        """Return the states of a recording that `find` has found."""

    def keep(self, recording: Recording, states: Tensor) -> None:
        """Keep the states of a recording, unless they are kept already or do not fit."""

    def remove(self) -> None:
        """Free what is kept."""


class MemoryStore:
    """Keep states in main memory.

    Args:
        budget_bytes: Most that they may take.

    Example:
        >>> store = MemoryStore(budget_bytes=600)
        >>> for name in (b"a", b"b"):
        ...     store.keep(Recording(name, samples=800, frames=100), torch.zeros(50, 4, dtype=torch.float16))
        >>> store.find(b"a").frames, store.find(b"b"), store.used_bytes
        (100, None, 400)
    """

    kind = "memory"

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.used_bytes = 0
        self._kept: dict[bytes, tuple[Recording, Tensor]] = {}

    def find(self, digest: bytes) -> Recording | None:
        """Return what is known of a recording whose states are kept."""
        return self._kept[digest][0] if digest in self._kept else None

    def read(self, digest: bytes) -> Tensor:
        """Return the states of a recording that `find` has found."""
        return self._kept[digest][1]

    def keep(self, recording: Recording, states: Tensor) -> None:
        """Keep the states of a recording, unless they are kept already or do not fit."""
        if recording.digest in self._kept or self.used_bytes + states.nbytes > self.budget_bytes:
            return
        # states may be a view of something larger, which would stay in memory too
        self._kept[recording.digest] = recording, states.cpu().clone()
        self.used_bytes += states.nbytes

    def remove(self) -> None:
        """Free what is kept."""
        self._kept.clear()


class DiskStore:
    """Keep states in a file, from which a run that was killed goes on.

    ```
    header   magic, digest of what the states depend on beside the recording
    entry    digest of the recording, samples, positions, CRC-32 of all that and of the states
             states, positions x d_model x 2 bytes
    entry    ...
    ```

    The index is in memory, made by reading the file. An entry that was written by half ends it: what follows
    is cut off and encoded anew. So is a file of another encoder.

    Args:
        path: The file; its folder is made.
        budget_bytes: Most that the file may take.
        identity: Digest of what the states depend on beside the recording.
        dtype: Of the states, 2 bytes each.
        width: d_model.
    """

    kind = "disk"
    _MAGIC = b"whisper_peft encoder states 1\n"
    _HEAD = struct.Struct(f"<{DIGEST_BYTES}sIII")

    def __init__(
        self, path: Path, *, budget_bytes: int, identity: bytes, dtype: torch.dtype, width: int
    ) -> None:
        self.path, self.budget_bytes = path, budget_bytes
        self.dtype, self.width = dtype, width
        self._index: dict[bytes, tuple[Recording, int, int]] = {}
        self._header = self._MAGIC + identity
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            self.used_bytes = self._take_up()
        except OSError as error:
            raise StorageError(
                f"the encoder states cannot be kept in {path}",
                error.strerror or str(error),
                "give another --train.encoder-cache-folder, or use --train.encoder-cache memory",
            ) from error

    def find(self, digest: bytes) -> Recording | None:
        """Return what is known of a recording whose states are kept."""
        return self._index[digest][0] if digest in self._index else None

    def read(self, digest: bytes) -> Tensor:
        """Return the states of a recording that `find` has found.

        Raises:
            StorageError: If they are not what was written.
        """
        recording, offset, checksum = self._index[digest]
        content = self._content(offset, recording)
        if self._checksum(recording, content) != checksum:
            raise StorageError(
                f"{self.path} is damaged",
                f"the checksum of the entry at byte {offset} does not hold",
                "go on with --resume: what is damaged is encoded anew",
            )
        return torch.frombuffer(bytearray(content), dtype=self.dtype).view(-1, self.width)

    def keep(self, recording: Recording, states: Tensor) -> None:
        """Keep the states of a recording, unless they are kept already or do not fit.

        A disk that is full ends the growth, not the run.
        """
        content = states.cpu().contiguous().view(torch.uint8).numpy().tobytes()
        size = self._HEAD.size + len(content)
        if recording.digest in self._index or self.used_bytes + size > self.budget_bytes:
            return
        checksum = self._checksum(recording, content)
        head = self._HEAD.pack(recording.digest, recording.samples, recording.frames // 2, checksum)
        try:
            self._write(head + content, self.used_bytes)
        except OSError as error:
            os.ftruncate(self._descriptor, self.used_bytes)
            self.budget_bytes = self.used_bytes
            told = "no more encoder states are kept than the %.2f GiB in %s: %s"
            logger.warning(told, self.used_bytes / 2**30, self.path, error.strerror)
            return
        self._index[recording.digest] = recording, self.used_bytes + self._HEAD.size, checksum
        self.used_bytes += size

    def remove(self) -> None:
        """Delete the file, and its folder unless others are in it."""
        os.close(self._descriptor)
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.parent.rmdir()

    def _take_up(self) -> int:
        """Index what an earlier run left, and return where the next entry goes."""
        size = os.fstat(self._descriptor).st_size
        if os.pread(self._descriptor, len(self._header), 0) != self._header:
            os.ftruncate(self._descriptor, 0)
            self._write(self._header, 0)
            return len(self._header)
        end = len(self._header)
        while end + self._HEAD.size <= size:
            head = os.pread(self._descriptor, self._HEAD.size, end)
            digest, samples, positions, checksum = self._HEAD.unpack(head)
            recording, start = Recording(digest, samples, 2 * positions), end + self._HEAD.size
            content = self._content(start, recording) if positions <= WINDOW_FRAMES // 2 else b""
            if self._checksum(recording, content) != checksum:
                break
            self._index[digest] = recording, start, checksum
            end = start + len(content)
        os.ftruncate(self._descriptor, end)
        return end

    def _content(self, offset: int, recording: Recording) -> bytes:
        return os.pread(self._descriptor, recording.frames // 2 * self.width * self.dtype.itemsize, offset)

    def _checksum(self, recording: Recording, content: bytes) -> int:
        place = struct.pack("<II", recording.samples, recording.frames)
        return zlib.crc32(content, zlib.crc32(recording.digest + place))

    def _write(self, content: bytes, offset: int) -> None:
        rest = memoryview(content)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            rest, offset = rest[written:], offset + written
