"""One run to a folder: a small file says who is at work there, and keeps saying so.

A lock of this machine is as good as its process: where that is gone, the lock is taken over. A lock of
another machine (a mounted drive) can only be judged by its age: it is written anew every `BEAT_S` seconds,
and after `SILENCE_S` without that its machine is taken to be gone. No links and no locks of the file system:
mounted drives have neither.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType

import psutil

from whisper_peft.errors import StorageError

LOCK_FILE = "run.lock"
BEAT_S = 20.0
"""Seconds between the signs of life that a run gives."""

SILENCE_S = 180.0
"""Seconds without a sign of life after which another machine is taken to be gone."""

LAST_BEAT_S = 10.0
"""Seconds that a release waits for a beat that has begun: a drive may hang."""

CONTEST_S = 0.2
"""Seconds after which it shows who of two that took over a dead lock at once has it."""


@dataclass(frozen=True)
class Holder:
    """The process at work in a folder.

    Attributes:
        pid: Its number, and
        started: when it began (s since 1970): numbers are used again.
        host: Its machine's name, and
        machine: what tells apart machines, boots and containers of one name.
        beat: When it last gave a sign of life.
    """

    pid: int
    started: float
    host: str
    machine: str
    beat: float

    def is_same(self, other: Holder | None) -> bool:
        """Tell whether it is the same process, whatever its last sign of life."""
        return other is not None and replace(other, beat=self.beat) == self


def this_process(now: float) -> Holder:
    """Return this process as a holder."""
    process = psutil.Process()
    return Holder(process.pid, process.create_time(), socket.gethostname(), _machine(), now)


def _machine() -> str:
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return f"{socket.gethostname()} {psutil.boot_time():.0f}"


class RunLock:
    """Holds a run folder from `take` until it is released; a folder in which nothing was written goes too.

    Args:
        clock: Returns the seconds since 1970.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.folder: Path | None = None
        self.taken_by: Holder | None = None
        self._me: Holder | None = None
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def take(self, folder: Path) -> str | None:
        """Hold a folder, which is made, and return what to say of a dead lock that lay there.

        Raises:
            StorageError: If another process is at work there.
            OSError: If the folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path, me = folder / LOCK_FILE, this_process(self.clock())
        said = None
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(asdict(me)))
        except FileExistsError:
            said = self._take_over(path, me)
        self.folder, self._me = folder, me
        self._beating = threading.Thread(target=self._beat, args=(path, me), daemon=True)
        self._beating.start()
        return said

    def release(self) -> None:
        """Let the folder go, where this process holds it."""
        self._ended.set()
        if self._beating is not None:
            self._beating.join(LAST_BEAT_S)  # a beat that has begun would put the lock back
        if self.folder is None or self._me is None:
            return
        with suppress(OSError):
            if self._me.is_same(_read(self.folder / LOCK_FILE)):
                (self.folder / LOCK_FILE).unlink()
            self.folder.rmdir()
        self.folder = None

    def refuse_if_lost(self) -> None:
        """Stop a run whose folder another machine took over, as it had been silent for so long.

        Raises:
            StorageError: If one did.
        """
        if self.taken_by is not None:
            raise StorageError(
                f"the run folder {self.folder} was taken over by {_named(self.taken_by)}",
                f"this process gave no sign of life for {SILENCE_S:.0f} s",
                "let that run go on; nothing of it was overwritten",
            )

    def _take_over(self, path: Path, me: Holder) -> str:
        holder = _read(path)
        if holder is not None and holder.machine == me.machine:
            if _is_alive(holder):
                raise _in_use(path, f"{_named(holder)} is at work there", "wait for it to end")
            said = f"{_named(holder)} is gone without letting go of {path.parent}: its lock is taken over"
        else:
            beat = holder.beat if holder else path.stat().st_mtime
            silent, named = max(self.clock() - beat, 0.0), _named(holder) if holder else "another process"
            if silent < SILENCE_S:
                wait = f"if that machine is gone, start again in {SILENCE_S - silent:.0f} s"
                raise _in_use(path, f"{named} gave a sign of life {silent:.0f} s ago", wait)
            silence = f"{named} has given no sign of life for {silent:.0f} s"
            said = f"{silence}: its lock on {path.parent} is taken over"
        _write(path, me)
        time.sleep(CONTEST_S)
        if not me.is_same(_read(path)):
            raise _in_use(path, "another process took it over at the same moment", "wait for it to end")
        return said

    def _beat(self, path: Path, me: Holder) -> None:
        while not self._ended.wait(BEAT_S):
            with suppress(OSError):  # a drive that is away for a moment
                holder = _read(path)
                if holder is not None and not me.is_same(holder):
                    self.taken_by = holder
                    return
                _write(path, replace(me, beat=self.clock()))


def _in_use(path: Path, why: str, wait: str) -> StorageError:
    return StorageError(
        f"the run folder {path.parent} is in use", why, f"{wait}, or give another --output-dir"
    )


def _named(holder: Holder) -> str:
    return f"process {holder.pid} on {holder.host}"


def _is_alive(holder: Holder) -> bool:
    try:
        process = psutil.Process(holder.pid)
        same = abs(process.create_time() - holder.started) < 1
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _read(path: Path) -> Holder | None:
    """Return who holds a folder, None where the file does not say: its writer was killed that moment."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write(path: Path, holder: Holder) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(asdict(holder)), encoding="utf-8")
    partial.replace(path)
