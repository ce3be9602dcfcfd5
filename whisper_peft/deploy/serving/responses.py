"""Answers in the formats of OpenAI's API."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse, PlainTextResponse, Response
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from whisper_peft.data.targets.labels import WRITTEN_WITHOUT_SPACES
from whisper_peft.deploy.serving.forms import Ask
from whisper_peft.deploy.serving.service import Piece
from whisper_peft.evaluation.long_form import compression_ratio
from whisper_peft.evaluation.transcript_formats import as_srt, as_vtt
from whisper_peft.evaluation.word_alignment import Word
from whisper_peft.types import Segment, Transcript

SENTENCE_ENDS = (".", "!", "?", "。", "！", "？", "।", "؟", "…")

PAUSE_S = 0.8
"""A pause so long begins a new segment,"""

LONGEST_SEGMENT_S = 8.0
"""and so does a segment that would last longer: subtitles stay two lines long."""


@dataclass(frozen=True)
class Answer:
    """All that was heard of a recording."""

    ask: Ask
    duration_s: float
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """The whole transcript."""
        return "".join(deltas(self.pieces))

    @property
    def language(self) -> str:
        """Code of the language."""
        return self.pieces[0].heard.language if self.pieces else self.ask.language or "en"


def deltas(pieces: Sequence[Piece]) -> list[str]:
    """Return what each piece adds to the text, with the blank before it where the language has blanks."""
    added, begun = list[str](), False
    for piece in pieces:
        heard = piece.heard
        parted = begun and heard.text and heard.language not in WRITTEN_WITHOUT_SPACES
        added.append(f" {heard.text}" if parted else heard.text)
        begun = begun or bool(heard.text)
    return added


def respond(answer: Answer) -> Response:
    """Return the answer in the format that was asked for."""
    return FORMATS[answer.ask.response_format](answer)


def _json(answer: Answer) -> Response:
    return JSONResponse({"text": answer.text, "usage": _usage(answer)})


def _text(answer: Answer) -> Response:
    return PlainTextResponse(answer.text)


def _srt(answer: Answer) -> Response:
    return PlainTextResponse(as_srt(_transcript(answer)), media_type="application/x-subrip")


def _vtt(answer: Answer) -> Response:
    return PlainTextResponse(as_vtt(_transcript(answer)), media_type="text/vtt")


def _verbose_json(answer: Answer) -> Response:
    body: dict[str, Any] = {
        "task": answer.ask.task,
        "language": LANGUAGES[answer.language],
        "duration": round(answer.duration_s, 3),
        "text": answer.text,
        "usage": _usage(answer),
    }
    if answer.ask.segments:
        body["segments"] = _segments(answer)
    if answer.ask.words:
        body["words"] = [_word(piece, word) for piece in answer.pieces for word in piece.heard.words]
    return JSONResponse(body)


def _word(piece: Piece, word: Word) -> dict[str, Any]:
    start, end = piece.start_s + word.start_s, piece.start_s + word.end_s
    return {"word": word.text.strip(), "start": round(start, 2), "end": round(end, 2)}


def _usage(answer: Answer) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(answer.duration_s)}


def _transcript(answer: Answer) -> Transcript:
    segments = tuple(
        Segment(piece.start_s + group[0].start_s, piece.start_s + group[-1].end_s, _text_of(group))
        for piece in answer.pieces
        for group in cut_words(piece.heard.words)
    )
    return Transcript("upload", answer.text, answer.language, answer.duration_s, segments)


def _segments(answer: Answer) -> list[dict[str, Any]]:
    segments = list[dict[str, Any]]()
    for piece in answer.pieces:
        tokens, place = piece.heard.tokens, 0
        for group in cut_words(piece.heard.words):
            text, count = _text_of(group), sum(word.token_count for word in group)
            segments.append(
                {
                    "id": len(segments),
                    "seek": round(piece.start_s * 100),
                    "start": round(piece.start_s + group[0].start_s, 2),
                    "end": round(piece.start_s + group[-1].end_s, 2),
                    "text": text,
                    "tokens": list(tokens[place : place + count]),
                    "temperature": 0.0,
                    "avg_logprob": piece.heard.mean_log_probability,
                    "compression_ratio": compression_ratio(text) if text else 1.0,
                    "no_speech_prob": piece.heard.no_speech_probability,
                }
            )
            place += count
    return segments


def cut_words(words: Sequence[Word]) -> list[list[Word]]:
    """Group words into segments: sentences, parts between pauses, and nothing too long to read.

    Example:
        >>> words = [Word(" Hi.", 0.0, 0.4, 2), Word(" You", 0.5, 0.7, 1), Word(" there", 2.0, 2.3, 1)]
        >>> [_text_of(group) for group in cut_words(words)]
        ['Hi.', 'You', 'there']
    """
    groups = list[list[Word]]()
    for word in words:
        before = groups[-1] if groups else []
        if (
            not before
            or before[-1].text.rstrip("\"'”’)]").endswith(SENTENCE_ENDS)
            or word.start_s - before[-1].end_s > PAUSE_S
            or word.end_s - before[0].start_s > LONGEST_SEGMENT_S
        ):
            groups.append([])
        groups[-1].append(word)
    return groups


def _text_of(words: Sequence[Word]) -> str:
    return "".join(word.text for word in words).strip()


def event(kind: str, **fields: object) -> str:
    r"""Return one server-sent event.

    Example:
        >>> event("transcript.text.delta", delta="Hi.")
        'event: transcript.text.delta\ndata: {"type": "transcript.text.delta", "delta": "Hi."}\n\n'
    """
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


FORMATS: dict[str, Callable[[Answer], Response]] = {
    "json": _json,
    "text": _text,
    "srt": _srt,
    "vtt": _vtt,
    "verbose_json": _verbose_json,
}
