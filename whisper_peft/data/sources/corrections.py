"""Corrections of training rows: the table that `inspect` and a run write, filled in by who heard the rows.

A row of the table is found in the corpus by its `id`. A filled `corrected_text` is learned in place of the
row's own text, and the action `drop` leaves the row out; any other row of the table changes nothing. What is
scored stays as it lies, so that runs before and after a correction are compared on the same text.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_peft.data.sources.cells import text_in
from whisper_peft.data.sources.manifests import column_names, read_rows
from whisper_peft.data.splits import EVERY_ROW, split_key
from whisper_peft.errors import DataError, did_you_mean
from whisper_peft.types import Utterance

ID, TEXT, ACTION, SPLIT = "id", "corrected_text", "action", "split"

ACTIONS = ("check", "drop")
"""What `suspicious.csv` says is to be done with a row. An empty cell is as good as check."""

LEARNED = "train"
"""What a run's `suspicious.csv` calls the training split, whatever its name in the corpus."""

_NAMED = 3
"""Rows that a message names."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A row of the table: the text to learn, or whether to leave the row out; neither changes nothing."""

    row: int
    id: str
    text: str | None
    is_dropped: bool
    split: str

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self.is_dropped or self.text is not None

    def is_of(self, split: str) -> bool:
        """Tell whether the row may be one of a split to learn from, by what the table says of its split."""
        if self.split in ("", LEARNED, EVERY_ROW) or split == EVERY_ROW:
            return True
        return split_key(self.split) <= split_key(split)

    def __str__(self) -> str:
        return f"row {self.row}, {self.id}" if self.id else f"row {self.row}"


@dataclass(frozen=True)
class Corrections:
    """What is to be done with the rows of one split, by their ids.

    Attributes:
        texts: What to learn in place of their text.
        dropped: Those to leave out.
    """

    texts: Mapping[str, str]
    dropped: frozenset[str]

    @property
    def ids(self) -> frozenset[str]:
        """Every row that is to change."""
        return self.dropped | frozenset(self.texts)

    def keeps(self, row: Utterance) -> bool:
        """Tell whether a row is learned at all."""
        return row.id not in self.dropped

    def __call__(self, row: Utterance) -> Utterance:
        """Return a row with the text to learn; timed parts of the old text go with it.

        Example:
            >>> corrections = Corrections({"a": "Right."}, frozenset())
            >>> corrections(Utterance("a", b"", "Wrong.")).text, corrections(Utterance("b", b"", "So.")).text
            ('Right.', 'So.')
        """
        text = self.texts.get(row.id)
        return row if text is None else dataclasses.replace(row, text=text, segments=())

    def sentence(self, ids: Collection[str] | None, file: Path) -> str:
        """Say what changes of the rows with these ids; None: of a stream, whose ids nobody knows before.

        Example:
            >>> Corrections({"a": "Right."}, frozenset("b")).sentence(["a", "c"], Path("my.csv"))
            '1 texts corrected, 0 rows left out by my.csv'
        """
        texts, dropped = (set(one) if ids is None else {*one} & {*ids} for one in (self.texts, self.dropped))
        told = f"{len(texts)} texts corrected, {len(dropped)} rows left out by {file}"
        return told if ids is not None else f"up to {told}, as ids of a stream are met on the way"


def corrections_of(table: Sequence[Correction], split: str, *, file: Path, source: str = "") -> Corrections:
    """Return what is to be done with the rows of a split.

    Args:
        table: All corrections.
        split: Name of the split.
        file: Where they stand.
        source: Name of a source that is mixed in: its rows have it before their ids. Empty: the main one.

    Raises:
        DataError: If two of them are for one row.

    Example:
        >>> table = [Correction(1, "old/a", "Right.", False, ""), Correction(2, "b", None, True, "dev")]
        >>> corrections_of(table, "train", file=Path("my.csv"), source="old").texts
        {'a': 'Right.'}
    """
    prefix = f"{source}/" if source else ""
    mine = [one for one in table if one.id.startswith(prefix) and one.is_of(split)]
    _refuse_repeated(mine, file)
    texts = {one.id.removeprefix(prefix): one.text for one in mine if one.text is not None}
    return Corrections(texts, frozenset(one.id.removeprefix(prefix) for one in mine if one.is_dropped))


