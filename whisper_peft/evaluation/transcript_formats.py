"""Transcripts as files: plain text, subtitles (SubRip, WebVTT) and JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from whisper_peft.errors import EvaluationError, StorageError, did_you_mean
from whisper_peft.types import Segment, Transcript


def write_transcript(transcript: Transcript, folder: Path, format: str, *, name: str | None = None) -> Path:
    """Write a transcript into a folder, which is made if need be, and return the file.

    Args:
        transcript: What to write.
        folder: Where to.
        format: txt, srt, vtt or json.
        name: File name without its ending. None: that of the recording.

    Raises:
        EvaluationError: If there is no such format.
        StorageError: If the file cannot be written.

    Example:
        >>> from tempfile import mkdtemp
        >>> transcript = Transcript("talk.wav", "Hi.", "en", 1.5, (Segment(0.0, 1.5, "Hi."),))
        >>> print(write_transcript(transcript, Path(mkdtemp()), "srt").read_text())
        1
        00:00:00,000 --> 00:00:01,500
        Hi.
        <BLANKLINE>
    """
    check_format(format)
    path = folder / f"{name or Path(transcript.file).stem}.{format}"
    _write(path, FORMATS[format](transcript))
    return path


def check_folder(folder: Path) -> None:
    """Make the folder of the transcripts and try it, before anything is transcribed.

    Raises:
        StorageError: If nothing can be written there.
    """
    probe = folder / ".probe"
    _write(probe, "0" * 4096)
    probe.unlink()


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise StorageError(
            f"{path} cannot be written",
            error.strerror or str(error),
            "free some space, or choose another output folder",
        ) from error


def check_format(format: str) -> None:
    """Refuse an unknown format, before anything is transcribed.

    Raises:
        EvaluationError: With the known ones.
    """
    if format not in FORMATS:
        raise EvaluationError(
            f"the format is {format!r}", "no transcript can be written so", did_you_mean(format, FORMATS)
        )


def file_names(recordings: Sequence[Path]) -> list[str]:
    """Return a file name for each recording's transcript, without its ending: no two are alike.

    Example:
        >>> file_names([Path("a/talk.wav"), Path("b/talk.wav"), Path("b/song.mp3")])
        ['talk', 'talk-2', 'song']
    """
    taken: Counter[str] = Counter()
    names: list[str] = []
    for stem in (recording.stem for recording in recordings):
        taken[stem] += 1
        while (name := stem if taken[stem] == 1 else f"{stem}-{taken[stem]}") in names:
            taken[stem] += 1
        names.append(name)
    return names


def as_text(transcript: Transcript) -> str:
    """Return a line for each segment."""
    return "".join(f"{segment.text}\n" for segment in transcript.segments)


def as_srt(transcript: Transcript) -> str:
    r"""Return SubRip subtitles.

    Example:
        >>> as_srt(Transcript("a.wav", "Hi.", "en", 1.0, (Segment(0.0, 1.0, "Hi."),)))
        '1\n00:00:00,000 --> 00:00:01,000\nHi.\n'
    """
    cues = [
        f"{number}\n{_times(segment, ',')}\n{_without_arrows(segment.text)}\n"
        for number, segment in enumerate(transcript.segments, start=1)
    ]
    return "\n".join(cues)


def as_vtt(transcript: Transcript) -> str:
    r"""Return WebVTT subtitles (https://www.w3.org/TR/webvtt1/), with `&`, `<` and `>` escaped.

    Example:
        >>> as_vtt(Transcript("a.wav", "R&D", "en", 1.0, (Segment(0.0, 1.0, "R&D"),)))
        'WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nR&amp;D\n'
    """
    cues = [f"{_times(segment, '.')}\n{_escaped(segment.text)}\n" for segment in transcript.segments]
    return "\n".join(["WEBVTT\n", *cues])


def as_json(transcript: Transcript) -> str:
    """Return the plain JSON form."""
    return json.dumps(transcript.to_dict(), ensure_ascii=False, indent=2) + "\n"


def _times(segment: Segment, separator: str) -> str:
    return f"{_time(segment.start_s, separator)} --> {_time(segment.end_s, separator)}"


def _time(seconds: float, separator: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{separator}{milliseconds:03d}"


def _without_arrows(text: str) -> str:
    """Return text that no reader takes for a time line; SubRip has no escapes."""
    return text.replace("-->", "->")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


FORMATS: dict[str, Callable[[Transcript], str]] = {
    "txt": as_text,
    "srt": as_srt,
    "vtt": as_vtt,
    "json": as_json,
}
