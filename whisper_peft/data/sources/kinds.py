"""The kinds of corpora that lie at a path: how each is known by what lies there, and how it is opened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from whisper_peft.data.effects.recordings import is_recording
from whisper_peft.data.sources.archives import ARCHIVE_SUFFIXES, archives_in, open_archives
from whisper_peft.data.sources.common_voice import open_common_voice, tables_in
from whisper_peft.data.sources.kaldi import data_folders, open_kaldi
from whisper_peft.data.sources.ljspeech import metadata_of, open_ljspeech
from whisper_peft.data.sources.manifests import (
    MANIFEST_SUFFIXES,
    manifests_in,
    metadata_files,
    open_manifests,
)
from whisper_peft.data.sources.openslr import open_split_folders, split_folders
from whisper_peft.data.sources.parquet import open_shards, shards_in
from whisper_peft.data.sources.side_by_side import has_texts_beside, open_side_by_side
from whisper_peft.data.sources.subtitled import SUBTITLE_SUFFIXES, has_subtitles, open_subtitled
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

PATH_SUFFIXES = (*MANIFEST_SUFFIXES, *ARCHIVE_SUFFIXES, *SUBTITLE_SUFFIXES, ".parquet")
"""Endings of files that are a corpus, which no data set of the Hub has."""


class Rows(Protocol):
    """Utterances of one kind of source."""

    @property
    def is_stream(self) -> bool:
        """Whether rows bring their recordings along, so that looking through them is not cheap."""

    @property
    def count(self) -> int | None:
        """Rows there are, None where only reading them all would tell."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """Rows that the last pass could not offer, by reason."""

    def __iter__(self) -> Iterator[Utterance]:
        """Yield undecoded utterances, from the first one at each call."""


@runtime_checkable
class Corpus(Protocol):
    """Speech with splits, of which each can be opened."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def config(self) -> str:
        """The configuration, whose words the name of a split may leave out; empty where there is none."""

    @property
    def splits(self) -> Sequence[str]:
        """Names of the splits; empty where the rows have none."""

    def select(self, split: str | None) -> Rows:
        """Return the rows of a split, or all of them."""


@dataclass(frozen=True)
class Kind:
    """One way in which speech and its text lie on disk.

    Attributes:
        name: The word for it.
        layout: What lies there, in words.
        lies_at: Tells whether that is what lies at a path which exists.
        open: Opens it.
    """

    name: str
    layout: str
    lies_at: Callable[[Path], bool]
    open: Callable[[Path, DataSection], Corpus]


KINDS = (
    Kind(
        "common-voice",
        "Common Voice: clips/ and a table for each split (train.tsv, dev.tsv, test.tsv)",
        lambda path: bool(tables_in(path)),
        lambda path, section: open_common_voice(tables_in(path), section, name=str(path)),
    ),
    Kind(
        "kaldi",
        "Kaldi data folders: wav.scp and text",
        lambda path: bool(data_folders(path)),
        lambda path, section: open_kaldi(data_folders(path), name=str(path)),
    ),
    Kind(
        "ljspeech",
        "LJSpeech: wavs/ and metadata.csv with `|` between its cells",
        lambda path: metadata_of(path) is not None,
        lambda path, section: open_ljspeech(metadata_of(path) or path, section, name=str(path)),
    ),
    Kind(
        "metadata-folder",
        "recordings with a metadata.jsonl, .csv or .tsv beside them",
        lambda path: path.is_dir() and bool(metadata_files(path)),
        lambda path, section: open_manifests(metadata_files(path), section, name=str(path)),
    ),
    Kind(
        "openslr-folder",
        "LibriSpeech unpacked: split/speaker/chapter/*.flac and *.trans.txt",
        lambda path: bool(split_folders(path)),
        lambda path, section: open_split_folders(split_folders(path), name=str(path)),
    ),
    Kind(
        "openslr-tar",
        "LibriSpeech packed: .tar or .tar.gz",
        lambda path: bool(archives_in(path)),
        lambda path, section: open_archives(archives_in(path), name=str(path)),
    ),
    Kind(
        "parquet",
        "parquet shards as the Hub stores speech",
        lambda path: bool(shards_in(path)),
        lambda path, section: open_shards(path, section, name=str(path)),
    ),
    Kind(
        "manifest",
        "a manifest (.jsonl, .csv or .tsv) with a row for each utterance",
        lambda path: path.is_file() and path.suffix in MANIFEST_SUFFIXES,
        lambda path, section: open_manifests((path,), section, name=str(path)),
    ),
    Kind(
        "manifest-folder",
        "a folder with one manifest, or one named after each split (train.jsonl, test.jsonl)",
        lambda path: path.is_dir() and bool(manifests_in(path)),
        lambda path, section: open_manifests(
            manifests_in(path), section, name=str(path), named_by_file=len(manifests_in(path)) > 1
        ),
    ),
    Kind(
        "subtitled",
        "long recordings with .srt or .vtt beside them",
        has_subtitles,
        lambda path, section: open_subtitled(path, section, name=str(path)),
    ),
    Kind(
        "side-by-side",
        "recordings with their text beside them (a.wav and a.txt)",
        lambda path: path.is_dir() and has_texts_beside(path),
        lambda path, section: open_side_by_side(path, name=str(path)),
    ),
)
"""In the order they are tried: those that only one corpus has come first."""


