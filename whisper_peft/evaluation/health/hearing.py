"""What a model writes for the material of a health check; each model hears the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from whisper_peft.data.text.language_profiles import known_profiles, nearest_languages, profile
from whisper_peft.evaluation.error_analysis.alignment import align_units
from whisper_peft.evaluation.evaluator import evaluate_utterances
from whisper_peft.evaluation.generation import (
    Generation,
    decode_states,
    decoder_prefix,
    encode,
    listening,
    token_id,
)
from whisper_peft.evaluation.health.evidence import (
    ExpectedTimestamp,
    Hearing,
    JoinedUtterance,
    Sound,
    TimedWindow,
    Written,
)
from whisper_peft.evaluation.health.expected_timestamps import expected_timestamps
from whisper_peft.evaluation.health.sounds import SoundClip
from whisper_peft.evaluation.long_form import find_silent_windows, no_speech_probabilities
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.probes.stitched import Stitched
from whisper_peft.evaluation.probes.timestamps import boundary_distances, is_well_formed
from whisper_peft.evaluation.transcription import transcribe_waveforms
from whisper_peft.evaluation.units import separate_words
from whisper_peft.model.adapters.folding import folded
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import EvalSection
from whisper_peft.types import SAMPLING_RATE, Utterance, Waveform

SOUND_S = 0.0
"""A clip without speech is let write what no speech at all may: 64 tokens tell enough."""

LEAST_WORDS = 30
"""Of fewer words nobody can tell the language."""


@dataclass(frozen=True)
class Material:
    """What both models hear.

    Attributes:
        retention: Other speech, by its name.
        sounds: Clips without speech.
        windows: Utterances of the scored split joined to windows of up to 30 s.
        recordings: The same, joined to recordings of a minute and more.
    """

    retention: Mapping[str, Sequence[Utterance]] = field(default_factory=dict)
    sounds: Sequence[SoundClip] = ()
    windows: Sequence[Stitched] = ()
    recordings: Sequence[Stitched] = ()


def hear(
    whisper: Whisper, material: Material, *, section: EvalSection, language: str | None, task: str
) -> Hearing:
    """Let a model write down everything.

    Args:
        whisper: Model and companions.
        material: What it hears.
        section: Batch size, normaliser and audio context.
        language: Language of rows that have none of their own, and of clips without speech.
        task: transcribe or translate.

    Raises:
        DataError: If a language is unknown, missing, or not one that the checkpoint is told.
    """
    every = section.model_copy(update={"max_utterances": None})
    scored = {
        name: evaluate_utterances(whisper, rows, section=every, language=language, task=task).predictions
        for name, rows in material.retention.items()
    }
    with folded(whisper):
        return Hearing(
            retention=scored,
            sounds=tuple(_hear_sounds(whisper, material.sounds, section, language, task)),
            windows=tuple(_hear_windows(whisper, material.windows, section, task)),
            joined=tuple(_hear_recordings(whisper, material.recordings, section, task)),
        )


def _hear_sounds(
    whisper: Whisper, clips: Sequence[SoundClip], section: EvalSection, language: str | None, task: str
) -> Iterator[Sound]:
    prefix = decoder_prefix(whisper, language, task)
    for start in range(0, len(clips), section.batch_size):
        batch = clips[start : start + section.batch_size]
        prefixes, waveforms = [prefix] * len(batch), [clip.waveform for clip in batch]
        with listening(whisper):
            states = encode(whisper, waveforms, audio_context=section.audio_context)
            written = decode_states(whisper, states, prefixes, seconds=[SOUND_S] * len(batch))
            silent = find_silent_windows(whisper, states, prefixes, written)
            chances = no_speech_probabilities(whisper, states, prefixes)
        for clip, one, is_silent, chance in zip(batch, written, silent, chances, strict=True):
            yield Sound(clip.kind, one.text, not is_silent, chance)


def _hear_windows(
    whisper: Whisper, windows: Sequence[Stitched], section: EvalSection, task: str
) -> Iterator[TimedWindow]:
    """Ask for timestamps without Whisper's rules for them, which would force them: the first one is given."""
    begin = token_id(whisper, "<|notimestamps|>") + 1
    for start in range(0, len(windows), section.batch_size):
        batch = windows[start : start + section.batch_size]
        prefixes = [
            [*decoder_prefix(whisper, window.language, task, timestamps=True), begin] for window in batch
        ]
        waveforms = [window.waveform for window in batch]
        with listening(whisper):
            states = encode(whisper, waveforms, audio_context=section.audio_context)
            written = decode_states(whisper, states, prefixes, seconds=_seconds(waveforms))
            expected = expected_timestamps(whisper, states, prefixes, batch)
        for window, one, held in zip(batch, written, expected, strict=True):
            yield _timed(window, one, held, begin)


