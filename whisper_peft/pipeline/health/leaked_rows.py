"""Which scored rows were learned: by their recording, also where it was copied, or by their sentence."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from whisper_peft.data.sources.mixed_sources import open_mixed
from whisper_peft.data.sources.opening import Source, open_split
from whisper_peft.data.survey.row_facts import known_facts
from whisper_peft.data.survey.transcript_survey import sentence_digest
from whisper_peft.recipe.sections import DataSection, Recipe
from whisper_peft.recipe.yaml_files import read_recipe, refuse_held_in_memory
from whisper_peft.types import Utterance

RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True, slots=True)
class LeakedRows:
    """Scored rows that were learned.

    Attributes:
        recordings: Ids of those whose recording was.
        sentences: Ids of those whose sentence was.
        learned: Digests of all sentences that were learned.
    """

    recordings: frozenset[str]
    sentences: frozenset[str]
    learned: frozenset[bytes]


def trained_sources(recipe: Recipe) -> list[Source]:
    """Open everything that a run learned from: its sources, and those of the run whose adapter it began with.

    Raises:
        WhisperPeftError: If one is missing, or stood in memory.
    """
    refuse_held_in_memory(recipe)
    sources = _trained(recipe.data)
    before = recipe.adapter.init.parent / RECIPE_FILE if recipe.adapter.init is not None else None
    if before is not None and before.is_file():
        sources += trained_sources(read_recipe(before))
    return sources


def _trained(section: DataSection) -> list[Source]:
    mixed = [place for place, one in enumerate(section.mix) if one.train is not None]
    return [open_split(section, "train"), *(open_mixed(section, place, "train") for place in mixed)]


def find_leaked(scored: Iterable[Utterance], trained: Iterable[Source]) -> LeakedRows | None:
    """Compare scored with learned rows; None where those are a stream, which nobody can look through.

    Recordings are the same where they lie at one path or hold the same bytes; only files of the same size
    are opened.

    Args:
        scored: Rows that are scored, undecoded.
        trained: What was learned from.
    """
    sources = list(trained)
    if any(source.is_stream for source in sources):
        return None
    by_digest, by_sentence, by_size = _index(scored)
    recordings, sentences, learned = set[str](), set[str](), set[bytes]()
    content = cache(_content)  # for this look alone: files may change
    for row in (row for source in sources for row in source):
        digest = sentence_digest(row.text)
        learned.add(digest)
        sentences |= by_sentence.get(digest, set())
        recordings |= by_digest.get(known_facts(row, 0).recording, set())
        recordings |= set(_copies(row, by_size, content))
    return LeakedRows(frozenset(recordings), frozenset(sentences), frozenset(learned))


def _index(
    scored: Iterable[Utterance],
) -> tuple[dict[bytes, set[str]], dict[bytes, set[str]], dict[int, list[Utterance]]]:
    """Return the ids of scored rows by recording and by sentence, and those in files by their size."""
    by_digest, by_sentence = defaultdict[bytes, set[str]](set), defaultdict[bytes, set[str]](set)
    by_size = defaultdict[int, list[Utterance]](list)
    for row in scored:
        by_digest[known_facts(row, 0).recording].add(row.id)
        if row.text.strip():
            by_sentence[sentence_digest(row.text)].add(row.id)
        if isinstance(row.audio, Path) and row.audio.is_file():
            by_size[row.audio.stat().st_size].append(row)
    return by_digest, by_sentence, by_size


def _copies(
    row: Utterance, by_size: Mapping[int, list[Utterance]], content: Callable[[Path], bytes]
) -> Iterator[str]:
    """Yield the ids of scored rows whose file holds the same bytes, at the same stretch."""
    if not isinstance(row.audio, Path) or not row.audio.is_file():
        return
    for other in by_size.get(row.audio.stat().st_size, ()):
        same_stretch = (row.start_s, row.end_s) == (other.start_s, other.end_s)
        if same_stretch and isinstance(other.audio, Path) and content(row.audio) == content(other.audio):
            yield other.id


def _content(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
