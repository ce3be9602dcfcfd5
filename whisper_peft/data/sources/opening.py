"""Where utterances come from: a path of any known kind, a name on the Hub, a plug-in, or an object in memory.

Every kind gives the same: undecoded utterances in a fixed order, as often as they are asked for. A *local*
source is cheap to look through before the expensive part begins; a *stream* is read a row at a time.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from whisper_peft.data.held_out import HOLD_OUT_SEED, HoldOut, choose_hold_out
from whisper_peft.data.sources.corrections import (
    Corrections,
    corrections_of,
    read_corrections,
    refuse_unknown,
    without_those_of,
)
from whisper_peft.data.sources.hub import open_hub
from whisper_peft.data.sources.in_memory import open_table
from whisper_peft.data.sources.kinds import PATH_SUFFIXES, Corpus, Rows, is_there, open_path
from whisper_peft.data.sources.named_sources import open_plug_in, plug_in_named
from whisper_peft.data.sources.skipping import Keeps, rows_after
from whisper_peft.data.sources.source_names import mixed_names
from whisper_peft.data.splits import (
    EVERY_ROW,
    HELD_OUT,
    Choice,
    Role,
    choose,
    choose_named,
    is_for_scoring,
    split_key,
)
from whisper_peft.data.subsets import Subset, choose_subset
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

logger = logging.getLogger(__name__)


class Source(Rows, Protocol):
    """The rows for one purpose, with unique ids."""

    @property
    def name(self) -> str:
        """The source and its split, for messages."""

    @property
    def split(self) -> str:
        """A name that opens the same rows again, for records."""

    @property
    def sentence(self) -> str:
        """What was opened and why, in one line."""


@dataclass(frozen=True)
class Selection:
    """A split of a corpus, or the part of it that is, or is not, held out; its rows as they are corrected.

    Parts are chosen by the text as it lies: a correction moves no row from the learned to the scored ones.
    """

    rows: Rows
    name: str
    split: str
    sentence: str
    hold_out: HoldOut | None = None
    keeps_held_out: bool = False
    subset: Subset | None = None
    corrections: Corrections | None = None

    @property
    def is_stream(self) -> bool:
        """Whether rows bring their recordings along."""
        return self.rows.is_stream

    @property
    def skipped(self) -> Mapping[str, int]:
        """Rows that the last pass could not offer, by reason."""
        return self.rows.skipped

    @property
    def count(self) -> int | None:
        """Rows there are, None where only reading a stream would tell."""
        if (
            self.hold_out is None
            and self.subset is None
            and not (self.corrections and self.corrections.dropped)
        ):
            return self.rows.count
        return None if self.is_stream else sum(1 for _ in self)

    def after(self, count: int, keeps: Keeps) -> Iterator[Utterance]:
        """Yield the rows that `keeps` wants, without the first `count`, unread as far as the kind allows."""
        if not self.is_stream:  # ids are made unique from the first row on
            return rows_after(iter(self), count, keeps)

        def is_wanted(row: Utterance) -> bool:
            row = _with_readable_id(row)
            return self._selects(row) and keeps(self._corrected(row))

        return map(self._corrected, map(_with_readable_id, rows_after(self.rows, count, is_wanted)))

    def __iter__(self) -> Iterator[Utterance]:
        rows: Iterable[Utterance] = map(_with_readable_id, self.rows)
        if not self.is_stream:
            rows = _with_unique_ids(rows)
        return map(self._corrected, filter(self._selects, rows))

    def _selects(self, row: Utterance) -> bool:
        is_on_this_side = self.hold_out is None or self.hold_out(row) == self.keeps_held_out
        is_in_part = is_on_this_side and (self.subset is None or self.subset(row))
        return is_in_part and (self.corrections is None or self.corrections.keeps(row))

    def _corrected(self, row: Utterance) -> Utterance:
        return row if self.corrections is None else self.corrections(row)


def open_split(section: DataSection, which: Role, *, seed: int = HOLD_OUT_SEED, mixed_as: str = "") -> Source:
    """Open the rows to train on, to score, or to choose the best step by.

    A split that the user named is taken or refused; a default one that is absent is replaced by the only one
    that looks right; without any, a tenth is held out: speakers, recordings or sentences. What was done
    stands in the source's `sentence`, which is also logged. Rows to train on are corrected
    (`data.corrections`), the others never.

    Args:
        section: Where the speech lies.
        which: What the rows are for.
        seed: Of a hold-out.
        mixed_as: Name of the source in a mixture, by which corrections are its own; empty for the main one.

    Raises:
        DataError: If the source is missing, empty or of no known kind, or the split is not there, or a
            correction is for no row.

    Example:
        >>> section = DataSection(source=[{"audio": "a.wav", "text": str(n)} for n in range(20)])
        >>> open_split(section, "train").count, open_split(section, "eval").count
        (18, 2)
    """
    wanted = section.train if which == "train" else (section.dev if which == "dev" else None) or section.eval
    corpus = _open_corpus(section, section.train if wanted == HELD_OUT else wanted)
    choice = choose(section, which, corpus.splits, source=corpus.name, config=corpus.config)
    opened = _select(corpus, choice, seed, purpose=which)
    if which != "train":
        return opened
    part = opened if section.train_share == 1 else _part_of(opened, section.train_share)
    return _corrected((part,), section, mixed_as)[0]


def open_source(section: DataSection, split_name: str, *, seed: int = HOLD_OUT_SEED) -> Source:
    """Open a split by its name; `all` stands for every row.

    Raises:
        DataError: If the source is missing, empty or of no known kind, or the split is not there.

    Example:
        >>> section = DataSection(source=[{"audio": "a.wav", "text": "A", "split": "test"}])
        >>> [utterance.text for utterance in open_source(section, "test")]
        ['A']
    """
    corpus = _open_corpus(section, split_name)
    choice = choose_named(split_name, corpus.splits, source=corpus.name, config=corpus.config)
    return _select(corpus, choice, seed, purpose="rows")


def open_splits(section: DataSection, *, mixed_as: str = "") -> tuple[Source, ...]:
    """Open every split of a source, or all rows of one that has none; those not for scoring are corrected.

    Args:
        section: Where the speech lies.
        mixed_as: Name of the source in a mixture; empty for the main one.

    Raises:
        DataError: If the source is missing, empty or of no known kind, or a correction is for no row.

    Example:
        >>> rows = [{"audio": "a.wav", "text": "A", "split": split} for split in ("test", "train")]
        >>> [source.split for source in open_splits(DataSection(source=rows))]
        ['test', 'train']
    """
    corpus = _open_corpus(section, section.train)
    names = corpus.splits or (EVERY_ROW,)
    choices = [choose_named(name, corpus.splits, source=corpus.name, config=corpus.config) for name in names]
    opened = tuple(_select(corpus, choice, HOLD_OUT_SEED, purpose="rows") for choice in choices)
    return _corrected(opened, section, mixed_as)


def _open_corpus(section: DataSection, wanted: str) -> Corpus:
    source = section.source
    if not isinstance(source, str | Path):
        return open_table(source, section)
    path = Path(source).expanduser()
    if is_there(path):
        return open_path(path, section)
    if (plug_in := plug_in_named(str(source))) is not None:
        return open_plug_in(plug_in, section)
    return (
        open_hub(str(source), section, wanted=wanted)
        if _is_hub_name(str(source))
        else open_path(path, section)
    )


def _is_hub_name(source: str) -> bool:
    """Tell whether a name could be a repository's: `owner/name` or `name`, without a suffix of ours."""
    is_name = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source) is not None
    return is_name and not source.endswith(PATH_SUFFIXES)


