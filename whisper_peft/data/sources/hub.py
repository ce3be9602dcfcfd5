"""Data sets of the Hugging Face Hub, streamed: nothing is downloaded but what is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import datasets

from whisper_peft.data.sources.patience import ask_patiently, read_patiently
from whisper_peft.data.sources.rows import Columns, find_columns, refusal, to_utterance
from whisper_peft.data.splits import split_key
from whisper_peft.errors import DataError, did_you_mean
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance


@dataclass(frozen=True)
class HubRows:
    """The rows of splits, streamed anew at each pass. Ids are those of the corpus, which nothing checks."""

    repo: str
    config: str | None
    splits: tuple[str, ...]
    columns: Columns
    is_stream: bool = True
    count: int | None = None
    skipped: Counter[str] = field(default_factory=Counter, compare=False)

    def __iter__(self) -> Iterator[Utterance]:
        self.skipped.clear()
        for split in self.splits:
            for number, row in enumerate(read_patiently(partial(self._open_at, split), name=self.repo)):
                if (reason := refusal(row, self.columns)) is not None:
                    self.skipped[reason] += 1
                else:
                    yield to_utterance(row, self.columns, fallback_id=f"{split}:{number}")

    def _open_at(self, split: str, row: int) -> Iterator[Any]:
        return iter(undecoded(_stream(self.repo, self.config, split), self.columns.audio).skip(row))


@dataclass(frozen=True)
class HubCorpus:
    """One configuration of a data set."""

    name: str
    config: str
    splits: tuple[str, ...]
    section: DataSection

    def select(self, split: str | None) -> HubRows:
        """Return the rows of a split, or of all of them."""
        config = self.config or None
        splits = self.splits if split is None else (split,)
        first = _stream(self.name, config, splits[0])
        names = first.column_names or list(next(iter(first), {}))
        columns = find_columns(names, self.section, source=self.name, cut=True)
        return HubRows(self.name, config, splits, columns)


def open_hub(repo: str, section: DataSection, *, wanted: str) -> HubCorpus:
    """Choose the configuration and list its splits.

    The configuration is `data.config`, else the one that the wanted split's name holds (`clean` in
    `train.clean.100`), else the only or the default one.

    Raises:
        DataError: If the data set cannot be reached, or the configuration is not clear.
    """
    configs = _ask(repo, lambda: datasets.get_dataset_config_names(repo))
    config = section.config or _config_for(wanted, configs, repo)
    if config not in configs:
        raise DataError(
            f"data.config is {config!r}", f"{repo} has no such one", did_you_mean(config, configs)
        )
    splits = _ask(repo, lambda: datasets.get_dataset_split_names(repo, config))
    return HubCorpus(repo, config, tuple(splits), section)


def undecoded(rows: Any, audio_column: str) -> Any:
    """Return the data set with its recordings as they are stored, so that no decoder is needed."""
    if isinstance((rows.features or {}).get(audio_column), datasets.Audio):
        return rows.cast_column(audio_column, datasets.Audio(decode=False))
    return rows


def _config_for(wanted: str, configs: Sequence[str], repo: str) -> str:
    named = [config for config in configs if split_key(config) and split_key(config) <= split_key(wanted)]
    for choice in (
        named,
        configs if len(configs) == 1 else [],
        [name for name in configs if name == "default"],
    ):
        if len(choice) == 1:
            return choice[0]
    why = f"the split {wanted!r} does not say which of its {len(configs)} configurations"
    raise DataError(f"{repo} needs data.config", why, f"Known: {', '.join(configs)}")


def _stream(repo: str, config: str | None, split: str) -> Any:
    return _ask(repo, lambda: datasets.load_dataset(repo, config, split=split, streaming=True))


def _ask(repo: str, question: Callable[[], Any]) -> Any:
    """Put a question to the Hub, patiently; say in a sentence why there is no answer."""
    try:
        return ask_patiently(question, name=f"the Hub ({repo})")
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        why = f"it is no path here, and the Hub does not give it ({type(error).__name__}: {error})".split(
            "\n"
        )[0]
        todo = "check the spelling and the connection, or give a path"
        raise DataError(f"data.source {repo!r} cannot be opened", why, todo) from error
