"""From audio files to transcripts, of any length, several files at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from whisper_peft.data.audio.decoding import decode, header_duration_s
from whisper_peft.data.effects.recordings import AUDIO_SUFFIXES
from whisper_peft.data.targets.labels import MAX_PREVIOUS_TOKENS
from whisper_peft.errors import AudioError, DataError, first_of
from whisper_peft.evaluation.generation import AudioContext, check_language, encode, listening
from whisper_peft.evaluation.long_form import WINDOW_SAMPLES, detect_languages
from whisper_peft.evaluation.windows import OpenRecording, WindowTranscriber
from whisper_peft.model.loading import Whisper
from whisper_peft.types import Transcript, Utterance, Waveform

logger = logging.getLogger(__name__)

DETECT = "auto"
"""In place of a language: detected on the first 30 s of each recording."""


def transcribe_files(
    whisper: Whisper,
    files: Sequence[Path],
    *,
    language: str | None,
    task: str = "transcribe",
    prompt: str | None = None,
    hotwords: Sequence[str] = (),
    audio_context: AudioContext = "full",
    batch_size: int = 8,
    num_beams: int = 1,
    timestamps: bool = False,
    previous_text: bool = False,
    on_finished: Callable[[int, Transcript], None] | None = None,
    on_refused: Callable[[AudioError], None] | None = None,
) -> list[Transcript]:
    """Transcribe recordings of any length, and return the transcripts in the order given.

    Up to 30 s a recording is transcribed as evaluation does it, in one segment; longer ones, and all with
    `timestamps`, in segments. Memory holds `batch_size` decoded recordings at a time (230 MB for an hour).

    Args:
        whisper: Model and companions.
        files: Audio files, and folders of them.
        language: Language spoken; auto: detected on the first 30 s of each recording.
        task: transcribe or translate.
        prompt: Text that might have come before: it sets spelling, style and subject of every window.
        hotwords: Names and rare words to expect; they are added to the prompt.
        audio_context: full: 30 s; cut: as long as the speech, for models tuned so.
        batch_size: Recordings transcribed together.
        num_beams: Beams of the search; 1 is greedy.
        timestamps: Cut recordings of up to 30 s into segments too, as subtitles want it.
        previous_text: Tell each window what was written of the ones before, as openai-whisper does: names and
            style hold on, and so do mistakes.
        on_finished: Called with each transcript as soon as there is one, and with its recording's place in
            `find_recordings(files)`.
        on_refused: Called with the error of each recording that cannot be used. None: it is logged.

    Raises:
        AudioError: If the only recording cannot be used, or a file that is named is missing. One of several
            that cannot be used is left out.
        DataError: If a folder has no recordings, none can be used, or the language is unknown, missing, or
            not one that the checkpoint is told.
    """
    if language != DETECT:
        check_language(whisper, language)
    recordings = find_recordings(files)
    transcriber = WindowTranscriber(
        whisper=whisper,
        task=task,
        prompt_tokens=encode_prompt(whisper, prompt, hotwords),
        audio_context=audio_context,
        num_beams=num_beams,
        previous_text=previous_text,
        on_finished=on_finished or _do_nothing,
    )
    told = language if whisper.is_multilingual or language != DETECT else None
    opened = _open(whisper, recordings, told, timestamps=timestamps, on_refused=on_refused or _log)
    return transcriber.transcribe(opened, batch_size)


def _open(
    whisper: Whisper,
    paths: Sequence[Path],
    language: str | None,
    *,
    timestamps: bool,
    on_refused: Callable[[AudioError], None],
) -> Iterator[OpenRecording]:
    """Decode one recording after the other, when its turn comes."""
    refused: list[AudioError] = []
    for place, path in enumerate(paths):
        try:
            waveform = decode(Utterance(str(path), path, "")).waveform
        except AudioError as error:
            if len(paths) == 1:
                raise
            refused.append(error)
            on_refused(error)
            continue
        spoken = _language_of(whisper, waveform, language)
        yield OpenRecording.of(whisper, place, str(path), waveform, spoken, timed=timestamps)
    if len(refused) == len(paths):
        raise DataError("none of the recordings can be used", first_of(refused))


def _language_of(whisper: Whisper, waveform: Waveform, language: str | None) -> str:
    if language != DETECT:
        return check_language(whisper, language)
    with listening(whisper):
        states = encode(whisper, [waveform[:WINDOW_SAMPLES]], audio_context="full")
        return detect_languages(whisper, states)[0]


def transcribe_waveforms(
    whisper: Whisper,
    waveforms: Sequence[Waveform],
    *,
    language: str | None,
    task: str = "transcribe",
    audio_context: AudioContext = "full",
    batch_size: int = 8,
    num_beams: int = 1,
    previous_text: bool = False,
) -> list[Transcript]:
    """Transcribe decoded recordings of any length as `transcribe_files` does; they are named by their place.

    Raises:
        DataError: If the language is unknown, missing, or not one that the checkpoint is told.
    """
    transcriber = WindowTranscriber(
        whisper=whisper,
        task=task,
        audio_context=audio_context,
        num_beams=num_beams,
        previous_text=previous_text,
    )
    spoken = check_language(whisper, language)
    opened = (
        OpenRecording.of(whisper, place, str(place), waveform, spoken)
        for place, waveform in enumerate(waveforms)
    )
    return transcriber.transcribe(opened, batch_size)


def _do_nothing(place: int, transcript: Transcript) -> None:
    pass


def _log(error: AudioError) -> None:
    logger.warning("skipped: %s", error)


def find_recordings(files: Sequence[Path]) -> list[Path]:
    """Return the files, with folders replaced by the recordings in them, in alphabetical order.

    Raises:
        AudioError: If a named file is missing, or the only one can be seen to be no audio.
        DataError: If a folder has no recordings, or nothing was named.
    """
    if not files:
        raise DataError("no recording was named", "there is nothing to transcribe", "give files or folders")
    found: list[Path] = []
    for path in files:
        if not path.is_dir():
            _refuse_missing(path, alone=len(files) == 1)
            found.append(path)
            continue
        inside = sorted(inner for inner in path.rglob("*") if inner.suffix.lower() in AUDIO_SUFFIXES)
        if not inside:
            known = ", ".join(sorted(AUDIO_SUFFIXES))
            raise DataError(f"the folder {path} has no recordings", f"looked for {known}", "check the path")
        found += inside
    return found


def _refuse_missing(path: Path, *, alone: bool) -> None:
    """Refuse a mistyped path; other damage of one among several does not stop the others."""
    try:
        header_duration_s(path)
    except AudioError as error:
        if alone or error.reason == "missing":
            raise


def encode_prompt(whisper: Whisper, prompt: str | None, hotwords: Sequence[str] = ()) -> tuple[int, ...]:
    """Return the tokens of the previous text: the prompt, then the hotwords, so that these are never cut off.

    Example:
        >>> from types import SimpleNamespace
        >>> letters = SimpleNamespace(encode=lambda text, add_special_tokens: map(ord, text))
        >>> tokens = encode_prompt(SimpleNamespace(tokenizer=letters), "A talk.", ["Ada", "Bob"])
        >>> "".join(map(chr, tokens))
        ' A talk. Ada, Bob'
    """
    parts = [(prompt or "").strip(), ", ".join(word.strip() for word in hotwords)]
    text = " ".join(part for part in parts if part)
    if not text:
        return ()
    tokens = [int(token) for token in whisper.tokenizer.encode(f" {text}", add_special_tokens=False)]
    if len(tokens) > MAX_PREVIOUS_TOKENS:
        logger.warning("the prompt has %d tokens; the last %d are read", len(tokens), MAX_PREVIOUS_TOKENS)
    return tuple(tokens[-MAX_PREVIOUS_TOKENS:])
