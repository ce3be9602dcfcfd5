"""From audio files to transcripts, of any length, several files at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from whisper_peft.data.decoding import decode, header_duration_s
from whisper_peft.data.recordings import AUDIO_SUFFIXES
from whisper_peft.errors import AudioError, DataError, first_of
from whisper_peft.evaluation.generation import (
    MAX_PROMPT_TOKENS,
    AudioContext,
    Generation,
    check_language,
    decode_states,
    decoder_prefix,
    encode,
    listening,
    text_of,
    token_id,
)
from whisper_peft.evaluation.long_form import (
    WINDOW_SAMPLES,
    TimedTokens,
    cut_into_segments,
    detect_languages,
    find_silent_windows,
    quietest_feature,
)
from whisper_peft.model.folding import folded
from whisper_peft.model.loading import Whisper
from whisper_peft.types import SAMPLING_RATE, Segment, Transcript, Utterance, Waveform

logger = logging.getLogger(__name__)

SHORTEST_WINDOW_S = 0.2
"""What is left of a recording after its last segment is not listened to below this: no word fits in it."""

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
    transcriber = _Transcriber(
        whisper=whisper,
        language=language if whisper.is_multilingual or language != DETECT else None,
        task=task,
        prompt_tokens=encode_prompt(whisper, prompt, hotwords),
        audio_context=audio_context,
        num_beams=num_beams,
        timestamps=timestamps,
        on_finished=on_finished or _do_nothing,
        on_refused=on_refused or _log,
    )
    return transcriber.transcribe(recordings, batch_size)


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
    if len(tokens) > MAX_PROMPT_TOKENS:
        logger.warning("the prompt has %d tokens; the last %d are read", len(tokens), MAX_PROMPT_TOKENS)
    return tuple(tokens[-MAX_PROMPT_TOKENS:])


@dataclass(slots=True)
class _Recording:
    """A recording and how far it has been transcribed; `position` is in samples, `floor` a feature value."""

    place: int
    path: Path
    waveform: Waveform
    language: str | None
    timed: bool
    floor: float
    position: int = 0
    segments: list[Segment] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def window(self) -> Waveform:
        return self.waveform[self.position : self.position + WINDOW_SAMPLES]

    @property
    def done(self) -> bool:
        left = len(self.waveform) - self.position
        return left <= 0 or (self.position > 0 and left < SHORTEST_WINDOW_S * SAMPLING_RATE)

    def add(self, whisper: Whisper, segments: Sequence[TimedTokens], advance_s: float) -> None:
        """Append the segments of the window, and move on."""
        start_s = self.position / SAMPLING_RATE
        for segment in segments:
            text = text_of(whisper, segment.tokens)
            if text.strip():
                self.texts.append(text)
                self.segments.append(
                    Segment(start_s + segment.start_s, start_s + segment.end_s, text.strip())
                )
        self.position += round(advance_s * SAMPLING_RATE)

    def transcript(self) -> Transcript:
        return Transcript(
            file=str(self.path),
            text="".join(self.texts).strip(),
            language=self.language,
            duration_s=len(self.waveform) / SAMPLING_RATE,
            segments=tuple(self.segments),
        )


@dataclass(frozen=True)
class _Transcriber:
    """What is the same for all recordings."""

    whisper: Whisper
    language: str | None
    task: str
    prompt_tokens: tuple[int, ...]
    audio_context: AudioContext
    num_beams: int
    timestamps: bool
    on_finished: Callable[[int, Transcript], None]
    on_refused: Callable[[AudioError], None]

    def transcribe(self, paths: Sequence[Path], batch_size: int) -> list[Transcript]:
        """Transcribe window by window, a window of each of `batch_size` recordings at a time."""
        waiting, active = self._open(paths), list[_Recording]()
        finished: dict[int, Transcript] = {}
        with folded(self.whisper), listening(self.whisper):
            while active := [*active, *islice(waiting, batch_size - len(active))]:
                for alike in self._groups(active):
                    self._hear(alike)
                for one in active:
                    if one.done:
                        finished[one.place] = one.transcript()
                        self.on_finished(one.place, finished[one.place])
                active = [one for one in active if not one.done]
        return [finished[place] for place in sorted(finished)]

    def _open(self, paths: Sequence[Path]) -> Iterator[_Recording]:
        refused: list[AudioError] = []
        for place, path in enumerate(paths):
            try:
                waveform = decode(Utterance(str(path), path, "")).waveform
            except AudioError as error:
                if len(paths) == 1:
                    raise
                refused.append(error)
                self.on_refused(error)
                continue
            timed = self.timestamps or len(waveform) > WINDOW_SAMPLES
            floor = quietest_feature(self.whisper, waveform)
            yield _Recording(place, path, waveform, self._language_of(waveform), timed, floor)
        if len(refused) == len(paths):
            raise DataError("none of the recordings can be used", first_of(refused))

    def _language_of(self, waveform: Waveform) -> str | None:
        if self.language != DETECT:
            return check_language(self.whisper, self.language)
        states = encode(self.whisper, [waveform[:WINDOW_SAMPLES]], audio_context="full")
        return detect_languages(self.whisper, states)[0]

    def _groups(self, recordings: Sequence[_Recording]) -> Iterator[list[_Recording]]:
        """Group windows whose decoder is given the same number of tokens."""
        for timed in (False, True):
            if alike := [one for one in recordings if one.timed is timed]:
                yield alike

    def _hear(self, recordings: Sequence[_Recording]) -> None:
        """Transcribe the current windows of recordings that all have timestamps, or none of them."""
        timed = recordings[0].timed
        windows = [one.window for one in recordings]
        floors = [one.floor for one in recordings]
        states = encode(self.whisper, windows, audio_context=self.audio_context, floors=floors)
        prefixes = [
            decoder_prefix(
                self.whisper, one.language, self.task, timestamps=timed, prompt_tokens=self.prompt_tokens
            )
            for one in recordings
        ]
        generations = decode_states(
            self.whisper,
            states,
            prefixes,
            seconds=[len(window) / SAMPLING_RATE for window in windows],
            num_beams=self.num_beams,
            timestamps=timed,
        )
        if timed:
            silent = find_silent_windows(self.whisper, states, prefixes, generations)
            generations = [
                replace(generation, tokens=()) if quiet else generation
                for generation, quiet in zip(generations, silent, strict=True)
            ]
        for one, generation in zip(recordings, generations, strict=True):
            self._add(one, generation)

    def _add(self, recording: _Recording, generation: Generation) -> None:
        window_s = len(recording.window) / SAMPLING_RATE
        if generation.looping:
            start_s = recording.position / SAMPLING_RATE
            logger.warning(
                "%s: the text from %.1f to %.1f s did not end, and may repeat itself",
                recording.path,
                start_s,
                start_s + window_s,
            )
        begin = token_id(self.whisper, "<|notimestamps|>") + 1
        segments, advance_s = cut_into_segments(generation.tokens, timestamp_begin=begin, window_s=window_s)
        recording.add(self.whisper, segments, advance_s)
