"""One worker at a corpus: the model, loaded once, and what it writes of a shard of undecoded rows."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import soundfile

from whisper_peft.data.audio.decoding import decode
from whisper_peft.deploy.serving.voice_activity import cut_at_pauses
from whisper_peft.errors import AudioError, DataError
from whisper_peft.evaluation.certainty import Certainty, certainties
from whisper_peft.evaluation.generation import (
    AudioContext,
    Generation,
    check_language,
    decode_states,
    decoder_prefix,
    encode,
    listening,
)
from whisper_peft.evaluation.halves import in_halves
from whisper_peft.evaluation.length_batches import batches_by_length
from whisper_peft.evaluation.long_form import compression_ratio
from whisper_peft.model.adapters.folding import folded
from whisper_peft.model.loading import load_run_or_model
from whisper_peft.pipeline.corpora.corpus_folder import recording_place
from whisper_peft.pipeline.corpora.labelled_rows import LabelledRow
from whisper_peft.recipe.sections import ModelSection
from whisper_peft.types import SAMPLING_RATE, Utterance, Waveform

Heard: TypeAlias = tuple[LabelledRow, bytes | None]
"""A row, and its recording as FLAC where that lies in no file."""


@dataclass(frozen=True)
class Hearing:
    """How a corpus is heard; it travels to the workers.

    Attributes:
        run_or_model: What to load.
        model: Fields of the model section that were named.
        language: Language of rows that have none of their own.
        task: transcribe or translate, for rows that have none of their own.
        audio_context: full: 30 s; cut: as long as the speech.
        batch_size: Clips heard together at 30 s context.
    """

    run_or_model: str
    model: Mapping[str, Any] = field(default_factory=dict)
    language: str | None = None
    task: str = "transcribe"
    audio_context: AudioContext = "full"
    batch_size: int = 8


@dataclass(frozen=True, slots=True)
class _Clip:
    """At most 30 s of a row, decoded; start and end are of the recording, None for the whole of it.

    `is_only` tells that the row has no other.
    """

    row: Utterance
    waveform: Waveform
    language: str
    start_s: float | None
    end_s: float | None
    is_only: bool

    @property
    def id(self) -> str:
        """The row's name, with its start where the row is cut."""
        return self.row.id if self.is_only else f"{self.row.id}@{self.start_s:g}"


class Listener:
    """A model at work.

    Args:
        hearing: What to load and how to hear.
    """

    def __init__(self, hearing: Hearing) -> None:
        self.hearing = hearing
        self.whisper = load_run_or_model(hearing.run_or_model, ModelSection(**hearing.model))
        if hearing.language is not None:
            check_language(self.whisper, hearing.language)

    def hear(self, rows: Sequence[Utterance]) -> list[Heard]:
        """Write down a shard of undecoded rows; those that cannot be used come back with their reason.

        Raises:
            DataError: If a row has no language and none was given, and the model must be told one.
        """
        found: list[Heard] = []
        batches = batches_by_length(
            iter(enumerate(rows)),
            batch_size=self.hearing.batch_size,
            audio_context=self.hearing.audio_context,
        )
        with folded(self.whisper), listening(self.whisper):
            for batch in batches:
                clips = self._clips([row for _, row in batch], found)
                while chunk := list(itertools.islice(clips, max(len(batch), self.hearing.batch_size))):
                    found += in_halves(chunk, self._write_down)
        return found

    def _clips(self, rows: Sequence[Utterance], refused: list[Heard]) -> Iterator[_Clip]:
        """Decode one row after the other; a longer recording than 30 s is cut where nobody speaks."""
        for row in rows:
            try:
                language = self._language_of(row)
                decoded = decode(row)
            except AudioError as error:
                refused.append((_unusable(row, error.reason), None))
                continue
            pieces = cut_at_pauses(decoded.waveform)
            if not pieces:
                refused.append((_unusable(row, "silent"), None))
            is_whole = row.end_s is None and row.start_s == 0 and len(pieces) == 1
            is_whole = is_whole and pieces[0].stop - pieces[0].start == len(decoded.waveform)
            for piece in pieces:
                start_s = row.start_s + piece.start_s
                end_s = row.start_s + piece.stop / SAMPLING_RATE
                waveform = decoded.waveform[piece.start : piece.stop]
                yield _Clip(
                    row,
                    waveform,
                    language,
                    start_s=None if is_whole else start_s,
                    end_s=None if is_whole else end_s,
                    is_only=len(pieces) == 1,
                )

    def _language_of(self, row: Utterance) -> str:
        if row.language is None:
            return check_language(self.whisper, self.hearing.language)
        try:
            return check_language(self.whisper, row.language)
        except DataError as error:
            raise AudioError(error.what, error.why, error.todo, reason="unknown-language") from None

    def _write_down(self, clips: Sequence[_Clip]) -> list[Heard]:
        tasks = [clip.row.task or self.hearing.task for clip in clips]
        prefixes = [
            decoder_prefix(self.whisper, clip.language, task) for clip, task in zip(clips, tasks, strict=True)
        ]
        states = encode(
            self.whisper, [clip.waveform for clip in clips], audio_context=self.hearing.audio_context
        )
        seconds = [len(clip.waveform) / SAMPLING_RATE for clip in clips]
        generations = decode_states(self.whisper, states, prefixes, seconds=seconds)
        sure = certainties(self.whisper, states, prefixes, generations)
        return [_heard(*one) for one in zip(clips, tasks, generations, sure, strict=True)]


def _heard(clip: _Clip, task: str, generation: Generation, sure: Certainty) -> Heard:
    row = clip.row
    heard = LabelledRow(
        id=clip.id,
        source_id=row.id,
        audio=str(row.audio.absolute()) if isinstance(row.audio, Path) else recording_place(clip.id),
        start=clip.start_s,
        end=clip.end_s,
        text=generation.text,
        language=clip.language,
        task=task,
        speaker_id=row.speaker_id,
        duration_s=round(len(clip.waveform) / SAMPLING_RATE, 3),
        reference=(row.text or None) if clip.is_only else None,
        confidence=round(sure.confidence, 4),
        mean_log_probability=round(sure.mean_log_probability, 4),
        no_speech_probability=round(sure.no_speech_probability, 4),
        compression_ratio=round(compression_ratio(generation.text), 3),
        looping=generation.looping,
    )
    if isinstance(row.audio, Path):
        return heard, None
    return replace(heard, start=None, end=None), _flac(clip.waveform)


def _flac(waveform: Waveform) -> bytes:
    sink = io.BytesIO()
    soundfile.write(sink, waveform, SAMPLING_RATE, format="FLAC")
    return sink.getvalue()


def _unusable(row: Utterance, reason: str) -> LabelledRow:
    audio = str(row.audio) if isinstance(row.audio, Path) else None
    return LabelledRow(row.id, row.id, audio, speaker_id=row.speaker_id, reason=reason)
