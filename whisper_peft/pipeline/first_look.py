"""What a run notices of its speech before it learns, without opening a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from whisper_peft.data.findings import Leak
from whisper_peft.data.row_facts import known_facts
from whisper_peft.data.sources import Source
from whisper_peft.data.survey import Survey
from whisper_peft.pipeline.speech import TrainingRows
from whisper_peft.reporting.figures import count, share
from whisper_peft.reporting.findings_text import leak_sentence
from whisper_peft.types import Utterance

NOTABLE_SHARE = 0.01
"""Sentences and speakers that fewer scored rows share with the training rows are not worth a line."""

SCORED, TRAINED = "eval", "train"


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What the training rows share with the scored ones, and which of them stand out.

    Attributes:
        rows: Training rows.
        standing_out: Those that stand out, and
        concerns: by reason.
    """

    rows: int
    standing_out: int
    leaks: tuple[Leak, ...]
    concerns: dict[str, int]

    def sentences(self) -> Iterator[str]:
        """Yield what is notable, a line each."""
        for leak in self.leaks:
            if leak.by == "audio" or leak.share >= NOTABLE_SHARE:
                yield leak_sentence(leak)
        if self.concerns:
            named = ", ".join(f"{rows} {reason}" for reason, rows in self.concerns.items())
            part = share(self.standing_out / self.rows)
            yield f"{part} of {count(self.rows)} training rows stand out ({named}); see whisper-peft inspect"


def looked_over(rows: TrainingRows, scored: Source) -> tuple[TrainingRows, tuple[str, ...]]:
    """Return the rows with what stands out in their record, and what is notable, a line each.

    Streams pass unseen: looking through one takes as long as learning from it.
    """
    if rows.check is None or scored.is_stream:
        return rows, ()
    look = look_first(rows.check.kept, scored)
    shared = {leak.by: leak.share for leak in look.leaks}
    found = {"standing_out": look.concerns, "scored_share_trained_on": shared}
    return replace(rows, record=rows.record.model_copy(update=found)), tuple(look.sentences())


def look_first(trained: Iterable[Utterance], scored: Iterable[Utterance]) -> FirstLook:
    """Look at what rows say of themselves: texts, speakers, and durations where they are known.

    Example:
        >>> from pathlib import Path
        >>> rows = [Utterance(str(n), Path(f"{n}.wav"), f"sentence {n}", speaker_id="ann") for n in range(4)]
        >>> list(look_first(rows[:3], rows[3:]).sentences())
        ['1 rows of eval (100.0 %) have a speaker of train: a score tells little of new voices']
    """
    survey = Survey((SCORED, TRAINED))
    for split, rows in enumerate((scored, trained)):
        for row in rows:
            survey.add(known_facts(row, split))
    survey.finish()
    suspects = [one for one in survey.suspects() if one.split == TRAINED]
    concerns = Counter(reason.name for one in suspects for reason in one.reasons)
    return FirstLook(survey.split_figures()[1].usable, len(suspects), survey.leaks(), dict(concerns))
