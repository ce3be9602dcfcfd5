"""The sides of a model's health, in the order of a report, each with what to do where it is not good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from whisper_peft.evaluation.health.values import GRAVITY, Check, Figure, Verdict


@dataclass(frozen=True, slots=True)
class Side:
    """One side of health.

    Attributes:
        title: What a report calls it.
        todo: What to do where it is not good.
        how_to: Name of the page in `docs/how-to` that tells how.
    """

    title: str
    todo: str
    how_to: str


CHECKS = {
    "target": Side(
        "Target",
        "score more speech (data.eval), lower train.learning_rate, or keep the best step (eval.steps and "
        "data.dev)",
        "read-the-report",
    ),
    "leakage": Side(
        "Leakage",
        "score speech that was not learned: other recordings, sentences and speakers (data.eval)",
        "inspect-your-data",
    ),
    "retention": Side(
        "Retention",
        "replay a tenth to a fifth of such speech (data.mix SOURCE=20%), lower train.learning_rate or "
        "train.epochs, or turn the update down (whisper-peft adapters scale-curve RUN, then merge.scale)",
        "forgetting",
    ),
    "language": Side(
        "Language",
        "check model.language and model.task, and the language of the training text; replay speech of the "
        "language that was lost (data.mix SOURCE=20% language=...)",
        "forgetting",
    ),
    "style": Side(
        "Text style",
        "keep how the base writes by data.text_case=restore, or mix in text with case, marks and digits",
        "text-style",
    ),
    "loops": Side(
        "Loops",
        "look for repeated or wrong text in the training rows (whisper-peft inspect), lower "
        "train.learning_rate or train.epochs, add windows without speech (targets.no_speech 0.1)",
        "hallucination",
    ),
    "hallucination": Side(
        "Hallucination",
        "learn windows without speech (targets.no_speech 0.1, targets.no_speech_source), and look for rows "
        "with text but no speech (whisper-peft inspect)",
        "hallucination",
    ),
    "long_form": Side(
        "Long form",
        "learn neighbouring utterances as windows of up to 30 s (targets.long_form 0.5), replay longer "
        "speech (data.mix), or hear more of 30 s (train.full_context_share)",
        "train-timestamps-and-long-form",
    ),
    "timestamps": Side(
        "Timestamps",
        "learn windows with timestamps inside (targets.long_form 0.5; targets.timestamps 0.5 where rows have "
        "several timed segments)",
        "train-timestamps-and-long-form",
    ),
    "context": Side(
        "Short against full context",
        "transcribe at full context (transcribe --audio-context auto does), or hear more of 30 s while "
        "training (train.full_context_share)",
        "read-the-report",
    ),
    "quantised": Side(
        "Rounded against float weights",
        "ship the float weights; after int8 or nf4 training merge.base=dequantized is the model as it was "
        "scored",
        "merge-and-combine-adapters",
    ),
}


HEAR_MORE = (
    "hear more: whisper-peft health RUN --eval.health full, and speech of your own by --retention.source or "
    "data.mix SOURCE train=None"
)
"""What to do where a figure is neither good nor bad for want of speech."""


def judged(
    name: str,
    verdict: Verdict,
    figures: Iterable[Figure],
    why: str,
    *,
    subject: str = "",
    todo: str | None = None,
) -> Check:
    """Return a check, with what to do where it is not good.

    Example:
        >>> judged("loops", "good", (), "no transcript loops").todo
        ''
        >>> judged("loops", "bad", (), "transcripts loop").how_to
        'hallucination'
    """
    side = CHECKS[name]
    if verdict in ("good", "not measured"):
        return Check(name, subject, verdict, tuple(figures), why)
    return Check(name, subject, verdict, tuple(figures), why, todo or side.todo, side.how_to)


def not_measured(name: str, why: str, *, subject: str = "") -> Check:
    """Return a check of which nothing is known, and why."""
    return judged(name, "not measured", (), why, subject=subject)


def gravest(found: Sequence[tuple[Verdict, str]], otherwise: str) -> tuple[Verdict, str]:
    """Return the gravest of several verdicts with the reasons of all that are as grave.

    Args:
        found: Verdicts with their reasons.
        otherwise: What is said where all are good.

    Example:
        >>> gravest([("good", "a"), ("bad", "b"), ("watch", "c"), ("bad", "d")], "well")
        ('bad', 'b; d')
    """
    worst: Verdict = max((verdict for verdict, _ in found), key=GRAVITY.index, default="good")
    if worst == "good":
        return worst, otherwise
    return worst, "; ".join(why for verdict, why in found if verdict == worst)
