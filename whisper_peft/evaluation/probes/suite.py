"""All probes of a model on one split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.targets.no_speech import Quiet
from whisper_peft.errors import AudioError
from whisper_peft.evaluation.evaluator import draw_evenly
from whisper_peft.evaluation.generation import check_language
from whisper_peft.evaluation.probes.long_form import probe_long_form
from whisper_peft.evaluation.probes.silence import probe_silence, quiet_clips
from whisper_peft.evaluation.probes.stitched import stitch_recordings, stitch_windows
from whisper_peft.evaluation.probes.timestamps import probe_timestamps
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import EvalSection
from whisper_peft.types import WINDOW_S, Probes, Utterance

MOST_UTTERANCES = 100
"""Utterances, drawn evenly over the split, that are stitched: half an hour of speech at most."""

SHORTEST_RECORDING_S = 60.0
"""Long recordings last from here on, up to an utterance more."""

SILENT_CLIPS = 40


def run_probes(
    whisper: Whisper,
    utterances: Iterable[Utterance],
    *,
    section: EvalSection,
    language: str | None,
    task: str,
) -> Probes:
    """Measure timestamps, long recordings and words on silence.

    A split shorter than a minute has no long recordings to measure.

    Args:
        whisper: Model and companions; may be in the middle of training.
        utterances: A split; those with a task of their own other than `task` are left out.
        section: Audio context, normaliser, batch size, and where clips without speech come from.
        language: Language of rows that have none of their own, and of the silent clips.
        task: transcribe or translate.

    Raises:
        DataError: If a language is unknown, missing, or not one that the checkpoint is told.
    """
    limit = min(section.max_utterances or MOST_UTTERANCES, MOST_UTTERANCES)
    rows = list(_decoded(whisper, draw_evenly(utterances, limit), language, task))
    told = language or (rows[0].language if rows else None)
    context, batch_size = section.audio_context, section.batch_size
    long_form = None
    if recordings := stitch_recordings(rows, SHORTEST_RECORDING_S):
        long_form = probe_long_form(
            whisper,
            recordings,
            task=task,
            normalizer=section.normalizer,
            audio_context=context,
            batch_size=batch_size,
        )
    clips = quiet_clips(SILENT_CLIPS, Quiet.of(section.no_speech_source, "eval.no_speech_source"))
    return Probes(
        timestamps=probe_timestamps(
            whisper, stitch_windows(rows), task=task, audio_context=context, batch_size=batch_size
        ),
        long_form=long_form,
        silence=probe_silence(
            whisper, clips, language=told, task=task, audio_context=context, batch_size=batch_size
        ),
    )


def _decoded(
    whisper: Whisper, utterances: Iterable[Utterance], language: str | None, task: str
) -> Iterator[Utterance]:
    for utterance in utterances:
        if (utterance.task or task) != task:
            continue
        with suppress(AudioError):
            spoken = check_language(whisper, utterance.language or language)
            decoded = replace(decode(utterance), language=spoken)
            if (decoded.duration_s or 0.0) <= WINDOW_S:
                yield decoded
