"""What a run notices of its speech before it learns, without opening a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from whisper_peft.data.sources.opening import Source
from whisper_peft.data.survey.findings import Leak, Suspect
from whisper_peft.data.survey.row_facts import known_facts
from whisper_peft.data.survey.survey import Survey, SurveyedSplit
from whisper_peft.pipeline.runs.speech import TrainingRows
from whisper_peft.reporting.console.findings_text import leak_sentence
from whisper_peft.reporting.figures import count, share
from whisper_peft.types import Utterance

NOTHING_MIXED: Mapping[str, Iterable[Utterance]] = {}

NOTABLE_SHARE = 0.01
"""Sentences and speakers that fewer scored rows share with the training rows are not worth a line."""

SCORED, TRAINED = SurveyedSplit("eval", is_scored=True), SurveyedSplit("train", is_scored=False)


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What the training rows share with the scored ones, and which of them stand out.

    Attributes:
        rows: Training rows.
        suspects: Those that stand out, the gravest first, and
        concerns: how many, by reason.
    """

    rows: int
    suspects: tuple[Suspect, ...]
    leaks: tuple[Leak, ...]
    concerns: dict[str, int]

    def sentences(self) -> Iterator[str]:
        """Yield what is notable, a line each."""
        for leak in self.leaks:
            if leak.by == "audio" or leak.share >= NOTABLE_SHARE:
                yield leak_sentence(leak)
        if self.concerns:
            named = ", ".join(f"{rows} {reason}" for reason, rows in self.concerns.items())
            part = share(len(self.suspects) / self.rows)
            yield f"{part} of {count(self.rows)} training rows stand out ({named}); see whisper-peft inspect"


def looked_over(rows: TrainingRows, scored: Source) -> tuple[TrainingRows, tuple[str, ...]]:
    """Return the rows with what stands out in their record, and what is notable, a line each.

    Streams pass unseen: looking through one takes as long as learning from it.
    """
    if rows.check is None or scored.is_stream:
        return rows, ()
    mixed = {one.speech.name: one.check.kept for one in rows.mixed if one.check is not None}
    look = look_first(rows.check.kept, scored, mixed)
    by_share = sorted(look.leaks, key=lambda leak: leak.share)
    shared = {leak.by: leak.share for leak in by_share}  # of several sources, the one that shares most
    found = {"standing_out": look.concerns, "scored_share_trained_on": shared}
    record = rows.record.model_copy(update=found)
    return replace(rows, record=record, suspects=look.suspects), tuple(look.sentences())


def look_first(
    trained: Iterable[Utterance],
    scored: Iterable[Utterance],
    mixed: Mapping[str, Iterable[Utterance]] = NOTHING_MIXED,
) -> FirstLook:
    """Look at what rows say of themselves: texts, speakers, and durations where they are known.

    Args:
        trained: Rows of the main source to learn from.
        scored: Its rows to score.
        mixed: Rows of other sources to learn from, by name: what they share with the scored ones is told.

    Example:
        >>> from pathlib import Path
        >>> rows = [Utterance(str(n), Path(f"{n}.wav"), f"sentence {n}", speaker_id="ann") for n in range(4)]
        >>> list(look_first(rows[:3], rows[3:]).sentences())
        ['1 rows of eval (100.0 %) have a speaker of train: a score tells little of new voices']
    """
    splits = [SCORED, TRAINED, *(SurveyedSplit("train", is_scored=False, source=name) for name in mixed)]
    survey = Survey(splits)
    for split, rows in enumerate((scored, trained)):
        for row in rows:
            survey.add(known_facts(row, split))
    survey.finish()
    for split, rows in enumerate(mixed.values(), 2):
        for row in rows:
            survey.compare(known_facts(row, split))
    suspects = tuple(one for one in survey.suspects() if one.split == TRAINED.name)
    concerns = Counter(reason.name for one in suspects for reason in one.reasons)
    return FirstLook(survey.split_figures()[1].usable, suspects, survey.leaks(), dict(concerns))
