"""The sides of a model's health, in the order of a report, each with what to do where it is not good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from whisper_peft.evaluation.health.thresholds import LEAST_ITEMS, Limit, size
from whisper_peft.evaluation.health.values import GRAVITY, Check, Figure, Verdict


@dataclass(frozen=True, slots=True)
class Side:
    """One side of health.

    Attributes:
        title: What a report calls it.
        todo: What to do where it is not good.
        how_to: Name of the page in `docs/how-to` that tells how.
        is_drawn: Whether what is heard stands for more, so that few items say little.
    """

    title: str
    todo: str
    how_to: str
    is_drawn: bool = True


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
        is_drawn=False,
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


@dataclass(frozen=True, slots=True)
class Finding:
    """What one figure says; `why` belongs to the verdict, good ones included."""

    verdict: Verdict
    why: str
    figure: Figure | None = None


def judged(
    name: str,
    verdict: Verdict,
    figures: Iterable[Figure],
    why: str,
    *,
    subject: str = "",
    todo: str | None = None,
    deciding: Figure | None = None,
) -> Check:
    """Return a check, with what to do where it is not good; of too few items none is good.

    Args:
        name: Which one, as in `CHECKS`.
        verdict: What came out.
        figures: The first tells how many items were heard.
        why: In a sentence.
        subject: What it was measured on.
        todo: What to do, where that is not what `CHECKS` says.
        deciding: The figure that the verdict rests on, which is put first; None: the first one.

    Example:
        >>> judged("loops", "good", (), "no transcript loops").todo
        ''
        >>> judged("loops", "bad", (), "transcripts loop").how_to
        'hallucination'
        >>> figure = Figure("WER", "share", 0.1, 0.1, (0.0, 0.0), 3, "utterances")
        >>> judged("retention", "good", [figure], "as before").why
        'as before, but fewer than 10 utterances are too few to call it good'
    """
    side, listed = CHECKS[name], tuple(figures)
    if verdict == "good" and side.is_drawn and listed and listed[0].count < LEAST_ITEMS:
        verdict, todo = "watch", HEAR_MORE
        why = f"{why}, but fewer than {LEAST_ITEMS} {listed[0].counted} are too few to call it good"
    if deciding is not None:
        listed = (deciding, *(one for one in listed if one is not deciding))
    if verdict in ("good", "not measured"):
        return Check(name, subject, verdict, listed, why)
    return Check(name, subject, verdict, listed, why, todo or side.todo, side.how_to)


def not_measured(name: str, why: str, *, subject: str = "") -> Check:
    """Return a check of which nothing is known, and why."""
    return judged(name, "not measured", (), why, subject=subject)


def gravest(found: Sequence[Finding], otherwise: Finding) -> Finding:
    """Return the gravest of several findings, with the reasons of all as grave and the first one's figure.

    Args:
        found: Verdicts with their reasons and figures.
        otherwise: What is said where nothing was found.

    Example:
        >>> found = [Finding("good", "a"), Finding("bad", "b"), Finding("watch", "c"), Finding("bad", "d")]
        >>> gravest(found, Finding("good", "well")).why, gravest([], Finding("good", "well")).why
        ('b; d', 'well')
    """
    if not found:
        return otherwise
    worst: Verdict = max((one.verdict for one in found), key=GRAVITY.index)
    grave = [one for one in found if one.verdict == worst]
    return Finding(worst, "; ".join(one.why for one in grave), grave[0].figure)


def worsened(moved: Iterable[tuple[Limit, Figure, str]]) -> list[Finding]:
    """Return what is said of figures that got worse; where all are good, of the nearest to its limit.

    Args:
        moved: Figures with their limits, and what is said where they got worse.

    Example:
        >>> limit = Limit("loops", watch=0.01, bad=0.02, reason="")
        >>> figure = Figure("loops", "share", 0.0, 0.005, (0.0, 0.01), 200, "utterances")
        >>> [one.why for one in worsened([(limit, figure, "more loops")])]
        ['more loops, but by less than the limit of 1 point']
    """
    worse = [one for one in moved if one[0].worsening(one[1]) > 0]
    found = [Finding(limit.judge(figure), why, figure) for limit, figure, why in worse]
    if not worse or any(one.verdict != "good" for one in found):
        return [one for one in found if one.verdict != "good"]
    limit, figure, why = max(worse, key=lambda one: one[0].worsening(one[1]) / one[0].watch)
    return [Finding("good", f"{why}, {limit.within(figure)}", figure)]


def course(limit: Limit, figure: Figure, *, unchanged: str) -> str:
    """Say how an error rate went that is not bad, no more surely than its interval does.

    Args:
        limit: What it is judged by.
        figure: The rate.
        unchanged: What is said where it stayed.

    Example:
        >>> limit = Limit("WER", watch=0.01, bad=0.02, reason="")
        >>> for after, change in ((0.105, (-0.005, 0.015)), (0.115, (0.01, 0.019)), (0.09, (-0.02, 0.0))):
        ...     rate = Figure("WER", "share", 0.1, after, change, 60, "utterances")
        ...     print(course(limit, rate, unchanged="as before"))
        it rose, but by less than the limit of 1 point
        it rose by more than chance, but by less than 2 points
        it fell, which may be chance
    """
    low, high = figure.change or (figure.rise, figure.rise)
    if limit.is_unsure(figure):
        return "too little was heard to rule out a loss"
    if figure.rise >= limit.watch:
        sure = low > 0 and limit.bad is not None
        return (
            f"it rose by more than chance, but by less than {size(limit.bad or 0.0, figure.unit)}"
            if sure
            else "it rose, which may be chance"
        )
    if figure.rise > 0:
        return f"it rose, {limit.within(figure)}"
    if figure.rise == 0:
        return unchanged
    return f"it fell, {'by more than chance' if high < 0 else 'which may be chance'}"
