"""A stream without the rows that cannot be learned from, which may begin where a stopped run was."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from whisper_peft.data.batches.stream_pools import StreamPlace
from whisper_peft.data.checking import ROWS_TO_JUDGE, check_row, refuse_too_many
from whisper_peft.data.sources.opening import Source
from whisper_peft.data.sources.skipping import rows_after
from whisper_peft.data.targets.labels import Labeller
from whisper_peft.data.targets.neighbours import with_previous_text
from whisper_peft.recipe.sections import Recipe
from whisper_peft.types import Utterance


@dataclass
class CheckedStream:
    """A stream without the rows that cannot be learned from; they are counted in the first epoch.

    A row's number is its place in the source. A resumed run begins at the row before the first one it wants,
    which tells what was said before that.
    """

    source: Source
    labeller: Labeller
    recipe: Recipe
    skipped: Counter[str] = field(default_factory=Counter)
    _passes: int = 0

    def __iter__(self) -> Iterator[Utterance]:
        self._passes += 1
        return (row for _, row in self.numbered(StreamPlace(), epoch=self._passes - 1))

    @property
    def left_out(self) -> Mapping[str, int]:
        """Rows refused so far, by reason."""
        return self.skipped

    def numbered(self, place: StreamPlace, *, epoch: int) -> Iterator[tuple[int, Utterance]]:
        """Yield the rows from a place on, each with its number in the source."""
        if place.fresh:
            self.skipped = Counter(place.left_out)
        numbers: deque[int] = deque()
        counted_from = place.fresh if epoch == 0 else None
        checked = self._checked(place.start, counted_from, numbers)
        for row in with_previous_text(checked):
            yield numbers.popleft(), row

    def _checked(self, start: int, counted_from: int | None, numbers: deque[int]) -> Iterator[Utterance]:
        for number, utterance in enumerate(rows_after(self.source, start), start):
            checked, reason = check_row(
                utterance, section=self.recipe.data, label_length=self.labeller.length
            )
            if reason is None:
                numbers.append(number)
                yield checked
            elif counted_from is not None and number >= counted_from:
                self.skipped[reason] += 1
                if number + 1 >= ROWS_TO_JUDGE:
                    refuse_too_many(self.source.name, number + 1, self.skipped, section=self.recipe.data)
