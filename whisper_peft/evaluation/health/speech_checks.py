"""Verdicts on what is understood: the speech that was tuned for, other speech, and the language written."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisper_peft.evaluation.error_analysis.groups import word_errors
from whisper_peft.evaluation.error_analysis.rates import Tally
from whisper_peft.evaluation.health.checks import HEAR_MORE, Finding, course, gravest, judged, not_measured
from whisper_peft.evaluation.health.evidence import Pair
from whisper_peft.evaluation.health.pairing import SAMPLES, cer_of, figure_of, wer_of
from whisper_peft.evaluation.health.thresholds import (
    LEAKED_GAIN,
    LEAST_UTTERANCES,
    LIKENESS_LEFT,
    LIMITS,
    SHARED_RECORDINGS_BAD,
    SHARED_SENTENCES_BAD,
    SHARED_SENTENCES_WATCH,
)
from whisper_peft.evaluation.health.values import Check, Figure, Verdict
from whisper_peft.evaluation.resampling import percentile_interval, resampled_rates
from whisper_peft.types import Prediction


def check_target(pair: Pair | None) -> Check:
    """Judge whether the error rates of the scored split fell, and by more than chance.

    Args:
        pair: The scored split; None where it was not scored before and after.
    """
    if pair is None or not pair.after:
        return not_measured("target", "the scored split was not scored both before and after (eval.before)")
    wer, cer = wer_of(pair), cer_of(pair)
    low, high = wer.change or (0.0, 0.0)
    if low > 0:
        return judged("target", "bad", (wer, cer), "it became worse, by more than chance")
    if high >= 0:
        return judged("target", "watch", (wer, cer), "the change may be chance: its interval holds zero")
    if len(pair.after) < LEAST_UTTERANCES:
        why = f"it fell, but fewer than {LEAST_UTTERANCES} utterances were scored"
        return judged("target", "watch", (wer, cer), why)
    return judged("target", "good", (wer, cer), "it fell, by more than chance")


def check_retention(pair: Pair) -> Check:
    """Judge whether other speech is still understood."""
    wer, limit = wer_of(pair), LIMITS["retention"]
    verdict, todo = limit.judge(wer), HEAR_MORE if limit.is_unsure(wer) else None
    if verdict == "bad":
        why = "other speech is no longer understood as before, by more than chance"
    elif wer.change and wer.change[1] < 0:
        why = "other speech is understood better than before"
    else:
        why = course(limit, wer, unchanged="other speech is understood as before")
    if pair.learned:
        why += "; some of it was learned beside the target"
    return judged("retention", verdict, (wer, cer_of(pair)), why, subject=pair.name, todo=todo)


def check_language(pair: Pair, task: str) -> Check:
    """Judge whether transcripts are still in the language that is spoken.

    Args:
        pair: Speech of one language, with the languages that its transcripts look like.
        task: transcribe or translate.
    """
    expected = "en" if task == "translate" else pair.language
    if pair.written is None or expected is None:
        why = "too few words of one language were written to tell"
        return not_measured("language", why, subject=pair.name)
    before, after = pair.written
    name, count = f"likeness to {_name(expected)}", len(pair.after)
    figure = Figure(name, "number", before.likeness, after.likeness, None, count, "utterances")
    if after.code in (expected, before.code) or after.likeness >= LIKENESS_LEFT * before.likeness:
        return judged("language", "good", (figure,), f"written in {_name(after.code)}", subject=pair.name)
    why = (
        f"written in {_name(after.code)} where {_name(expected)} is expected; before, in {_name(before.code)}"
    )
    return judged("language", "bad", (figure,), why, subject=pair.name)


def check_leakage(pair: Pair | None, recordings: Collection[str] | None, sentences: Collection[str]) -> Check:
    """Judge whether the scored rows were learned, and whether the gain is on those alone.

    Args:
        pair: The scored split; None where it was not scored before and after.
        recordings: Ids of scored rows whose recording was learned; None where nobody could look.
        sentences: Ids of scored rows whose sentence was learned.
    """
    if recordings is None or pair is None or not pair.after:
        why = "nobody could compare the rows: they pass in a stream, stood in memory, or have gone"
        return not_measured("leakage", why)
    total, leaked = len(pair.after), {*recordings, *sentences}
    heard, said = len([*recordings]) / total, len([*sentences]) / total
    recording = Figure("scored rows whose recording was learned", "share", None, heard, None, total, "rows")
    sentence = Figure("scored rows whose sentence was learned", "share", None, said, None, total, "rows")
    gains = _gains(pair, leaked)
    found: list[Finding] = []
    if heard > 0:
        verdict: Verdict = "bad" if heard >= SHARED_RECORDINGS_BAD else "watch"
        why = "recordings that are scored were learned: tuned on its test set"
        found.append(Finding(verdict, why, recording))
    if said >= SHARED_SENTENCES_WATCH:
        verdict = "bad" if said >= SHARED_SENTENCES_BAD else "watch"
        why = "sentences that are scored were learned: the WER says little of other ones"
        found.append(Finding(verdict, why, sentence))
    if leaked and learned_by_heart(pair, leaked):
        why = "the gain is on the learned rows: on the others it is clearly smaller"
        found.append(Finding("bad", why, gains[0]))
    worst = gravest(found, _unleaked(sentence))
    figures = [recording, sentence, *gains]
    return judged("leakage", worst.verdict, figures, worst.why, deciding=worst.figure)


def _unleaked(sentence: Figure) -> Finding:
    """Return what is said where no row was learned, or too few sentences to speak of."""
    if not sentence.after:
        return Finding("good", "no scored row was learned")
    limit = f"{SHARED_SENTENCES_WATCH * 100:g} %"
    return Finding(
        "good", f"sentences that are scored were learned, but of less than {limit} of the rows", sentence
    )


def _gains(pair: Pair, leaked: Collection[str]) -> list[Figure]:
    """Return the WER of the leaked rows and of the others, where there are both."""
    parts = {"leaked": True, "clean": False}
    figures = []
    for name, is_leaked in parts.items():
        before, after = (_rows(rows, leaked, is_leaked) for rows in (pair.before, pair.after))
        if leaked and after:
            tallies = [Tally.of(map(word_errors, rows)) for rows in (before, after)]
            figures.append(figure_of(f"WER of {name} rows", tallies, "utterances"))
    return figures


def learned_by_heart(pair: Pair, leaked: Collection[str]) -> bool:
    """Tell whether the WER of leaked rows fell further than that of the others, by more than chance."""
    gains = []
    for is_leaked in (True, False):
        sides = [_rows(rows, leaked, is_leaked) for rows in (pair.before, pair.after)]
        if not sides[0]:
            return False
        tallies = [Tally.of(map(word_errors, rows)) for rows in sides]
        errors, units = (np.stack([getattr(one, name) for one in tallies]) for name in ("errors", "units"))
        rates = resampled_rates(errors, units, SAMPLES, seed=int(is_leaked))
        gains.append(rates[:, 0] - rates[:, 1])
    low, _ = percentile_interval(gains[0] - gains[1])
    return low > 0 and float(np.mean(gains[0] - gains[1])) >= LEAKED_GAIN


def _rows(rows: tuple[Prediction, ...], leaked: Collection[str], is_leaked: bool) -> list[Prediction]:
    return [one for one in rows if (one.id in leaked) == is_leaked]


def _name(code: str) -> str:
    return f"{LANGUAGES.get(code, code).title()} ({code})"
