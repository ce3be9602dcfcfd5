"""Speech to be written down: any source that training reads, and recordings that have no text at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whisper_peft.data.effects.recordings import is_recording
from whisper_peft.data.sources.kinds import KINDS, is_there
from whisper_peft.data.sources.local_corpora import LocalRows, files_below
from whisper_peft.data.sources.opening import Selection, Source, open_source
from whisper_peft.data.splits import EVERY_ROW
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance


@dataclass(frozen=True)
class Recordings:
    """A reader of recordings without text: a file, or those below a folder in alphabetical order."""

    place: Path

    def __call__(self, skipped: Counter[str]) -> Iterator[Utterance]:
        """Yield an utterance for each; its id is its path in the folder, without the suffix."""
        if self.place.is_file():
            yield Utterance(self.place.stem, self.place, "")
            return
        for files in files_below(self.place):
            for file in filter(is_recording, files):
                yield Utterance(str(file.relative_to(self.place).with_suffix("")), file, "")


def open_untranscribed(section: DataSection, split: str = EVERY_ROW) -> Source:
    """Open the rows of a source, whether or not they have text; rows without any have an empty one.

    Args:
        section: The source, and its columns; `text_column` may be `none`.
        split: Split to open; `all` for every row.

    Raises:
        DataError: If the source is missing, empty or of no known kind, or the split is not there.

    Example:
        >>> len(list(open_untranscribed(DataSection(source="tests/data/prompts/fr"), "test")))
        49
    """
    if isinstance(section.source, str | Path):
        path = Path(section.source).expanduser()
        if is_there(path) and not any(kind.lies_at(path) for kind in KINDS):
            rows = LocalRows((Recordings(path.absolute()),))
            if next(iter(rows), None) is not None and (path.is_dir() or is_recording(path)):
                name = f"{path} ({EVERY_ROW})"
                return Selection(rows, name, EVERY_ROW, f"rows: the recordings of {path}, without text")
    return open_source(section, split)
