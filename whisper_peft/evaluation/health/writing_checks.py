"""Verdicts on how transcripts are written: case, marks, digits, numbers, and whether they end at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from whisper_peft.evaluation.error_analysis.breakdown import align_scored
from whisper_peft.evaluation.error_analysis.groups import Scored
from whisper_peft.evaluation.error_analysis.rates import Tally
from whisper_peft.evaluation.error_analysis.words import number_marks, tallied
from whisper_peft.evaluation.health.checks import Finding, gravest, judged, not_measured, worsened
from whisper_peft.evaluation.health.evidence import Pair
from whisper_peft.evaluation.health.pairing import figure_of, share_of
from whisper_peft.evaluation.health.thresholds import LIMITS
from whisper_peft.evaluation.health.values import Check, Figure, Verdict
from whisper_peft.evaluation.long_form import COMPRESSION_RATIO, compression_ratio
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.style import style_profile
from whisper_peft.types import Prediction, StyleProfile

LEAST_TRANSCRIPTS = 3
"""Of fewer transcripts nothing is said on style."""

SHARES = {
    "starts_with_capital": "transcripts that start with a capital",
    "capitalised_words": "words with a capital",
    "all_caps_words": "words in CAPITALS",
    "ends_in_mark": "transcripts that end in . ? !",
}
"""The shares of a style profile."""

DENSITIES = {"commas_per_100_words": "commas in 100 words", "digits_per_100_words": "digits in 100 words"}
WORDS = 100
LARGE_FACTOR = 3.0
LEAST_PER_100_WORDS = 1.0
"""Commas or digits have come or gone when there are three times as many or few, and any to speak of."""

LEAST_NUMBERS = 5
"""Of fewer numbers a share says nothing."""


def check_style(pair: Pair) -> Check:
    """Judge whether transcripts are written as before: case, marks, digits, and numbers as they were said.

    What moved towards the references of this speech is watch at most, as it may be what was wanted; capitals,
    marks and digits that came because the references have them are good.
    """
    rows = [one for one in pair.after if one.hypothesis.strip()]
    if len(rows) < LEAST_TRANSCRIPTS:
        why = f"fewer than {LEAST_TRANSCRIPTS} transcripts have any words"
        return not_measured("style", why, subject=pair.name)
    wanted = style_profile(one.reference for one in pair.after)
    measured, limit = _measured(pair), LIMITS["numbers"]
    found = [
        _drift(field, one, getattr(wanted, field)) for field, one in measured.items() if _moved(field, one)
    ]
    numbers = _numbers(pair)
    if numbers is not None and (limit.judge(numbers) == "bad" or numbers.rise >= limit.watch):
        found.append(Finding(limit.judge(numbers), "numbers are no longer written as said", numbers))
    worst = gravest(found, _unmoved(measured, numbers))
    why, figures = worst.why, list(measured.values())
    if numbers is not None:
        figures.append(numbers)
    elif worst.verdict == "good":
        why += "; too few numbers were said to judge how they are written"
    return judged("style", worst.verdict, figures, why, subject=pair.name, deciding=worst.figure)


def _unmoved(measured: Mapping[str, Figure], numbers: Figure | None) -> Finding:
    """Return what is said where nothing moved to speak of: of what came nearest to its limit."""
    limit = LIMITS["style"]
    near = [
        (abs(one.rise) / limit.watch if field in SHARES else 0.0, f"{_direction(one)} than before", one)
        for field, one in measured.items()
        if one.rise
    ]
    if numbers is not None and numbers.rise > 0:
        near.append((numbers.rise / LIMITS["numbers"].watch, f"more {numbers.name} than before", numbers))
    if not near:
        return Finding("good", "written as before")
    _, why, nearest = max(near, key=lambda one: one[0])
    if nearest.unit == "share":
        within = (LIMITS["numbers"] if nearest is numbers else limit).within(nearest)
    else:
        within = f"but by less than the limit of {LARGE_FACTOR:g} times as many or few"
    return Finding("good", f"{why}, {within}", nearest)


def _direction(figure: Figure) -> str:
    return f"{'fewer' if figure.rise < 0 else 'more'} {figure.name}"


def _measured(pair: Pair) -> dict[str, Figure]:
    """Return every measure of style, each with its interval over the transcripts."""
    sides = [[_profiled(one.hypothesis) for one in rows] for rows in (pair.before, pair.after)]
    figures = {}
    for field, title in {**SHARES, **DENSITIES}.items():
        is_share = field in SHARES
        tallies = [Tally.of(_counted(*one, field) for one in side) for side in sides]
        figures[field] = figure_of(
            title,
            tallies,
            "utterances",
            unit="share" if is_share else "number",
            scale=1 if is_share else 1 / WORDS,
        )
    return figures


def _profiled(text: str) -> tuple[StyleProfile, int, int]:
    """Return how one transcript is written, its words, and those with letters that have case."""
    words = text.split()
    cased = sum(any(sign.isupper() or sign.islower() for sign in word) for word in words)
    return style_profile([text]), len(words), cased


def _counted(profile: StyleProfile, words: int, cased: int, field: str) -> tuple[int, int]:
    """Return how much of a transcript is written so, and out of how much."""
    value = getattr(profile, field)
    if field in DENSITIES:
        return round(value * words / WORDS), words
    of = {"starts_with_capital": min(cased, 1), "ends_in_mark": min(words, 1)}.get(field, cased)
    return round(value * of), of


def _moved(field: str, figure: Figure) -> bool:
    """Tell whether a change is one to speak of."""
    low, high = sorted((figure.before or 0.0, figure.after or 0.0))
    if field in SHARES:
        return high - low >= LIMITS["style"].watch
    return high >= LEAST_PER_100_WORDS and high > LARGE_FACTOR * low


def _drift(field: str, figure: Figure, said: float) -> Finding:
    """Judge a change to speak of, by its size, its interval, and how the references are written."""
    then, now = figure.before or 0.0, figure.after or 0.0
    direction = _direction(figure)
    if abs(now - said) < abs(then - said):
        wanted: Verdict = "good" if now > then and field != "all_caps_words" else "watch"
        return Finding(wanted, f"{direction}, as the references have", figure)
    low, high = figure.change or (0.0, 0.0)
    large = field in DENSITIES or abs(now - then) >= (LIMITS["style"].bad or 1.0)
    is_bad = large and (low > 0 or high < 0)
    why = f"{direction} than before, and the references do not ask for it"
    return Finding("bad" if is_bad else "watch", why, figure)


def _numbers(pair: Pair) -> Figure | None:
    """Return the share of the numbers that were not written as said; None where there are few."""
    scored = Scored({"before": pair.before, "after": pair.after})
    aligned = align_scored(scored, get_normalizer(pair.normalizer, pair.language))
    tallies = tallied(aligned, number_marks)
    if tallies["after"].units.sum() < LEAST_NUMBERS:
        return None
    return figure_of(LIMITS["numbers"].figure, [tallies["before"], tallies["after"]], "utterances")


def check_loops(pairs: Sequence[Pair]) -> Check:
    """Judge whether transcripts end, say each thing once, and belong to what was said.

    Args:
        pairs: All speech that was heard.
    """
    before = [one for pair in pairs for one in pair.before]
    after = [one for pair in pairs for one in pair.after]
    if not after:
        return not_measured("loops", "no utterance was scored both before and after")
    figures = {
        name: share_of(LIMITS[name].figure, before, after, is_so, "utterances")
        for name, is_so in _SIGNS.items()
    }
    figures["same transcript"] = _same_transcripts(before, after)
    found = worsened(
        (LIMITS[name], figure, f"more {figure.name} than before") for name, figure in figures.items()
    )
    worst = gravest(found, _commonest([*figures.values()]))
    return judged("loops", worst.verdict, figures.values(), worst.why, deciding=worst.figure)


def _commonest(figures: Sequence[Figure]) -> Finding:
    """Return what is said where no sign of a loop rose: of the commonest, where there is any."""
    most = max(figures, key=lambda one: one.after or 0.0)
    if not most.after:
        return Finding("good", "transcripts end, and say each thing once")
    return Finding("good", "fewer than before" if most.rise < 0 else "as many as before", most)


def _is_compressible(prediction: Prediction) -> bool:
    return bool(prediction.hypothesis) and compression_ratio(prediction.hypothesis) > COMPRESSION_RATIO


def _is_over(prediction: Prediction) -> bool:
    return prediction.wer > 1.0


def _is_empty(prediction: Prediction) -> bool:
    return bool(prediction.reference.strip()) and not prediction.hypothesis.strip()


def _is_looping(prediction: Prediction) -> bool:
    return prediction.looping


_SIGNS: dict[str, Callable[[Prediction], bool]] = {
    "loops": _is_looping,
    "compressible": _is_compressible,
    "over 100 %": _is_over,
    "empty": _is_empty,
}


def _same_transcripts(before: Sequence[Prediction], after: Sequence[Prediction]) -> Figure:
    """Return the share of transcripts that some other sentence has word for word."""
    tallies = []
    for rows in (before, after):
        texts = Counter(
            text for _, text in {(_folded(one.reference), _folded(one.hypothesis)) for one in rows}
        )
        tallies.append(
            Tally.of((int(texts[_folded(one.hypothesis)] > 1 and bool(one.hypothesis)), 1) for one in rows)
        )
    return figure_of(LIMITS["same transcript"].figure, tallies, "utterances")


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).strip(".,;:?! ")
