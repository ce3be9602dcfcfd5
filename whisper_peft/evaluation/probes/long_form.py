"""Word errors of recordings of a minute or two, heard window by window."""

from __future__ import annotations

from collections.abc import Sequence

from whisper_peft.errors import EvaluationError
from whisper_peft.evaluation.generation import AudioContext
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.probes.stitched import Stitched
from whisper_peft.evaluation.scoring import score
from whisper_peft.evaluation.transcription import transcribe_waveforms
from whisper_peft.model.loading import Whisper
from whisper_peft.types import SAMPLING_RATE, LongFormProbe


def probe_long_form(
    whisper: Whisper,
    recordings: Sequence[Stitched],
    *,
    task: str = "transcribe",
    normalizer: str = "auto",
    audio_context: AudioContext = "full",
    batch_size: int = 8,
) -> LongFormProbe:
    """Transcribe long recordings, each window alone and each told the text before it.

    Args:
        whisper: Model and companions.
        recordings: Of any length.
        task: transcribe or translate.
        normalizer: Of the text that is compared.
        audio_context: full: 30 s; cut: as long as the speech.
        batch_size: Recordings transcribed together.

    Raises:
        EvaluationError: If there are no recordings.
    """
    if not recordings:
        raise EvaluationError("there are no recordings to transcribe", "the split is too short")
    rates = [
        _error_rate(whisper, recordings, told, task, normalizer, audio_context, batch_size)
        for told in (False, True)
    ]
    seconds = sum(len(one.waveform) for one in recordings) / SAMPLING_RATE
    return LongFormProbe(len(recordings), seconds, wer=rates[0], wer_previous_text=rates[1])


def _error_rate(
    whisper: Whisper,
    recordings: Sequence[Stitched],
    previous_text: bool,
    task: str,
    normalizer: str,
    audio_context: AudioContext,
    batch_size: int,
) -> float:
    hypotheses: dict[int, str] = {}
    languages = dict.fromkeys(one.language for one in recordings)
    for language in languages:
        places = [place for place, one in enumerate(recordings) if one.language == language]
        transcripts = transcribe_waveforms(
            whisper,
            [recordings[place].waveform for place in places],
            language=language,
            task=task,
            audio_context=audio_context,
            batch_size=batch_size,
            previous_text=previous_text,
        )
        hypotheses |= {place: one.text for place, one in zip(places, transcripts, strict=True)}
    written = "en" if task == "translate" else next(iter(languages)) if len(languages) == 1 else "several"
    references = [one.text for one in recordings]
    ordered = [hypotheses[place] for place in range(len(recordings))]
    return score(references, ordered, normalizer=get_normalizer(normalizer, written or "en")).wer
