"""Verdicts on the forms in which a tuned model is used: at cut context, and in rounded weights."""

from __future__ import annotations

from whisper_peft.evaluation.health.checks import course, judged, not_measured
from whisper_peft.evaluation.health.evidence import Pair
from whisper_peft.evaluation.health.pairing import wer_of
from whisper_peft.evaluation.health.thresholds import LIMITS, size
from whisper_peft.evaluation.health.values import Check, Figure
from whisper_peft.types import EvalResult, MergeResult


def check_context(full: EvalResult | None, cut: EvalResult | None, pair: Pair | None = None) -> Check:
    """Judge whether the tuned model may hear only as much as the speech lasts.

    Args:
        full: The tuned model at full context.
        cut: The tuned model at cut context.
        pair: The utterances at full (`before`) and at cut context (`after`); None where a run kept none of
            them, as old runs did: the change has no interval then.
    """
    if full is None or cut is None:
        why = (
            "the model was not scored at cut context: it was not tuned on that, or eval.short_context is off"
        )
        return not_measured("context", why)
    count = cut.utterances
    name = "WER at full context, then at cut context"
    wer = (
        Figure(name, "share", full.wer, cut.wer, None, count, "utterances")
        if pair is None
        else wer_of(pair, name)
    )
    speed = Figure(
        "audio seconds transcribed a second", "number", full.rtfx, cut.rtfx, None, count, "utterances"
    )
    limit = LIMITS["cut context"]
    is_dear = cut.wer > full.wer + limit.watch
    cost = "costs no words"
    if wer.rise > 0:
        bound = "more than" if is_dear else "within"
        cost = f"costs {size(wer.rise, wer.unit)}, {bound} the limit of {size(limit.watch, wer.unit)}"
    saved = "saves time" if speed.rise > 0 else "saves no time"
    why = f"the cut context {cost}{_how_sure(wer)}, and {saved}"
    return judged("context", "watch" if is_dear else "good", (wer, speed), why)


def _how_sure(wer: Figure) -> str:
    if wer.change is None:
        return " (no interval)"
    low, _ = wer.change
    return " (which may be chance)" if low <= 0 < wer.rise else ""


def check_quantised(pair: Pair | None, merge: MergeResult | None, trained: str, why_none: str) -> Check:
    """Judge what rounded weights cost.

    Args:
        pair: The same utterances in float (`before`) and rounded (`after`); None where that was not measured.
        merge: What merging found.
        trained: How the weights were held while training: none, int8 or nf4.
        why_none: Why there is no pair.
    """
    figures = [_merged(merge)] if merge is not None and merge.quantized_transcripts_equal is not None else []
    if pair is None:
        return judged("quantised", "not measured", figures, why_none)
    wer = wer_of(pair, f"WER in float, then in {'int8' if trained == 'none' else trained}")
    limit = LIMITS["quantised"]
    verdict = limit.judge(wer)
    if verdict == "bad":
        why = "rounded weights cost words, by more than chance"
    else:
        why = course(limit, wer, unchanged="rounded weights cost no words")
    return judged("quantised", verdict, [wer, *figures], why)


def _merged(merge: MergeResult) -> Figure:
    name, equal = "transcripts that the merged model writes alike", merge.quantized_transcripts_equal
    return Figure(name, "share", None, equal, None, merge.clips, "clips")