def _part_of(selection: Selection, share: float) -> Selection:
    subset = choose_subset(selection, share, is_stream=selection.is_stream, seed=HOLD_OUT_SEED)
    sentence = f"{selection.sentence}; of it {subset.sentence} (data.train_share {share:g})"
    logger.info(sentence)
    return dataclasses.replace(selection, subset=subset, sentence=sentence)


def _corrected(opened: Sequence[Selection], section: DataSection, mixed_as: str) -> tuple[Selection, ...]:
    """Return splits of one source as `data.corrections` says; of several, those for scoring as they are."""
    if section.corrections is None:
        return tuple(opened)
    file = section.corrections
    table = read_corrections(file)
    learned = [one for one in opened if len(opened) == 1 or not is_for_scoring(one.split)]
    found = {one.split: corrections_of(table, one.split, file=file, source=mixed_as) for one in learned}
    if not any(one.is_stream for one in learned):
        known = {row.id for one in learned for row in dataclasses.replace(one, hold_out=None, subset=None)}
        wanted = {row_id for corrections in found.values() for row_id in corrections.ids}
        unknown = without_those_of(mixed_names(section.mix), wanted - known)
        prefix = f"{mixed_as}/" if mixed_as else ""
        where = ", ".join(one.name for one in learned)
        refuse_unknown([prefix + one for one in unknown], known, file=file, source=where)
    return tuple(_with_corrections(one, found.get(one.split), file) for one in opened)


def _with_corrections(selection: Selection, corrections: Corrections | None, file: Path) -> Selection:
    if corrections is None:
        return selection
    ids = None if selection.is_stream else {row.id for row in selection}
    sentence = f"{selection.sentence}; {corrections.sentence(ids, file)}"
    logger.info(sentence)
    return dataclasses.replace(selection, corrections=corrections, sentence=sentence)


def _select(corpus: Corpus, choice: Choice, seed: int, *, purpose: str) -> Selection:
    rows = corpus.select(choice.split)
    label = _label(choice, corpus.config)
    name = f"{corpus.name} ({label})"
    why = [choice.reason] if choice.reason else []
    rule = None
    if choice.part != "whole":
        rule = choose_hold_out(rows, is_stream=rows.is_stream, seed=seed, source=name)
        why.append(f"parted by {rule.by}, seed {seed}")
    if not rows.is_stream and (repeats := _count_repeated_ids(rows)):
        why.append(f"{repeats} ids were used twice and got a suffix")
    sentence = f"{purpose}: {label} of {corpus.name}" + (f" ({'; '.join(why)})" if why else "")
    logger.info(sentence)
    return Selection(rows, name, label, sentence, rule, keeps_held_out=choice.part == "held-out")


def _label(choice: Choice, config: str) -> str:
    """Return a name that finds the configuration again too."""
    is_said = config in ("", "default") or split_key(config) <= split_key(choice.label)
    return (
        choice.label
        if choice.split is None or choice.part != "whole" or is_said
        else f"{config}/{choice.label}"
    )


def _count_repeated_ids(rows: Rows) -> int:
    ids = [row.id for row in rows]
    return len(ids) - len(set(ids))


def _with_readable_id(row: Utterance) -> Utterance:
    """Put a question mark for what no encoding can write: ids may be names of files in another one."""
    readable = row.id.encode("utf-8", "replace").decode("utf-8")
    return row if readable == row.id else dataclasses.replace(row, id=readable)


def _with_unique_ids(rows: Iterable[Utterance]) -> Iterator[Utterance]:
    """Give the second and later uses of an id the suffix -2, -3 and so on."""
    given: set[str] = set()
    for row in rows:
        candidates = (f"{row.id}-{use}" for use in itertools.count(2))
        unique = row.id if row.id not in given else next(name for name in candidates if name not in given)
        given.add(unique)
        yield row if unique == row.id else dataclasses.replace(row, id=unique)
