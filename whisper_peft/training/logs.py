"""`log.jsonl` and TensorBoard: two listeners of the loop."""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

from tensorboard.compat.proto.event_pb2 import Event as Record
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from whisper_peft.training.events import Event


class JsonLog:
    """Append one JSON object a line to `log.jsonl`.

    Args:
        folder: Run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"

    def __call__(self, event: Event) -> None:
        """Write the row of a step or an evaluation; a resumed run cuts it to its checkpoint."""
        if event.kind == "start" and self.path.exists():
            self._cut(event.step)
        if event.kind in ("step", "evaluation"):
            with self.path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"step": event.step, **event.row}) + "\n")

    def _cut(self, last_step: int) -> None:
        """Drop the rows of steps that a killed run took after its checkpoint, and a torn last line."""
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        kept = [line for line in lines if _is_up_to(last_step, line)]
        partial = self.path.with_name(f".{self.path.name}.partial")
        partial.write_text("".join(kept), encoding="utf-8")
        partial.replace(self.path)


Media: TypeAlias = Callable[[Event], Iterable[Summary]]
"""Makes sounds, pictures and texts of an event; it is asked at each, and most give none."""


class TensorBoardLog:
    """Write every number of the log as a scalar, and what else was made of an event.

    `torch.utils.tensorboard.SummaryWriter` would write in a thread, where a full disk is a traceback that
    nobody catches; here it is an error of the step, as in `log.jsonl`. An event is one record and one write.

    Args:
        folder: Run folder; the event files go to `tensorboard/` in it.
        media: Makes sounds, pictures and texts.
        clock: Returns the seconds since 1970.
    """

    def __init__(
        self, folder: Path, *, media: Sequence[Media] = (), clock: Callable[[], float] = time.time
    ) -> None:
        self.media, self.clock = tuple(media), clock
        name = f"events.out.tfevents.{clock():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / "tensorboard" / name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(Record(file_version="brain.Event:2"))

    def __call__(self, event: Event) -> None:
        """Write an event; a resumed run hides the points after its checkpoint."""
        if event.kind == "start":
            self._write(Record(session_log=SessionLog(status=SessionLog.START), step=event.step + 1))
        group = "evaluation" if event.kind == "evaluation" else "train"
        summary = Summary()
        for name, value in event.row.items():
            if isinstance(value, int | float):
                summary.value.add(tag=f"{group}/{name}", simple_value=value)
        for made in itertools.chain.from_iterable(media(event) for media in self.media):
            summary.MergeFrom(made)
        if summary.value:
            self._write(Record(summary=summary, step=event.step))

    def _write(self, record: Record) -> None:
        record.wall_time = self.clock()
        with self.path.open("ab") as file:
            RecordWriter(file).write(record.SerializeToString())


def _is_up_to(last_step: int, line: str) -> bool:
    try:
        return line.endswith("\n") and bool(json.loads(line)["step"] <= last_step)
    except (ValueError, KeyError, TypeError):
        return False
