"""Verdicts on what word errors of short clips do not show: sounds without speech, recordings, timestamps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from whisper_peft.evaluation.error_analysis.groups import word_errors
from whisper_peft.evaluation.error_analysis.rates import Tally
from whisper_peft.evaluation.health.checks import (
    Finding,
    course,
    gravest,
    judged,
    not_measured,
    worsened,
)
from whisper_peft.evaluation.health.evidence import JoinedUtterance, Pair, Sound, TimedWindow
from whisper_peft.evaluation.health.pairing import MILLISECONDS, PER_MILLE, figure_of, milliseconds, share_of
from whisper_peft.evaluation.health.thresholds import LIMITS
from whisper_peft.evaluation.health.values import Check, Figure
from whisper_peft.types import Prediction


def check_hallucination(before: Sequence[Sound], after: Sequence[Sound]) -> Check:
    """Judge whether more is written than before where nobody speaks."""
    if not after:
        return not_measured("hallucination", "no clips without speech were heard")
    tallies = [Tally.of((sound.words, 1) for sound in sounds) for sounds in (before, after)]
    words = figure_of(LIMITS["hallucination"].figure, tallies, "clips", unit="number")
    passing = share_of(LIMITS["silence rule"].figure, before, after, _passes, "clips")
    kinds = [_of_kind(kind, before, after) for kind in dict.fromkeys(sound.kind for sound in after)]
    judged_by = [
        ("hallucination", words),
        ("silence rule", passing),
        *(("hallucination", one) for one in kinds),
    ]
    amount = "less" if words.rise < 0 else "no more"
    found = gravest(
        worsened((LIMITS[name], figure, f"more {figure.name} than before") for name, figure in judged_by),
        Finding("good", f"{amount} is written than before where nobody speaks", words),
    )
    figures = (words, passing, *kinds)
    return judged("hallucination", found.verdict, figures, found.why, deciding=found.figure)


def _passes(sound: Sound) -> bool:
    return sound.passes and sound.words > 0


def _of_kind(kind: str, before: Sequence[Sound], after: Sequence[Sound]) -> Figure:
    tallies = [Tally.of((one.words, 1) for one in sounds if one.kind == kind) for sounds in (before, after)]
    return figure_of(f"words for each clip of {kind}", tallies, "clips", unit="number")


def check_long_form(
    before: Sequence[JoinedUtterance], after: Sequence[JoinedUtterance], pair: Pair | None
) -> Check:
    """Judge whether recordings of a minute and more are understood as their utterances are.

    Args:
        before: Utterances of the recordings, as the untuned model wrote them there.
        after: As the tuned one did.
        pair: The same utterances, and others, each heard alone.
    """
    if not after:
        return not_measured("long_form", "the scored split has less than a minute of speech of one language")
    tallies = [Tally.of((one.errors, one.words) for one in joined) for joined in (before, after)]
    joined = figure_of(LIMITS["long form"].figure, tallies, "utterances")
    limit = LIMITS["long form"]
    verdict = limit.judge(joined)
    why = "recordings are no longer understood as before, by more than chance"
    if verdict != "bad":
        why = course(limit, joined, unchanged="recordings are understood as before")
    found, figures = [Finding(verdict, why, joined)], [joined]
    alone = _alone(after, pair)
    if alone is not None:
        figures.append(alone)
        behind = joined.rise - alone.rise
        if behind >= LIMITS["long form behind"].watch:
            why = "long recordings gained much less than their utterances heard alone"
            found.append(Finding("watch", why, joined))
    worst = gravest(found, found[0])
    return judged("long_form", worst.verdict, figures, worst.why)


def _alone(joined: Sequence[JoinedUtterance], pair: Pair | None) -> Figure | None:
    """Return the WER of the same utterances heard one by one, where all were."""
    if pair is None:
        return None
    sides: list[Mapping[str, Prediction]] = [
        {one.id: one for one in rows} for rows in (pair.before, pair.after)
    ]
    names = [one.id for one in joined]
    if not all(name in side for side in sides for name in names):
        return None
    tallies = [Tally.of(word_errors(side[name]) for name in names) for side in sides]
    return figure_of("WER of the same utterances alone", tallies, "utterances")


WORSE = {
    "timestamps written": "fewer windows in which timestamps are written",
    "timestamps": "fewer windows with well-formed timestamps",
    "timestamp error": "timestamps lie further from where they belong",
    "timestamps expected": "timestamps are less likely where utterances end",
    "timestamps misplaced": "the likely timestamps lie further from where utterances end",
}
"""What is said where a figure of timestamps got worse."""


def check_timestamps(before: Sequence[TimedWindow], after: Sequence[TimedWindow]) -> Check:
    """Judge whether timestamps are still written, and where utterances were joined."""
    if not after:
        return not_measured("timestamps", "there are no utterances of up to 30 s to be joined")
    figures = {**_written(before, after), **_expected(before, after)}
    found = worsened((LIMITS[name], figure, WORSE[name]) for name, figure in figures.items())
    if figures["timestamps"].before == figures["timestamps"].after == 0:
        why = "in no window are they well formed, before and after"
        found.append(Finding("watch", why, figures["timestamps"]))
    worst = gravest(found, Finding("good", "timestamps are written at least as well as before"))
    return judged("timestamps", worst.verdict, figures.values(), worst.why, deciding=worst.figure)


def _written(before: Sequence[TimedWindow], after: Sequence[TimedWindow]) -> dict[str, Figure]:
    """Return figures of what was written freely, by the names of their limits."""
    signs: dict[str, Callable[[TimedWindow], bool]] = {
        "timestamps written": lambda one: one.stamps > 0,
        "timestamps": lambda one: one.well_formed,
    }
    figures = {
        name: share_of(LIMITS[name].figure, before, after, is_so, "windows") for name, is_so in signs.items()
    }
    if any(one.distances_s for one in after):
        tallies = [
            Tally.of((sum(map(milliseconds, one.distances_s)), len(one.distances_s)) for one in windows)
            for windows in (before, after)
        ]
        name = LIMITS["timestamp error"].figure
        figures["timestamp error"] = figure_of(name, tallies, "windows", unit="seconds", scale=MILLISECONDS)
    return figures


def _expected(before: Sequence[TimedWindow], after: Sequence[TimedWindow]) -> dict[str, Figure]:
    """Return figures of what was held likely where utterances end, by the names of their limits."""
    ends = [[one for window in windows for one in window.expected] for windows in (before, after)]
    if not ends[1]:
        return {}
    likely = [Tally.of((round(one.probability * PER_MILLE), 1) for one in side) for side in ends]
    apart = [Tally.of((milliseconds(one.distance_s), 1) for one in side) for side in ends]
    counted, names = "ends of utterances", ("timestamps expected", "timestamps misplaced")
    return {
        names[0]: figure_of(LIMITS[names[0]].figure, likely, counted, scale=PER_MILLE),
        names[1]: figure_of(LIMITS[names[1]].figure, apart, counted, unit="seconds", scale=MILLISECONDS),
    }
