"""The order of the work: predictions in, every rate by kind of utterance and of word out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from whisper_peft.evaluation.error_analysis.alignment import align_units
from whisper_peft.evaluation.error_analysis.calibration import calibration
from whisper_peft.evaluation.error_analysis.confusions import confusions
from whisper_peft.evaluation.error_analysis.groups import (
    DURATIONS_S,
    SNRS_DB,
    Groups,
    Scored,
    by_name,
    by_number,
    rate_bounds,
    speaking_rate,
)
from whisper_peft.evaluation.error_analysis.rates import Resampling, slices_of
from whisper_peft.evaluation.error_analysis.values import Breakdown, Slice
from whisper_peft.evaluation.error_analysis.words import (
    CAPITALISES_NOUNS,
    NAMES,
    Aligned,
    AlignedUtterance,
    by_kind,
    by_position,
    by_rarity,
)
from whisper_peft.evaluation.error_analysis.writing import by_writing, has_case, has_marks
from whisper_peft.evaluation.units import separate_words

MAIN = "main source"
"""Name of the main source among those that were mixed in."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One way to part the errors.

    Attributes:
        groups: The kinds with their tallies.
        why_none: Why there may be none.
        least: Fewest kinds that say more than the WER does.
    """

    name: str
    groups: Groups
    why_none: str
    least: int = 2


def break_down(
    scored: Scored,
    *,
    normalize: Callable[[str], str],
    sources: Mapping[str, Scored],
    training_words: Mapping[str, int] | None,
    resampling: Resampling,
) -> Breakdown:
    """Part the errors of a scored split by kind.

    Args:
        scored: Utterances of the main source, scored before, after or both; at least one.
        normalize: The normaliser that they were scored with.
        sources: Utterances of what was mixed in, by name.
        training_words: How often scored words stand in the training text; None where nobody counted.
        resampling: How intervals are drawn.
    """
    aligned = align_scored(scored, normalize)
    dimensions = (*_of_utterances(scored, sources), *_of_words(scored, aligned, normalize, training_words))
    slices, missing = {}, {}
    for one in dimensions:
        found = slices_of(one.groups, resampling)
        if len(found) >= one.least:
            slices[one.name] = found
        else:
            whole = "the main source" if sources and one.name != "source" else "it"
            missing[one.name] = f"all of {whole} is {found[0].name}" if found else one.why_none
    if why := _why_no_names(scored, slices.get("kind", ())):
        missing["names"] = why
    measured = {when: calibration(rows, resampling) for when, rows in scored.predictions.items()}
    curves = {when: curve for when, curve in measured.items() if curve is not None}
    if not curves:
        missing["calibration"] = "the search told no confidence"
    return Breakdown(slices, confusions(aligned), curves, missing)


def _why_no_names(scored: Scored, kinds: Sequence[Slice]) -> str:
    """Say why no names were told from other words; nothing where they were."""
    rows = scored.utterances
    if any(one.name == NAMES for one in kinds):
        return ""
    if not has_case([one.reference for one in rows]):
        return "the references have no case that tells them"
    if all(one.language in CAPITALISES_NOUNS for one in rows):
        return "the language capitalises every noun"
    return "no word of the references is capitalised inside a sentence"


def align_scored(scored: Scored, normalize: Callable[[str], str]) -> Aligned:
    """Align every utterance as it is scored; each text is normalised once."""

    @cache
    def units(text: str) -> list[str]:
        return separate_words(normalize(text)).split()

    aligned = {}
    for when, rows in scored.predictions.items():
        words = align_units([units(one.reference) for one in rows], [units(one.hypothesis) for one in rows])
        aligned[when] = tuple(map(AlignedUtterance, rows, words))
    return aligned


def _of_utterances(scored: Scored, sources: Mapping[str, Scored]) -> Iterator[Dimension]:
    yield Dimension(
        "duration", by_number(scored, lambda one: one.duration_s, DURATIONS_S, "s"), "nothing was scored"
    )
    yield Dimension(
        "snr", by_number(scored, lambda one: one.snr_db, SNRS_DB, "dB"), "no recording has noise to measure"
    )
    rates = by_number(scored, speaking_rate, rate_bounds(scored), "letters/s")
    yield Dimension("speaking_rate", rates, "no durations are known")
    yield Dimension("speaker", by_name(scored, lambda one: one.speaker_id), "the rows name no speakers")
    yield Dimension("language", by_name(scored, lambda one: one.language), "the rows name no language")
    named = {MAIN: scored, **sources}
    yield Dimension("source", ((name, one.tallies) for name, one in named.items()), "nothing was scored")


def _of_words(
    scored: Scored,
    aligned: Aligned,
    normalize: Callable[[str], str],
    training_words: Mapping[str, int] | None,
) -> Iterator[Dimension]:
    references = [one.reference for one in scored.utterances]
    case, marks = has_case(references), has_marks(references)
    yield Dimension("position", by_position(aligned), "nothing was said")
    rarity = by_rarity(aligned, training_words) if training_words is not None else iter(())
    yield Dimension("rarity", rarity, "the words of the training text were not counted", least=1)
    yield Dimension("kind", by_kind(aligned, normalize, has_case=case), "nothing was said", least=1)
    writing = by_writing(scored.predictions, case=case, marks=marks)
    yield Dimension("writing", writing, "the references have neither case nor marks", least=1)
