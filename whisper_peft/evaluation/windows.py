"""Recordings written down window by window, several at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeAlias

from whisper_peft.evaluation.generation import (
    AudioContext,
    Generation,
    decode_states,
    decoder_prefix,
    encode,
    listening,
    text_of,
    token_id,
)
from whisper_peft.evaluation.halves import in_halves
from whisper_peft.evaluation.long_form import (
    WINDOW_SAMPLES,
    TimedTokens,
    cut_into_segments,
    find_silent_windows,
    quietest_feature,
)
from whisper_peft.model.adapters.folding import folded
from whisper_peft.model.loading import Whisper
from whisper_peft.types import SAMPLING_RATE, Segment, Transcript, Waveform

logger = logging.getLogger(__name__)

SHORTEST_WINDOW_S = 0.2
"""What is left of a recording after its last segment is not listened to below this: no word fits in it."""


@dataclass(slots=True)
class OpenRecording:
    """A recording and how far it has been transcribed.

    Attributes:
        place: Its number among the recordings.
        name: What messages and the transcript call it.
        waveform: All of it.
        language: Code of the language spoken.
        timed: Whether it is cut into segments.
        floor: Least feature value of any of its windows.
        position: Samples that are done with.
        written: Tokens written so far, for windows that are told what came before: with their timestamps, as
            openai-whisper tells them. Words without their times would say that none are wanted.
    """

    place: int
    name: str
    waveform: Waveform
    language: str
    timed: bool
    floor: float
    position: int = 0
    segments: list[Segment] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    written: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        whisper: Whisper,
        place: int,
        name: str,
        waveform: Waveform,
        language: str,
        *,
        timed: bool = False,
    ) -> OpenRecording:
        """Return a recording to be transcribed from its start; a longer one than 30 s is timed."""
        floor = quietest_feature(whisper, waveform)
        return cls(place, name, waveform, language, timed or len(waveform) > WINDOW_SAMPLES, floor)

    @property
    def window(self) -> Waveform:
        """The samples that are heard next."""
        return self.waveform[self.position : self.position + WINDOW_SAMPLES]

    @property
    def done(self) -> bool:
        """Whether nothing is left that a word fits in."""
        left = len(self.waveform) - self.position
        return left <= 0 or (self.position > 0 and left < SHORTEST_WINDOW_S * SAMPLING_RATE)

    def add(self, whisper: Whisper, segments: Sequence[TimedTokens], advance_s: float) -> None:
        """Append the segments of the window, and move on."""
        start_s = self.position / SAMPLING_RATE
        for segment in segments:
            text = text_of(whisper, segment.tokens)
            if text.strip():
                self.texts.append(text)
                self.written += segment.tokens if segment.start_s < segment.end_s else ()
                self.segments.append(
                    Segment(start_s + segment.start_s, start_s + segment.end_s, text.strip())
                )
        self.position += round(advance_s * SAMPLING_RATE)

    def transcript(self) -> Transcript:
        """Return what was said, once it is done."""
        return Transcript(
            file=self.name,
            text="".join(self.texts).strip(),
            language=self.language,
            duration_s=len(self.waveform) / SAMPLING_RATE,
            segments=tuple(self.segments),
        )


_Prefixed: TypeAlias = tuple[OpenRecording, list[int]]
"""A recording, and the tokens that the decoder is given for its next window."""


def _do_nothing(place: int, transcript: Transcript) -> None:
    pass


@dataclass(frozen=True)
class WindowTranscriber:
    """Transcribes recordings; what is the same for all of them.

    Args:
        whisper: Model and companions.
        task: transcribe or translate.
        prompt_tokens: Text that might have come before, for every window.
        audio_context: full: 30 s; cut: as long as the speech.
        num_beams: Beams of the search; 1 is greedy.
        previous_text: Whether windows are told what was written of those before. What did not end itself is
            not passed on, so that a loop cannot spread.
        on_finished: Called with the place and the transcript of each recording as soon as there is one.
    """

    whisper: Whisper
    task: str = "transcribe"
    prompt_tokens: tuple[int, ...] = ()
    audio_context: AudioContext = "full"
    num_beams: int = 1
    previous_text: bool = False
    on_finished: Callable[[int, Transcript], None] = _do_nothing

    def transcribe(self, recordings: Iterator[OpenRecording], batch_size: int) -> list[Transcript]:
        """Transcribe window by window, a window of each of `batch_size` recordings at a time."""
        active = list[OpenRecording]()
        finished: dict[int, Transcript] = {}
        with folded(self.whisper), listening(self.whisper):
            while active := [*active, *islice(recordings, batch_size - len(active))]:
                for alike in self._groups(active):
                    for (one, _), generation in zip(alike, in_halves(alike, self._hear), strict=True):
                        self._add(one, generation)
                for one in active:
                    if one.done:
                        finished[one.place] = one.transcript()
                        self.on_finished(one.place, finished[one.place])
                active = [one for one in active if not one.done]
        return [finished[place] for place in sorted(finished)]

    def _groups(self, recordings: Sequence[OpenRecording]) -> Iterator[list[_Prefixed]]:
        """Group windows whose decoder is given the same number of tokens, with these tokens."""
        alike: dict[tuple[bool, int], list[_Prefixed]] = {}
        for one in recordings:
            before = (*self.prompt_tokens, *one.written) if self.previous_text else self.prompt_tokens
            prefix = decoder_prefix(
                self.whisper, one.language, self.task, timestamps=one.timed, prompt_tokens=before
            )
            alike.setdefault((one.timed, len(prefix)), []).append((one, prefix))
        yield from alike.values()

    def _hear(self, group: Sequence[_Prefixed]) -> list[Generation]:
        """Return what is said in the current windows of recordings that all have timestamps, or none."""
        timed, prefixes = group[0][0].timed, [prefix for _, prefix in group]
        windows, floors = [one.window for one, _ in group], [one.floor for one, _ in group]
        states = encode(self.whisper, windows, audio_context=self.audio_context, floors=floors)
        generations = decode_states(
            self.whisper,
            states,
            prefixes,
            seconds=[len(window) / SAMPLING_RATE for window in windows],
            num_beams=self.num_beams,
            timestamps=timed,
        )
        if not timed:
            return generations
        silent = find_silent_windows(self.whisper, states, prefixes, generations)
        return [
            replace(generation, tokens=()) if quiet else generation
            for generation, quiet in zip(generations, silent, strict=True)
        ]

    def _add(self, recording: OpenRecording, generation: Generation) -> None:
        window_s = len(recording.window) / SAMPLING_RATE
        if generation.looping:
            start_s = recording.position / SAMPLING_RATE
            logger.warning(
                "%s: the text from %.1f to %.1f s did not end, and may repeat itself",
                recording.name,
                start_s,
                start_s + window_s,
            )
        begin = token_id(self.whisper, "<|notimestamps|>") + 1
        segments, advance_s = cut_into_segments(generation.tokens, timestamp_begin=begin, window_s=window_s)
        recording.add(self.whisper, segments, advance_s)
        if generation.looping:
            recording.written.clear()
