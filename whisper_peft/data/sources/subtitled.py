"""Long recordings with subtitles beside them (`talk.flac` and `talk.srt`), cut into windows of at most 30 s.

A window holds whole cues. It ends where the next cue would not fit, or where nobody has written anything for
a while: there may be words that the subtitles leave out. It reaches a little over its first and last cue,
since subtitles are timed by eye, but never into another one. A cue that alone is too long is counted as
`cue-too-long`.

`talk.en.srt` is in English. Where there is no `talk.srt` or `talk.vtt` it is read, unless there are others
beside it: then none is chosen, and the recording is counted as `several-subtitles`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from whisper_peft.data.audio.decoding import header_duration_s
from whisper_peft.data.effects.recordings import is_recording
from whisper_peft.data.sources.local_corpora import LocalCorpus, Reader, files_below
from whisper_peft.data.sources.side_by_side import split_places
from whisper_peft.data.sources.stretches import OVERSHOOT_S
from whisper_peft.data.sources.subtitles import read_subtitles
from whisper_peft.data.targets.neighbours import LONGEST_PAUSE_S
from whisper_peft.errors import AudioError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Segment, Utterance

SUBTITLE_SUFFIXES = (".srt", ".vtt")
"""Where a recording has both, the first is read."""

_MARGIN_S = 0.2
"""By how much a window reaches over its cues, where there is room."""

_LANGUAGE = re.compile(r"\.(?P<code>(?:[a-z]{2}|yue|haw)(?:-[A-Za-z]{2,8})?)$")


def has_subtitles(path: Path) -> bool:
    """Tell whether a path is, or a folder holds, a recording with subtitles beside it.

    Example:
        >>> has_subtitles(Path("no-such-folder"))
        False
    """
    return any(subtitles for _, subtitles in _recordings(path))


def open_subtitled(path: Path, section: DataSection, *, name: str) -> LocalCorpus:
    """Find the splits of a folder. A single recording, or its subtitles, stands for the two."""
    places = split_places(path) if path.is_dir() else {}
    root, longest_s = path if path.is_dir() else path.parent, section.max_duration_s
    readers: dict[str, tuple[Reader, ...]] = {
        split: (SubtitledRecordings(place, root, longest_s),) for split, place in places.items()
    }
    return LocalCorpus(name, readers, every=(SubtitledRecordings(path, root, longest_s),))


def cut_windows(cues: Iterable[Segment], longest_s: float) -> Iterator[tuple[Segment, ...]]:
    """Yield runs of cues that are not too long together, without a long gap between them.

    Args:
        cues: By their time; one that is too long is in a window of its own.
        longest_s: Seconds from the start of the first cue to the end of the last.

    Example:
        >>> cues = [Segment(start, start + 12.0, "text") for start in (0.0, 12.5, 25.0, 60.0)]
        >>> [len(window) for window in cut_windows(cues, 30.0)]
        [2, 1, 1]
    """
    window: list[Segment] = []
    for cue in cues:
        fits = window and cue.end_s - window[0].start_s <= longest_s
        if window and not (fits and cue.start_s - window[-1].end_s <= LONGEST_PAUSE_S):
            yield tuple(window)
            window = []
        window.append(cue)
    if window:
        yield tuple(window)


@dataclass(frozen=True)
class SubtitledRecordings:
    """A reader of the recordings at a path: below a folder, or one."""

    path: Path
    root: Path
    """The folder that ids begin from."""
    longest_s: float

    def __call__(self, skipped: Counter[str]) -> Iterator[Utterance]:
        """Yield the windows of each recording in turn; what cannot be read of it is counted."""
        for recording, subtitles in _recordings(self.path):
            try:
                chosen = _choose(recording, subtitles)
                duration_s = header_duration_s(recording)
                cues = read_subtitles(chosen.read_bytes(), skipped)
            except AudioError as error:
                skipped[error.reason] += 1
            except UnicodeDecodeError:
                skipped["not-utf8"] += 1
            except OSError:
                skipped["unreadable-text"] += 1
            else:
                language = _LANGUAGE.search(chosen.stem.removeprefix(recording.stem))
                talk = _Talk(recording, duration_s or math.inf, language["code"] if language else None)
                yield from self._windows(talk, list(_inside(cues, talk.duration_s, skipped)), skipped)

    def _windows(self, talk: _Talk, cues: Sequence[Segment], skipped: Counter[str]) -> Iterator[Utterance]:
        name = talk.recording.relative_to(self.root).with_suffix("")
        previous_s, previous_text, previous_segments = 0.0, None, tuple[Segment, ...]()
        windows = list(cut_windows(cues, self.longest_s))
        if not windows:
            return
        following_s = [*(window[0].start_s for window in windows[1:]), talk.duration_s]
        for window, next_s in zip(windows, following_s, strict=True):
            start_s, end_s = self._stretch(window, previous_s, next_s)
            text = " ".join(cue.text for cue in window)
            segments = tuple(_from(start_s, cue) for cue in window)
            if end_s - start_s > self.longest_s:
                skipped["cue-too-long"] += 1
            else:
                yield Utterance(
                    f"{name}@{start_s:.3f}",
                    talk.recording,
                    text,
                    language=talk.language,
                    start_s=start_s,
                    end_s=end_s,
                    segments=segments,
                    previous_text=previous_text,
                    previous_segments=previous_segments,
                )
            previous_s, previous_text, previous_segments = window[-1].end_s, text, segments

    def _stretch(self, window: Sequence[Segment], previous_s: float, next_s: float) -> tuple[float, float]:
        """Return where a window begins and ends: over its cues, at most half way to what is around it."""
        first_s, last_s = window[0].start_s, window[-1].end_s
        margin_s = max(0.0, min(_MARGIN_S, (self.longest_s - (last_s - first_s)) / 2))
        start_s = first_s - min(margin_s, (first_s - previous_s) / 2)
        end_s = last_s + min(margin_s, (next_s - last_s) / 2)
        return round(start_s, 3), round(end_s, 3)


@dataclass(frozen=True, slots=True)
class _Talk:
    recording: Path
    duration_s: float
    language: str | None


def _from(start_s: float, cue: Segment) -> Segment:
    return Segment(round(cue.start_s - start_s, 3), round(cue.end_s - start_s, 3), cue.text)


def _inside(cues: Iterable[Segment], duration_s: float, skipped: Counter[str]) -> Iterator[Segment]:
    """Yield the cues that are in the recording; the last one may outlast it a little, and is cut there."""
    for cue in cues:
        if cue.start_s >= duration_s or cue.end_s > duration_s + OVERSHOOT_S:
            skipped["bad-times"] += 1
        else:
            yield replace(cue, end_s=min(cue.end_s, duration_s))


def _recordings(path: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield the recordings at a path, each with its subtitles."""
    if path.is_dir():
        for files in files_below(path):
            yield from _pairs(files)
    elif path.is_file():
        for recording, subtitles in _pairs(sorted(path.parent.iterdir())):
            if path == recording:
                yield recording, subtitles
            elif path in subtitles:
                yield recording, [path]


def _pairs(files: Sequence[Path]) -> Iterator[tuple[Path, list[Path]]]:
    """Yield each recording among files with the subtitles that are named after it."""
    named: dict[str, list[Path]] = {}
    for file in files:
        if file.suffix.lower() in SUBTITLE_SUFFIXES and file.is_file():
            for name in {file.stem, _LANGUAGE.sub("", file.stem)}:
                named.setdefault(name, []).append(file)
    for recording in filter(is_recording, files):
        yield recording, named.get(recording.stem, [])


def _choose(recording: Path, subtitles: Sequence[Path]) -> Path:
    """Return the subtitles to read.

    Raises:
        AudioError: If there are none, or those of several languages.
    """
    if not subtitles:
        raise AudioError(str(recording), "there are no subtitles beside it", reason="no-subtitles")
    own = [file for file in subtitles if file.stem == recording.stem]
    if not own and len({file.stem for file in subtitles}) > 1:
        raise AudioError(str(recording), "there are several subtitles", reason="several-subtitles")
    return [*own, *subtitles][0]
