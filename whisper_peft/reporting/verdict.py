"""What a run did to the word error rate, in sentences that stay true when it rises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from whisper_peft.reporting.figures import count, noun, number, percent, points, signed_percent
from whisper_peft.reporting.run_report import EvaluationRecord, RunReport
from whisper_peft.types import MergeResult


def relative_change(before: float, after: float) -> float | None:
    """Return the change as a fraction of `before`; None when that was zero.

    Example:
        >>> round(relative_change(0.2, 0.15), 4), relative_change(0.0, 0.1)
        (-0.25, None)
    """
    return (after - before) / before if before > 0 else None


def verdict(evaluation: EvaluationRecord | None) -> str:
    """Say whether the WER fell or rose, and whether the difference is larger than chance.

    Example:
        >>> verdict(None)
        'The WER was not measured.'
    """
    before = evaluation.before if evaluation else None
    after = evaluation.after if evaluation else None
    if evaluation and before and after:
        return _change(before.wer, after.wer) + _certainty(evaluation.difference_interval)
    if after:
        return f"The WER after training is {percent(after.wer)}; before training it was not measured."
    if before:
        return f"The WER before training is {percent(before.wer)}; after training it was not measured."
    return "The WER was not measured."


def caution(report: RunReport) -> str | None:
    """Return a warning when the best step was chosen on the rows that are scored, else None."""
    evaluation, train = report.evaluation, report.train
    if evaluation is None or train is None or train.best_step is None:
        return None
    if evaluation.selected_split != evaluation.scored_split:
        return None
    return (
        f"Step {train.best_step} was chosen on {evaluation.scored_split}, the split that is scored: "
        "the WER after training is optimistic. Name another split with data.dev."
    )


def merge_sentence(merge: MergeResult) -> str:
    """Say how far the merged model is from the adapter model.

    Example:
        >>> merge_sentence(MergeResult("merged", 2e-05, True, 8, (), 0.05))
        'logits differ by at most 2e-05 (accepted: 0.05); transcripts equal on 8 clips'
    """
    clips = f"{merge.clips} {noun(merge.clips, 'clips')}"
    if merge.transcripts_equal:
        transcripts = f"transcripts equal on {clips}"
    else:
        transcripts = f"transcripts differ on {len(merge.differing)} of {clips}"
    largest, accepted = f"{merge.max_logit_difference:.2g}", f"{merge.tolerance:g}"
    said = f"logits differ by at most {largest} (accepted: {accepted}); {transcripts}{_left_behind(merge)}"
    return said if merge.scale == 1 else f"{said}; the update at {merge.scale:g} of its size"


def short_context(evaluation: EvaluationRecord | None) -> str | None:
    """Say what the tuned model does at cut context, beside full context; None where that was not scored."""
    full = evaluation.after if evaluation else None
    short = evaluation.after_short if evaluation else None
    if full is None or short is None:
        return None
    speed = f"{number(short.rtfx)} audio-seconds per second instead of {number(full.rtfx)}"
    looping = "transcript loops" if short.looping == 1 else "transcripts loop"
    loops = f", {count(short.looping)} {looping}" if short.looping else ""
    return f"WER {percent(short.wer)} instead of {percent(full.wer)}, {speed}{loops}"


def training_skips(report: RunReport) -> Mapping[str, int]:
    """Return the training rows that were left out, by reason: before the loop, and by what it met."""
    prepared = Counter(report.data.skipped if report.data else {})
    return prepared + Counter(report.train.skipped if report.train else {})


def _left_behind(merge: MergeResult) -> str:
    """Say what leaving the quantised weights changed, where the run trained on such."""
    logits, equal = merge.quantized_max_logit_difference, merge.quantized_transcripts_equal
    if logits is None or equal is None:
        return ""
    transcripts = f"{percent(equal, digits=0)} of transcripts equal"
    base = " (base: its weights in float)" if merge.base == "dequantized" else ""
    return f"; from the quantised model{base} logits differ by at most {logits:.2g}, {transcripts}"


def _change(before: float, after: float) -> str:
    if after == before:
        return f"The WER stayed at {percent(after)}."
    verb = "fell" if after < before else "rose"
    relative = relative_change(before, after)
    by = points(after - before) if relative is None else f"{signed_percent(relative)} relative"
    warning = "" if after < before else " Training made this split worse."
    return f"The WER {verb} from {percent(before)} to {percent(after)} ({by}).{warning}"


def _certainty(difference: tuple[float, float] | None) -> str:
    if difference is None:
        return ""
    low, high = (points(bound) for bound in difference)
    clear = difference[0] > 0 or difference[1] < 0
    ending = "which leaves out zero" if clear else "which contains zero: it may be chance"
    return f" The 95 % interval of the difference is {low} to {high}, {ending}."
