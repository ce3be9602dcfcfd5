"""Which rows are for training and which for scoring: forgiving, but never about a name the user gave."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from whisper_peft.errors import DataError, did_you_mean
from whisper_peft.recipe.sections import DataSection

Role = Literal["train", "eval", "dev"]
Part = Literal["whole", "train", "held-out"]

EVERY_ROW = "all"
"""Split name that stands for every row of a source, whatever its splits."""

HELD_OUT = "held-out"
"""Split name that stands for a tenth of the training rows, which are not learned then."""

_SAME = {"validation": "dev", "valid": "dev", "val": "dev", "devel": "dev"}
_SCORED = ("dev", "test", "eval", "evaluation", "heldout", "held")


@dataclass(frozen=True, slots=True)
class Choice:
    """A split of a source (None: rows have no split), the part of it to take, and why in a few words."""

    split: str | None
    part: Part
    reason: str = ""
    keeps_name: bool = False

    @property
    def label(self) -> str:
        """The name that selects the same rows again."""
        return (self.split or EVERY_ROW) if self.part == "whole" or self.keeps_name else self.part


def split_key(name: str) -> frozenset[str]:
    """Return the words of a split's name, spelled one way: `.`, `-`, `_` and `/` are the same.

    Example:
        >>> split_key("validation.clean") == split_key("dev-clean") == split_key("clean/validation")
        True
    """
    words = re.split(r"[\W_]+", name.lower())
    return frozenset(_SAME.get(word, word) for word in words if word)


def is_for_training(name: str) -> bool:
    """Tell whether a split's name says that it is for training.

    Example:
        >>> is_for_training("train.other.500"), is_for_training("test")
        (True, False)
    """
    return any(word.startswith("train") for word in split_key(name))


def is_for_scoring(name: str) -> bool:
    """Tell whether a split's name says that it is for scoring.

    Example:
        >>> is_for_scoring("heldout-clean"), is_for_scoring("test2"), is_for_scoring("train")
        (True, True, False)
    """
    return any(word in _SCORED or word.startswith("test") for word in split_key(name))


def find_split(name: str, splits: Sequence[str], *, config: str = "") -> str | None:
    """Return the split of that name, as it is or spelled otherwise; words of `config` may be left out.

    Example:
        >>> find_split("train.clean.100", ["dev-clean", "train-clean-100"])
        'train-clean-100'
        >>> find_split("validation.clean", ["train.100", "validation"], config="clean")
        'validation'
    """
    if name in splits:
        return name
    words = split_key(config)
    return next((split for split in splits if split_key(split) - words == split_key(name) - words), None)


def choose_named(name: str, splits: Sequence[str], *, source: str, config: str = "") -> Choice:
    """Choose the split that was asked for by name.

    Raises:
        DataError: If there is no such split.

    Example:
        >>> choose_named("validation", ["train", "dev"], source="speech.jsonl").split
        'dev'
    """
    if (found := find_split(name, splits, config=config)) is not None:
        return Choice(found, "whole")
    if name == EVERY_ROW:
        return Choice(None, "whole")
    if name in ("train", "held-out") and _has_one_use(splits):
        return _parted(name, splits)
    raise DataError(f"there is no split {name!r} in {source}", "", did_you_mean(name, _known(splits)))


def choose(
    section: DataSection, role: Role, splits: Sequence[str], *, source: str, config: str = ""
) -> Choice:
    """Choose the split for a role.

    A name the user gave is taken or refused. Where the recipe's default name is absent, the single split that
    looks right is taken; a source with one split, or none, is parted into `train` and `held-out`.

    Raises:
        DataError: If the named split is absent, or the default one is and several others would do.

    Example:
        >>> choose(DataSection(), "eval", ["train", "test"], source="speech.jsonl").split
        'test'
        >>> choose(DataSection(), "eval", [], source="speech.jsonl").part
        'held-out'
        >>> choose(DataSection(dev="held-out"), "train", ["train", "test"], source="speech.jsonl").part
        'train'
    """
    field = "train" if role == "train" else "dev" if role == "dev" and section.dev is not None else "eval"
    wanted = str(getattr(section, field))
    is_parted = _has_one_use(splits) and (
        "eval" not in section.model_fields_set or "held-out" in (section.eval, section.dev)
    )
    if _parts_training(section, splits) and (field == "train" or wanted == HELD_OUT):
        learned = _choose_whole(section, "train", splits, source=source, config=config)
        part: Part = "train" if field == "train" else "held-out"
        reason = f"a tenth of {learned.label} is held out, as asked for"
        return Choice(learned.split, part, reason, keeps_name=field == "train")
    if is_parted and field == "train" and find_split(wanted, splits, config=config) is not None:
        return _parted("train", splits)
    is_there = find_split(wanted, splits, config=config) is not None
    if is_parted and not is_there and field not in section.model_fields_set:
        return _parted("train" if field == "train" else "held-out", splits)
    return _choose_whole(section, field, splits, source=source, config=config)


def _choose_whole(
    section: DataSection, field: str, splits: Sequence[str], *, source: str, config: str
) -> Choice:
    wanted = str(getattr(section, field))
    if field in section.model_fields_set or find_split(wanted, splits, config=config) is not None:
        return choose_named(wanted, splits, source=source, config=config)
    return _choose_similar(field, wanted, splits, source)


def _parts_training(section: DataSection, splits: Sequence[str]) -> bool:
    """Tell whether rows are to be held out of a training split that has others beside it."""
    asked = HELD_OUT in (section.eval, section.dev)
    return asked and not _has_one_use(splits) and find_split(HELD_OUT, splits) is None


def _has_one_use(splits: Sequence[str]) -> bool:
    """Tell whether a source has no split at all, or one that is not for scoring."""
    return len(splits) <= 1 and not any(is_for_scoring(split) for split in splits)


def _parted(part: str, splits: Sequence[str]) -> Choice:
    reason = "no split is for scoring, so a tenth is held out; data.eval all would take every row"
    return Choice(splits[0] if splits else None, "train" if part == "train" else "held-out", reason)


def _known(splits: Sequence[str]) -> list[str]:
    parts = ("train", HELD_OUT) if _has_one_use(splits) else ()
    return list(dict.fromkeys((*splits, EVERY_ROW, *parts)))


def _choose_similar(field: str, wanted: str, splits: Sequence[str], source: str) -> Choice:
    scored = [split for split in splits if is_for_scoring(split) and not is_for_training(split)]
    chosen_while_training = [split for split in scored if "dev" in split_key(split)]
    trained = [split for split in splits if is_for_training(split)]
    for group in [trained] if field == "train" else [chosen_while_training, scored]:
        if len(group) == 1:
            return Choice(group[0], "whole", f"there is no {wanted!r}")
    todo = f"give data.{field}. Known: {', '.join(_known(splits))}"
    raise DataError(
        f"there is no split {wanted!r} in {source}", "it is not clear which other one to use", todo
    )
