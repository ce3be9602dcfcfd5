"""`log.jsonl` and TensorBoard: two listeners of the loop."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event as Record
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import scalar, text

from whisper_peft.training.events import Event
from whisper_peft.types import Prediction


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


class TensorBoardLog:
    """Write every number of the log as a scalar, and the worst transcripts of an evaluation as text.

    `torch.utils.tensorboard.SummaryWriter` would write in a thread, where a full disk is a traceback that
    nobody catches; here it is an error of the step, as in `log.jsonl`.

    Args:
        folder: Run folder; the event files go to `tensorboard/` in it.
        clock: Returns the seconds since 1970.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        name = f"events.out.tfevents.{clock():017.6f}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / "tensorboard" / name
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write(Record(file_version="brain.Event:2"))

    def __call__(self, event: Event) -> None:
        """Write an event; a resumed run hides the points after its checkpoint."""
        if event.kind == "start":
            self._write(Record(session_log=SessionLog(status=SessionLog.START), step=event.step + 1))
        group = "evaluation" if event.kind == "evaluation" else "train"
        numbers = {name: value for name, value in event.row.items() if isinstance(value, int | float)}
        for name, value in numbers.items():
            self._write(Record(summary=scalar(f"{group}/{name}", value), step=event.step))
        if event.result is not None:
            worst = text("evaluation/worst", _worst(event.result.predictions))
            self._write(Record(summary=worst, step=event.step))

    def _write(self, record: Record) -> None:
        record.wall_time = self.clock()
        with self.path.open("ab") as file:
            RecordWriter(file).write(record.SerializeToString())


def _is_up_to(last_step: int, line: str) -> bool:
    try:
        return line.endswith("\n") and bool(json.loads(line)["step"] <= last_step)
    except (ValueError, KeyError, TypeError):
        return False


def _worst(predictions: tuple[Prediction, ...], most: int = 5) -> str:
    ranked = sorted(predictions, key=lambda prediction: -prediction.wer)[:most]
    return "\n\n".join(f"    {p.wer:.0%}  {p.reference}\n          {p.hypothesis}" for p in ranked)
