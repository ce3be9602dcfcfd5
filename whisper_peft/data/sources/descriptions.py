"""What lies at a path, in words: what it is, which splits it has, and what to type to learn from it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from whisper_peft.data.sources.kinds import Corpus, kind_at
from whisper_peft.data.splits import Role, choose
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """What lies at a path, in words.

    Attributes:
        kind: The name of its `Kind`.
        sentence: What was found, in one line.
        splits: Names of the splits; empty where the rows have none.
        command: What to type to learn from it.
    """

    kind: str
    sentence: str
    splits: tuple[str, ...]
    command: str


def describe(path: Path, section: DataSection | None = None) -> SourceDescription:
    """Say in words what lies at a path, and how to learn from it.

    Args:
        path: A file or folder.
        section: Columns and splits, where they are not the default ones; its source is not looked at.

    Raises:
        DataError: If it is missing, empty, damaged or of no known kind.

    Example:
        >>> from tempfile import mkdtemp
        >>> file = Path(mkdtemp()) / "speech.jsonl"
        >>> _ = file.write_text('{"audio": "a.wav", "text": "Hello."}')
        >>> found = describe(file)
        >>> found.kind, found.splits, found.command.partition(" --data.source")[0]
        ('manifest', (), 'whisper-peft finetune lora-librispeech')
    """
    section = (section or DataSection()).model_copy(update={"source": path})
    kind = kind_at(path)
    corpus = kind.open(path, section)
    named = f"splits: {', '.join(corpus.splits)}" if corpus.splits else "no splits"
    sentence = f"{path} is {kind.layout}; {named}{_part_held_out(corpus, section)}"
    command = f"whisper-peft finetune lora-librispeech --data.source {shlex.quote(str(path))}"
    return SourceDescription(kind.name, sentence, tuple(corpus.splits), command + _flags(corpus, section))


def _part_held_out(corpus: Corpus, section: DataSection) -> str:
    chosen = _choices(corpus, section)
    return ", so a tenth is held out for scoring" if "held-out" in chosen.values() else ""


def _choices(corpus: Corpus, section: DataSection) -> dict[str, str]:
    """Return the split of each role, as the section's names find it; SPLIT where they find none."""
    chosen: dict[str, str] = {}
    roles: tuple[Role, ...] = ("train", "eval")
    for role in roles:
        try:
            choice = choose(section, role, corpus.splits, source=corpus.name, config=corpus.config)
            chosen[role] = choice.label
        except DataError:
            chosen[role] = "SPLIT"
    return chosen


def _flags(corpus: Corpus, section: DataSection) -> str:
    """Return the flags that name the splits, where the default ones would not find them."""
    chosen = _choices(corpus, section)
    if "SPLIT" not in chosen.values():
        return ""
    return "".join(f" --data.{role} {shlex.quote(split)}" for role, split in chosen.items())