def _timed(
    window: Stitched, written: Generation, expected: tuple[ExpectedTimestamp, ...], begin: int
) -> TimedWindow:
    tokens, ends_s = [begin, *written.tokens], window.ends_s
    formed = not written.looping and is_well_formed(tokens, begin=begin, end_s=ends_s[-1])
    distances = boundary_distances(tokens, ends_s[:-1], begin=begin, end_s=ends_s[-1])
    stamps = sum(token >= begin for token in written.tokens)
    return TimedWindow(stamps, formed, tuple(distances), expected)


def _seconds(waveforms: Sequence[Waveform]) -> list[float]:
    return [len(waveform) / SAMPLING_RATE for waveform in waveforms]


def _hear_recordings(
    whisper: Whisper, recordings: Sequence[Stitched], section: EvalSection, task: str
) -> Iterator[JoinedUtterance]:
    for language in dict.fromkeys(one.language for one in recordings):
        alike = [one for one in recordings if one.language == language]
        transcripts = transcribe_waveforms(
            whisper,
            [one.waveform for one in alike],
            language=language,
            task=task,
            audio_context=section.audio_context,
            batch_size=section.batch_size,
        )
        written_in = "en" if task == "translate" else language
        normalize = get_normalizer(section.normalizer, written_in)
        for recording, transcript in zip(alike, transcripts, strict=True):
            texts = [normalize(one.text) for one in recording.utterances]
            counts = errors_by_part(texts, normalize(transcript.text))
            for one, (errors, words) in zip(recording.utterances, counts, strict=True):
                yield JoinedUtterance(one.id, errors, words)


def errors_by_part(parts: Sequence[str], written: str) -> list[tuple[int, int]]:
    """Return the word errors and words of each part of a text that was written down as a whole.

    A word that was added counts where the next word lies.

    Example:
        >>> errors_by_part(["a b c", "d e"], "a x c so d")
        [(1, 3), (2, 2)]
    """
    said = [separate_words(part).split() for part in parts]
    owners = [place for place, words in enumerate(said) for _ in words]
    errors = [0] * len(said)
    (steps,) = align_units([[word for words in said for word in words]], [separate_words(written).split()])
    passed = 0
    for step in steps:
        owner = owners[min(passed, len(owners) - 1)] if owners else 0
        errors[owner] += step.kind != "equal"
        passed += step.kind != "insert"
    return [(wrong, len(words)) for wrong, words in zip(errors, said, strict=True)]


def written_language(
    texts: Sequence[str], expected: str, tokenizer: PreTrainedTokenizerBase
) -> Written | None:
    """Return the language that transcripts look like; None of too few words.

    Args:
        texts: Transcripts.
        expected: Code of the language that they should be in.
        tokenizer: Of a multilingual checkpoint.
    """
    known = known_profiles()
    if sum(len(text.split()) for text in texts) < LEAST_WORDS or expected not in known:
        return None
    neighbours = nearest_languages(profile(texts, tokenizer), known, most=len(known))
    likeness = next(one.similarity for one in neighbours if one.code == expected)
    return Written(neighbours[0].code, likeness)
