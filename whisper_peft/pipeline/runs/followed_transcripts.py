"""Transcripts of a few scored utterances, as they change from evaluation to evaluation."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import text

from whisper_peft.reporting.figures import percent
from whisper_peft.training.events import Event
from whisper_peft.types import EvalResult, Prediction

FOLLOWED = 8
"""Utterances that are followed: those with the highest word error rate where they are first scored."""

TRANSCRIPTS_FILE = "transcripts.jsonl"
"""What was written of them so far: a run that goes on goes on with them."""


@dataclass
class FollowedTranscripts:
    """What the model wrote of a few utterances, at each evaluation so far.

    Args:
        path: Where it is kept.
        before: Scores of the untuned model.
    """

    path: Path
    before: EvalResult | None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, event: Event) -> Iterator[Summary]:
        """Yield the transcripts as a table for each utterance, which grows by a row."""
        if event.kind == "start":
            self._start(event.step)
        if event.result is None:
            return
        self._take(event.step, event.result.predictions)
        self._write()
        yield text("transcripts", transcript_tables(self.rows))

    def _start(self, step: int) -> None:
        """Go on from what was written up to a step; at the first, with the untuned model's."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if step and self.path.exists() else []
        self.rows = [row for row in map(json.loads, lines) if row["step"] <= step]
        if not self.rows and self.before is not None:
            self._take(0, self.before.predictions)

    def _take(self, step: int, predictions: Sequence[Prediction]) -> None:
        followed = {row["id"] for row in self.rows}
        heard = [one for one in predictions if one.id in followed] if followed else _worst(predictions)
        self.rows += [
            {
                "step": step,
                "id": one.id,
                "reference": one.reference,
                "hypothesis": one.hypothesis,
                "wer": one.wer,
            }
            for one in heard
        ]

    def _write(self) -> None:
        partial = self.path.with_name(f".{self.path.name}.partial")
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows)
        partial.write_text("".join(lines), encoding="utf-8")
        partial.replace(self.path)


def transcript_tables(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return transcripts of utterances as Markdown: a table for each, a row for each time it was heard.

    Example:
        >>> row = {"step": 0, "id": "a", "reference": "one two", "hypothesis": "won two", "wer": 0.5}
        >>> print(transcript_tables([row]))
        **a**
        <BLANKLINE>
        | | WER | |
        |---|---|---|
        | said | | one two |
        | before training | 50 % | won two |
    """
    tables = []
    for name in dict.fromkeys(row["id"] for row in rows):
        heard = [row for row in rows if row["id"] == name]
        lines = [
            f"| {_when(row['step'])} | {percent(row['wer'], 0)} | {plain_markdown(row['hypothesis'])} |"
            for row in heard
        ]
        head = [f"**{plain_markdown(name)}**", "", "| | WER | |", "|---|---|---|"]
        tables.append("\n".join([*head, f"| said | | {plain_markdown(heard[0]['reference'])} |", *lines]))
    return "\n\n".join(tables)


def _when(step: int) -> str:
    return f"step {step}" if step else "before training"


def plain_markdown(words: str) -> str:
    """Return text that Markdown shows as it is, within a table.

    Example:
        >>> plain_markdown("<b> *one* | two")
        '&lt;b&gt; &#42;one&#42; &#124; two'
    """
    escaped = html.escape(" ".join(words.split()), quote=False)
    return "".join(f"&#{ord(sign)};" if sign in "|*_`[]\\~#" else sign for sign in escaped)


def _worst(predictions: Sequence[Prediction]) -> list[Prediction]:
    return sorted(predictions, key=lambda one: (-one.wer, one.id))[:FOLLOWED]
