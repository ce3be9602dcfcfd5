"""`merge` and `report`: what is made from a finished run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.flags import parse_command
from whisper_peft.reporting.verdict import merge_sentence
from whisper_peft.terminal import show


@dataclass(frozen=True)
class Merge:
    """Fold a run's adapter into its base model, compare the two on real clips, and save the result."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder."""
    output_dir: Path
    """Folder of the merged model."""
    max_logit_difference: float | None = None
    """Largest difference of any logit that is accepted. None: the run's merge.max_logit_difference."""
    clips: int | None = None
    """Evaluation clips to compare on. None: the run's merge.clips."""
    base: Literal["float", "dequantized"] | None = None
    """The original weights, or int8 or nf4 in float as the run saw them. None: the run's merge.base."""
    scale: float | None = None
    """Factor of the adapter's update, such as 0.7. None: the run's merge.scale."""


@dataclass(frozen=True)
class Report:
    """Write a run's report.html again from its report.json."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder."""
    audio: bool = True
    """Whether the page holds recordings. Without, it can be shown to those who may not hear them."""


def run_merge(words: list[str]) -> None:
    """Fold a run's adapter into its base model, and check the result on real clips."""
    default = Merge(MISSING, output_dir=MISSING)
    command, _ = parse_command(default, words, prog="whisper-peft merge")
    result = whisper_peft.merge(
        command.run,
        output_dir=command.output_dir,
        max_logit_difference=command.max_logit_difference,
        clips=command.clips,
        base=command.base,
        scale=command.scale,
    )
    show(f"{merge_sentence(result)}\n{result.folder}")


def run_report(words: list[str]) -> None:
    """Write a run's report.html again from its report.json."""
    command, _ = parse_command(Report(MISSING), words, prog="whisper-peft report")
    show(str(whisper_peft.report(command.run, audio=command.audio)))
