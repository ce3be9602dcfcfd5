"""Which audio context a model transcribes at: cut only where that was measured to do no harm."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from whisper_peft.evaluation.generation import AudioContext
from whisper_peft.reporting.figures import percent, points
from whisper_peft.reporting.run_report import REPORT_FILE, EvaluationRecord, read_report, write_text

ContextChoice: TypeAlias = Literal["full", "cut", "auto"]

MARGIN = 0.005
"""By how much the WER at cut context may be above that at full context: half a point, well within the
interval of any split of a few thousand words."""

FIGURES_FILE = "audio_context.json"
"""In a merged folder, which has no report: the WER at full and at cut context."""


@dataclass(frozen=True, slots=True)
class ContextFigures:
    """The WER of one model on the same speech at both contexts, as fractions."""

    full: float
    cut: float

    def choose(self) -> tuple[AudioContext, str]:
        """Return the context to transcribe at, and why.

        Example:
            >>> ContextFigures(full=0.0724, cut=0.0749).choose()[0]
            'cut'
            >>> ContextFigures(full=0.0744, cut=0.289).choose()[0]
            'full'
        """
        chosen: AudioContext = "cut" if self.cut <= self.full + MARGIN else "full"
        difference = f"{points(self.cut - self.full)} from full context (up to {points(MARGIN)})"
        measured = f"WER was {percent(self.cut)}, {difference}"
        if chosen == "cut":
            return chosen, f"cut audio context: its {measured}"
        return chosen, f"full audio context: at cut context the {measured}"


def read_figures(folder: Path) -> ContextFigures | None:
    """Return what was measured of the model in a run or merged folder, if it was."""
    if (folder / FIGURES_FILE).is_file():
        plain = json.loads((folder / FIGURES_FILE).read_text(encoding="utf-8"))
        return ContextFigures(full=float(plain["full"]), cut=float(plain["cut"]))
    return figures_of(read_report(folder).evaluation) if (folder / REPORT_FILE).is_file() else None


def figures_of(evaluation: EvaluationRecord | None) -> ContextFigures | None:
    """Return the figures of a run's scores, where both contexts were scored."""
    if evaluation is None or evaluation.after is None or evaluation.after_short is None:
        return None
    return ContextFigures(full=evaluation.after.wer, cut=evaluation.after_short.wer)


def write_figures(figures: ContextFigures | None, folder: Path) -> None:
    """Leave the figures with a merged model, so that they travel with it."""
    if figures is not None:
        plain = {"full": figures.full, "cut": figures.cut}
        write_text(folder / FIGURES_FILE, json.dumps(plain, indent=2) + "\n")