def open_path(path: Path, section: DataSection) -> Corpus:
    """Open the corpus at a path.

    Raises:
        DataError: If it is missing, empty, damaged or of no known kind.
    """
    return kind_at(path).open(path, section)


def kind_at(path: Path) -> Kind:
    """Return the kind of data at a path, by what lies there.

    Raises:
        DataError: If there is nothing, or nothing of a known kind; the message says what there is.

    Example:
        >>> kind_at(Path("no.jsonl"))
        Traceback (most recent call last):
        whisper_peft.errors.DataError: data.source no.jsonl is missing - there is no such path - check it
    """
    if not is_there(path):
        raise DataError(f"data.source {path} is missing", "there is no such path", "check it")
    found = next((kind for kind in KINDS if kind.lies_at(path)), None)
    if found is None:
        raise DataError(f"data.source {path} is of no known kind", _what_lies_at(path), _what_to_give(path))
    return found


def is_there(path: Path) -> bool:
    """Tell whether there is anything at a path, which may be longer than any path can be.

    Example:
        >>> is_there(Path("x" * 5_000))
        False
    """
    with suppress(OSError):
        return path.exists()
    return False


def _what_lies_at(path: Path) -> str:
    """Say what there is, for who expected something else."""
    if path.is_file():
        return "a recording without text" if is_recording(path) else f"nothing is known to read {path.name}"
    if not path.is_dir():
        return "it is neither a file nor a folder"
    suffixes = Counter(_noun(child) for child in path.iterdir())
    if not suffixes:
        return "the folder is empty"
    listed = ", ".join(f"{count} {noun}" for noun, count in suffixes.most_common(5))
    return f"it holds {listed}, and nothing in it says what was spoken"


def _noun(path: Path) -> str:
    return "folders" if path.is_dir() else path.suffix or "files without suffix"


def _what_to_give(path: Path) -> str:
    """Return the nearest way to what can be read."""
    inner = sorted(child for child in path.iterdir() if child.is_dir()) if path.is_dir() else []
    for child in inner[:20]:
        if found := next((kind for kind in KINDS if kind.lies_at(child)), None):
            return f"give {child} ({found.layout})"
    beside = list(path.iterdir()) if path.is_dir() else [path]
    if any(map(is_recording, beside)):
        return "put a text beside each recording (a.txt, a.srt or a.vtt), or write a metadata.jsonl"
    if tables := [file.name for file in beside if file.suffix in MANIFEST_SUFFIXES]:
        return f"give one file, such as {tables[0]}, with data.audio_column and data.text_column"
    return f"give one of these: {'; '.join(kind.layout for kind in KINDS)}"