def read_corrections(file: Path) -> tuple[Correction, ...]:
    """Read the table: a CSV as a spreadsheet program saves it, a TSV, or JSON lines.

    Raises:
        DataError: If it is missing, lacks a column, or a row of it cannot be followed.

    Example:
        >>> read_corrections(Path("no.csv"))
        Traceback (most recent call last):
        whisper_peft.errors.DataError: data.corrections no.csv is missing - there is no such file - check it
    """
    file = file.expanduser()
    if not file.is_file():
        why = "it is a folder" if file.is_dir() else "there is no such file"
        raise DataError(f"data.corrections {file} is missing", why, "check it")
    _refuse_missing_columns(column_names(file, rows=None), file)
    table = tuple(_correction(row, number, file) for number, row in read_rows(file))
    _refuse(
        "have a corrected_text, and drop as their action",
        [one for one in table if one.is_dropped and one.text is not None],
        file,
        "a row that is left out has no text to learn",
        "empty one of the two cells",
    )
    nameless = [one for one in table if one.changes and not one.id]
    _refuse("have no id", nameless, file, "rows are found by their id", "copy it from suspicious.csv")
    return table


def refuse_unknown(unknown: Collection[str], known: Collection[str], *, file: Path, source: str) -> None:
    """Refuse ids that no row to learn from has.

    Args:
        unknown: The ids, as they stand in the table.
        known: Ids that there are.
        file: The table.
        source: Where they were looked for.

    Raises:
        DataError: If there are any.
    """
    if not unknown:
        return
    such = f"; ids there are like {min(known)}" if known else ""
    raise DataError(
        f"data.corrections {file} has {len(unknown)} ids that are not there ({_some(sorted(unknown))})",
        f"no training row of {source} has them{such}: did the speech, or its split, change?",
        "mend the ids, or take these rows out of the file",
    )


def _correction(row: Mapping[str, Any] | None, number: int, file: Path) -> Correction:
    if row is None:
        why = "it has more or fewer cells than columns, or its quotes do not match"
        raise DataError(f"row {number} of data.corrections {file} cannot be read", why, "mend it")
    cells = {name: (text_in(row, name) or "").strip() for name in (ID, TEXT, ACTION, SPLIT)}
    if any("\ud800" <= letter <= "\udfff" for name in (ID, TEXT) for letter in str(row.get(name))):
        what = f"row {number} of data.corrections {file} is no UTF-8"
        raise DataError(what, "some of its letters cannot be told", "save the table as CSV UTF-8")
    action = cells[ACTION].lower()
    if action not in ("", *ACTIONS):
        what = f"the action of row {number} of data.corrections {file} ({cells[ID]}) is {cells[ACTION]!r}"
        raise DataError(what, "it tells nothing to do", did_you_mean(action, ACTIONS))
    return Correction(number, cells[ID], cells[TEXT] or None, action == "drop", cells[SPLIT])


def _refuse_missing_columns(names: Collection[str], file: Path) -> None:
    there = f"keep the columns of suspicious.csv. There are: {', '.join(names)}"
    if names and ID not in names:
        raise DataError(f"data.corrections {file} has no column {ID!r}", "rows are found by their id", there)
    if names and not {TEXT, ACTION} & {*names}:
        what = f"data.corrections {file} has no column {TEXT!r} and none {ACTION!r}"
        raise DataError(what, "it would change nothing", there)


def _refuse(told: str, rows: Sequence[Correction], file: Path, why: str, todo: str) -> None:
    if rows:
        raise DataError(f"rows of data.corrections {file} {told} ({_some(rows)})", why, todo)


def _refuse_repeated(table: Sequence[Correction], file: Path) -> None:
    by_id: defaultdict[str, list[Correction]] = defaultdict(list)
    for one in table:
        if one.id:
            by_id[one.id].append(one)
    repeated = [one for same in by_id.values() if len(same) > 1 for one in same]
    _refuse(
        "have an id that others have", repeated, file, "it is not clear which one counts", "keep one each"
    )


def _some(names: Sequence[object]) -> str:
    return "; ".join([*map(str, names[:_NAMED]), *(["..."] if len(names) > _NAMED else [])])


def without_those_of(names: Collection[str], ids: Collection[str]) -> Iterator[str]:
    """Yield ids that do not begin with the name of a source that is mixed in.

    Example:
        >>> list(without_those_of(["old"], ["old/a", "older/a"]))
        ['older/a']
    """
    return (one for one in ids if not any(one.startswith(f"{name}/") for name in names))
