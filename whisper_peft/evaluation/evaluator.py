"""Score a model on a split: decode, transcribe in batches of like length, gather over processes, compare."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch.distributed

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.survey.acoustics import signal_to_noise_db
from whisper_peft.errors import AudioError, EvaluationError
from whisper_peft.evaluation.generation import check_language, generate
from whisper_peft.evaluation.halves import in_halves
from whisper_peft.evaluation.length_batches import batches_by_length
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import Scores, score
from whisper_peft.evaluation.style import style_profile
from whisper_peft.evaluation.units import has_spaceless
from whisper_peft.measuring import Stopwatch, peak_memory_bytes
from whisper_peft.model.adapters.folding import folded
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import EvalSection
from whisper_peft.types import WINDOW_S, EvalResult, Prediction, Utterance

TOO_LONG = "too-long"


class EvaluationAbandoned(Exception):  # noqa: N818 - no error: somebody wants an end
    """Raised by a `progress` callback to give an evaluation up; all processes raise it then."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """One transcribed utterance; `place` is its number in the split."""

    place: int
    utterance_id: str
    reference: str
    hypothesis: str
    duration_s: float
    speaker_id: str | None
    language: str | None
    task: str
    source: str | None
    looping: bool
    snr_db: float | None
    mean_log_probability: float | None

    @property
    def written_in(self) -> str | None:
        """Language of the transcript: translations are English."""
        return "en" if self.task == "translate" else self.language


@dataclass(slots=True)
class _Share:
    """What one process has transcribed."""

    heard: list[_Heard] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    abandoned: bool = False


def evaluate_utterances(
    whisper: Whisper,
    utterances: Iterable[Utterance],
    *,
    section: EvalSection,
    language: str | None,
    task: str,
    rank: int = 0,
    world_size: int = 1,
    progress: Callable[[int], None] | None = None,
) -> EvalResult:
    """Transcribe a split greedily (or by beam search) and compare with its text.

    Each of several processes transcribes a share, and all return the same result. Recordings that cannot be
    used are counted by reason. `peak_memory_bytes` is the peak so far of the largest process.

    Args:
        whisper: Model and companions; may be in the middle of training.
        utterances: A sequence or a source; audio is decoded here, a batch at a time.
        section: Batch size, normaliser, audio context and the like.
        language: Language of rows that have none of their own.
        task: transcribe or translate, for rows that have none of their own.
        rank: Number of this process.
        world_size: Number of processes; over 1, `torch.distributed` must be initialised.
        progress: Called after each batch with the number of utterances done so far, by all processes
            together; it may raise `EvaluationAbandoned`.

    Raises:
        EvaluationError: If nothing can be scored.
        DataError: If a language is unknown, missing, or not one that the checkpoint is told.
        EvaluationAbandoned: If `progress` of any process raises it.
    """
    rows = _with_language(whisper, draw_evenly(utterances, section.max_utterances), language)
    mine = ((place, row) for place, row in enumerate(rows) if place % world_size == rank)
    share = _Share()
    watch = Stopwatch()
    try:
        with folded(whisper):
            for batch in batches_by_length(
                mine, batch_size=section.batch_size, audio_context=section.audio_context
            ):
                heard = list(_decoded(batch, share.skipped))
                with watch:
                    share.heard += in_halves(heard, lambda rows: _transcribe(whisper, rows, section, task))
                if progress is not None:
                    progress((len(share.heard) + share.skipped.total()) * world_size)
    except EvaluationAbandoned:  # told to the other processes, which would wait for this one's share
        share.abandoned = True
    share.seconds, share.peak_memory_bytes = watch.seconds, peak_memory_bytes()
    return _result(_gather(share, world_size), section)


def draw_evenly(utterances: Iterable[Utterance], limit: int | None) -> Iterator[Utterance]:
    """Yield at most `limit` utterances, evenly spaced over a split of any length, in its order.

    At most twice as many are held, so a stream need not say how long it is.

    Example:
        >>> rows = [Utterance(str(n), b"", "") for n in range(10)]
        >>> [row.id for row in draw_evenly(rows, 4)]
        ['0', '2', '4', '6']
    """
    if limit is None:
        yield from utterances
        return
    stride, kept = 1, []
    for place, utterance in enumerate(utterances):
        if place % stride == 0:
            kept.append(utterance)
        if len(kept) > 2 * limit:
            stride, kept = 2 * stride, kept[::2]
    drawn = min(limit, len(kept))
    yield from (kept[number * len(kept) // drawn] for number in range(drawn))


def _with_language(
    whisper: Whisper, utterances: Iterable[Utterance], language: str | None
) -> Iterator[Utterance]:
    """Give every row its language. All processes see all rows here, so a wrong one stops them together."""
    for utterance in utterances:
        yield replace(utterance, language=check_language(whisper, utterance.language or language))


def _decoded(
    batch: Sequence[tuple[int, Utterance]], skipped: Counter[str]
) -> Iterator[tuple[int, Utterance]]:
    for place, utterance in batch:
        try:
            decoded = decode(utterance)
        except AudioError as error:
            skipped[error.reason] += 1
            continue
        if decoded.duration_s is not None and decoded.duration_s > WINDOW_S:
            skipped[TOO_LONG] += 1
            continue
        yield place, decoded


def _transcribe(
    whisper: Whisper,
    rows: Sequence[tuple[int, Utterance]],
    section: EvalSection,
    task: str,
) -> list[_Heard]:
    tasks = [row.task or task for _, row in rows]
    generations = generate(
        whisper,
        [row.waveform for _, row in rows],
        language=[row.language for _, row in rows],
        task=tasks,
        audio_context=section.audio_context,
        num_beams=section.num_beams,
    )
    return [
        _Heard(
            place=place,
            utterance_id=row.id,
            reference=row.text,
            hypothesis=generation.text,
            duration_s=row.duration_s or 0.0,
            speaker_id=row.speaker_id,
            language=row.language,
            task=asked,
            source=row.source,
            looping=generation.looping,
            snr_db=signal_to_noise_db(row.waveform),
            mean_log_probability=generation.mean_log_probability,
        )
        for (place, row), asked, generation in zip(rows, tasks, generations, strict=True)
    ]


def _gather(share: _Share, world_size: int) -> _Share:
    """Return all processes' shares as one, in the split's order, unless one was abandoned."""
    shares: list[_Share] = [share] * world_size
    if world_size > 1:
        torch.distributed.all_gather_object(shares, share)
    if any(part.abandoned for part in shares):
        raise EvaluationAbandoned
    heard = sorted(itertools.chain.from_iterable(part.heard for part in shares), key=lambda row: row.place)
    return _Share(
        heard=heard,
        skipped=sum((part.skipped for part in shares), Counter()),
        seconds=max(part.seconds for part in shares),
        peak_memory_bytes=max(part.peak_memory_bytes for part in shares),
    )


def _result(share: _Share, section: EvalSection) -> EvalResult:
    if not share.heard:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(share.skipped.items()))
        raise EvaluationError(
            "there are no utterances to score",
            f"none of the recordings can be used: {reasons}" if reasons else "the split is empty",
            "check data.source and data.eval",
        )
    languages = {row.language for row in share.heard}
    language = languages.pop() if len(languages) == 1 else None
    # Several languages at once share the normaliser that harms none.
    written = {row.written_in for row in share.heard}
    scores = score(
        [row.reference for row in share.heard],
        [row.hypothesis for row in share.heard],
        normalizer=get_normalizer(section.normalizer, written.pop() if len(written) == 1 else "several"),
        bootstrap_samples=section.bootstrap_samples,
    )
    audio_seconds = sum(row.duration_s for row in share.heard)
    return EvalResult(
        wer=scores.wer,
        cer=scores.cer,
        wer_raw=scores.wer_raw,
        cer_raw=scores.cer_raw,
        wer_interval=scores.wer_interval,
        utterances=len(share.heard),
        normalizer=scores.normalizer,
        language=language,
        audio_context=section.audio_context,
        rtfx=audio_seconds / share.seconds,
        peak_memory_bytes=share.peak_memory_bytes,
        substitutions=scores.words.substitutions,
        deletions=scores.words.deletions,
        insertions=scores.words.insertions,
        hits=scores.words.hits,
        audio_seconds=audio_seconds,
        looping=sum(row.looping for row in share.heard),
        style=style_profile(row.hypothesis for row in share.heard),
        characters_as_words=any(has_spaceless(row.reference) for row in share.heard),
        skipped=dict(share.skipped),
        predictions=tuple(_predictions(share.heard, scores)),
    )


def _predictions(heard: Sequence[_Heard], scores: Scores) -> Iterator[Prediction]:
    for row, scored in zip(heard, scores.rows, strict=True):
        yield Prediction(
            id=row.utterance_id,
            reference=row.reference,
            hypothesis=row.hypothesis,
            duration_s=row.duration_s,
            wer=scored.words.rate,
            substitutions=scored.words.substitutions,
            deletions=scored.words.deletions,
            insertions=scored.words.insertions,
            hits=scored.words.hits,
            speaker_id=row.speaker_id,
            language=row.language,
            source=row.source,
            snr_db=row.snr_db,
            mean_log_probability=row.mean_log_probability,
            looping=row.looping,
        )
