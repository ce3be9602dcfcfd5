r"""Subtitles (SubRip and WebVTT) as they are found in the world, read as timed text.

A cue begins at a line with its times; what stands above it there (a number, a name) is not text. Markup,
settings and WebVTT's notes are left out, entities are resolved, lines are joined. Times that cannot be read,
and cues that end before they begin, are counted as `malformed-cue` and `bad-times`.

Two cues may be shown at once. By a moment, the first is taken to end where the second begins; for longer, two
people speak at once, and both cues become one. Captions that roll (machines make them: lines are shown twice,
and words carry their own times) are read as what is new in each cue.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from whisper_peft.types import Segment

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})(?:[.,](\d{1,3}))?"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
_WORD_TIME = re.compile(r"<\d+:\d\d(?::\d\d)?\.\d{3}>")
_MARKUP = re.compile(r"</?[A-Za-z][^<>]*>|<[\d:.]+>|</>|\{\\[^{}]*\}")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,8});")

MOMENT_S = 0.2
"""Cues that overlap by no more are shown, not spoken, at once."""


def read_subtitles(content: bytes, skipped: Counter[str]) -> tuple[Segment, ...]:
    r"""Return the cues of a subtitle file by their time, none of which overlap; count what is none.

    Raises:
        UnicodeDecodeError: If it is neither UTF-8 nor UTF-16 with its mark.

    Example:
        >>> read_subtitles(b"1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>Hello</i>\r\nthere.\r\n", Counter())
        (Segment(start_s=1.0, end_s=2.5, text='Hello there.'),)
    """
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    lines = re.split(r"\r\n|\r|\n", content.decode(encoding))
    is_vtt = lines[0].startswith("WEBVTT")
    cues = list(_cues(lines, skipped, is_vtt=is_vtt))
    rolls = any(_WORD_TIME.search(line) for cue in cues for line in cue.lines)
    cues.sort(key=lambda cue: (cue.start_s, cue.end_s))
    said = _new_text(cues) if rolls else (Segment(cue.start_s, cue.end_s, cue.text) for cue in cues)
    return tuple(_apart((segment for segment in said if segment.text), rolls=rolls))


@dataclass(slots=True)
class _Cue:
    start_s: float
    end_s: float
    lines: list[str] = field(default_factory=list)

    @property
    def cleaned(self) -> list[str]:
        return [line for line in map(_cleaned, self.lines) if line]

    @property
    def text(self) -> str:
        return " ".join(self.cleaned)


def _cues(lines: Iterable[str], skipped: Counter[str], *, is_vtt: bool) -> Iterator[_Cue]:
    """Yield the cues in the order of the file. In SubRip, unlike WebVTT, a blank line may be part of one."""
    cue: _Cue | None = None
    for line in lines:
        if "-->" in line:
            if cue is not None:
                yield _without_number(cue)
            cue = _begun(line, skipped)
        elif is_vtt and not line.strip():
            if cue is not None:
                yield cue
            cue = None
        elif cue is not None:
            cue.lines.append(line)
    if cue is not None:
        yield cue


def _begun(line: str, skipped: Counter[str]) -> _Cue | None:
    match = _TIMES.fullmatch(line)
    if match is None:
        skipped["malformed-cue"] += 1
        return None
    start_s, end_s = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
    if end_s <= start_s:
        skipped["bad-times"] += 1
        return None
    return _Cue(start_s, end_s)


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = parts
    milliseconds = int((fraction or "0").ljust(3, "0"))
    return (int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)) + milliseconds / 1000


def _without_number(cue: _Cue) -> _Cue:
    """Take off the number of the next cue, which stands above its times."""
    if cue.lines and cue.lines[-1].strip().isdecimal():
        cue.lines.pop()
    return cue


def _cleaned(line: str) -> str:
    plain = _ENTITY.sub(lambda entity: html.unescape(entity[0]), _MARKUP.sub("", line))
    return " ".join(plain.replace("\ufeff", "").split())


def _new_text(cues: Iterable[_Cue]) -> Iterator[Segment]:
    """Yield rolling captions without the line that the cue before has shown already."""
    shown = ""
    for cue in cues:
        lines = cue.cleaned
        new = lines[1:] if lines and lines[0] == shown else lines
        shown = lines[-1] if lines else shown
        yield Segment(cue.start_s, cue.end_s, " ".join(new))


def _apart(segments: Iterable[Segment], *, rolls: bool) -> list[Segment]:
    apart: list[Segment] = []
    for segment in segments:
        before = apart[-1] if apart else None
        if before is None or segment.start_s >= before.end_s:
            apart.append(segment)
        elif before.start_s < segment.start_s and (rolls or before.end_s - segment.start_s <= MOMENT_S):
            apart[-1] = replace(before, end_s=segment.start_s)
            apart.append(segment)
        else:
            both = before.text if segment.text == before.text else f"{before.text} {segment.text}"
            apart[-1] = Segment(before.start_s, max(before.end_s, segment.end_s), both)
    return apart
