"""From everything that is known of a run to its checks, in the order of a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from whisper_peft.evaluation.health.checks import not_measured
from whisper_peft.evaluation.health.evidence import Hearing, Pair
from whisper_peft.evaluation.health.sound_checks import (
    check_hallucination,
    check_long_form,
    check_timestamps,
)
from whisper_peft.evaluation.health.speech_checks import (
    check_language,
    check_leakage,
    check_retention,
    check_target,
)
from whisper_peft.evaluation.health.values import Check
from whisper_peft.evaluation.health.version_checks import check_context, check_quantised
from whisper_peft.evaluation.health.writing_checks import check_loops, check_style
from whisper_peft.types import EvalResult, MergeResult


@dataclass(frozen=True)
class Evidence:
    """What is known of a run.

    Attributes:
        target: The scored split; None where it was not scored before and after.
        others: Other speech.
        missing: Why other speech was not heard, by its name.
        before: What the untuned model wrote, and
        after: what the tuned one did; None where nothing could be heard,
        unheard: and why.
        joined: What speech was joined to windows and recordings, where it is not the scored one.
        leaked_recordings: Ids of scored rows whose recording was learned; None where nobody could look.
        leaked_sentences: Ids of those whose sentence was.
        full: Scores of the tuned model at full context, and
        cut: at cut context.
        contexts: Its utterances at full and at cut context; None where a run did not keep them.
        rounded: Utterances in float and in rounded weights,
        unrounded: or why there are none.
        quantize: How the weights were held while training.
        merge: What merging found.
        task: transcribe or translate.
        multilingual: Whether the model knows other languages than English.
    """

    target: Pair | None
    others: tuple[Pair, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    before: Hearing | None = None
    after: Hearing | None = None
    unheard: str = ""
    joined: str = ""
    leaked_recordings: frozenset[str] | None = None
    leaked_sentences: frozenset[str] = frozenset()
    full: EvalResult | None = None
    cut: EvalResult | None = None
    contexts: Pair | None = None
    rounded: Pair | None = None
    unrounded: str = ""
    quantize: str = "none"
    merge: MergeResult | None = None
    task: str = "transcribe"
    multilingual: bool = False


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """Return every check; what could not be measured says so."""
    return tuple(_checks(evidence))


def _checks(evidence: Evidence) -> Iterator[Check]:
    heard = evidence.others if evidence.target is None else (evidence.target, *evidence.others)
    yield check_target(evidence.target)
    yield check_leakage(evidence.target, evidence.leaked_recordings, evidence.leaked_sentences)
    yield from map(check_retention, evidence.others)
    for name, why in evidence.missing.items():
        yield not_measured("retention", why, subject=name)
    if not (evidence.others or evidence.missing):
        yield not_measured("retention", evidence.unheard or "no other speech was heard")
    if evidence.multilingual:
        yield from (check_language(pair, evidence.task) for pair in heard)
    yield from map(check_style, heard)
    yield check_loops(heard)
    yield from _of_sounds(evidence)
    yield check_context(evidence.full, evidence.cut, evidence.contexts)
    yield check_quantised(evidence.rounded, evidence.merge, evidence.quantize, evidence.unrounded)


def _of_sounds(evidence: Evidence) -> Iterator[Check]:
    before, after = evidence.before, evidence.after
    if before is None or after is None:
        for name in ("hallucination", "long_form", "timestamps"):
            yield not_measured(name, evidence.unheard)
        return
    yield check_hallucination(before.sounds, after.sounds)
    yield replace(check_long_form(before.joined, after.joined, evidence.target), subject=evidence.joined)
    yield replace(check_timestamps(before.windows, after.windows), subject=evidence.joined)
