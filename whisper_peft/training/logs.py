"""`log.jsonl` and TensorBoard: two listeners of the loop."""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

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

    Args:
        folder: Run folder; the event files go to `tensorboard/` in it.
    """

    def __init__(self, folder: Path) -> None:
        self.writer = SummaryWriter(str(folder / "tensorboard"))

    def __call__(self, event: Event) -> None:
        """Write an event."""
        group = "evaluation" if event.kind == "evaluation" else "train"
        for name, value in event.row.items():
            if isinstance(value, int | float):
                self.writer.add_scalar(f"{group}/{name}", value, event.step)
        if event.result is not None:
            self.writer.add_text("evaluation/worst", _worst(event.result.predictions), event.step)
        if event.kind == "end":
            self.writer.close()


def _is_up_to(last_step: int, line: str) -> bool:
    try:
        return line.endswith("\n") and bool(json.loads(line)["step"] <= last_step)
    except (ValueError, KeyError, TypeError):
        return False


def _worst(predictions: tuple[Prediction, ...], most: int = 5) -> str:
    ranked = sorted(predictions, key=lambda prediction: -prediction.wer)[:most]
    return "\n\n".join(f"    {p.wer:.0%}  {p.reference}\n          {p.hypothesis}" for p in ranked)
