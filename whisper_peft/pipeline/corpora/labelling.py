"""label(): a corpus written down by a model, on one machine or many, as rows that finetune reads."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from whisper_peft.data.sources.opening import Source
from whisper_peft.data.sources.untranscribed import open_untranscribed
from whisper_peft.data.splits import EVERY_ROW
from whisper_peft.errors import DataError, RecipeError
from whisper_peft.model.adapters.folders import SAFE_FILE, find_adapter_folder
from whisper_peft.pipeline.context_choice import ContextChoice
from whisper_peft.pipeline.corpora.corpus_folder import CorpusFolder, ShardFormat
from whisper_peft.pipeline.corpora.corpus_hearing import Heard, Hearing, Listener
from whisper_peft.pipeline.corpora.labelled_rows import LabelledRow, doubt
from whisper_peft.pipeline.corpora.ray_workers import hear_on_ray, refuse_without_ray
from whisper_peft.pipeline.operations import choose_context, recipe_of
from whisper_peft.pipeline.runs.run_folder import ADAPTER
from whisper_peft.pipeline.runs.run_lock import RunLock
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.paths import with_absolute_paths
from whisper_peft.recipe.sections import DataSection, Recipe
from whisper_peft.types import Utterance


@dataclass(frozen=True, slots=True)
class LabelResult:
    """What came of a corpus.

    Attributes:
        folder: `data.source` of a training on it.
        rows: Rows to learn from, in its `metadata.jsonl`.
        hours: Their speech.
        left_out: Rows that are not in it, by reason.
        heard: Rows of the source that were heard this time;
        found: those that were finished before.
    """

    folder: str
    rows: int
    hours: float
    left_out: dict[str, int]
    heard: int
    found: int

    def to_dict(self) -> dict[str, Any]:
        """Return the plain JSON form."""
        return asdict(self)


def label(
    run_or_model: str | Path,
    source: Any,
    *,
    output_dir: str | Path,
    split: str = EVERY_ROW,
    model: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    audio_context: ContextChoice = "auto",
    batch_size: int = 8,
    min_confidence: float = 0.0,
    workers: int = 0,
    shard_rows: int = 128,
    format: ShardFormat = "jsonl",
    on_shard: Callable[[int], None] = lambda heard: None,
) -> LabelResult:
    """Write down a corpus with a model; stopped anywhere and called again, it goes on where it was.

    Every row of the source is in exactly one shard, with how sure the model is of it. `metadata.jsonl` holds
    those to learn from: not the ones that loop, repeat themselves, are silent or below `min_confidence`.

    Args:
        run_or_model: A run or adapter folder, or whatever `model.name` takes.
        source: Whatever `data.source` takes, or recordings without text: a file, or a folder of them.
        output_dir: Folder to write.
        split: Split of the source; all for every row.
        model: Fields of the section to override, such as `{"language": "fr"}`.
        data: Overrides of how rows are read, such as `{"audio_column": "wav", "text_column": "none"}`.
        audio_context: full, cut or auto, as `transcribe` takes it.
        batch_size: Clips heard together at 30 s context.
        min_confidence: Least confidence, from 0 to 1. It can be changed afterwards: nothing is heard again.
        workers: Ray workers, each with a model. 0: in this process, without Ray.
        shard_rows: Rows of a shard, which is what a worker takes at a time and what a stop loses at most.
        format: Of the shards: jsonl or parquet.
        on_shard: Called after each shard with the rows heard so far.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.

    Example:
        >>> label("runs/demo", "recordings/", output_dir="labelled")  # doctest: +SKIP
        LabelResult(folder='labelled', rows=49, hours=0.0436, left_out={}, heard=49, found=0)
    """
    _refuse_unfit(min_confidence, workers, shard_rows, batch_size)
    section = _data_section(source, data or {})
    hearing = _hearing(run_or_model, model or {}, audio_context, batch_size)
    rows = open_untranscribed(section, split)
    corpus = CorpusFolder(Path(output_dir), format)
    asked = _asked(hearing, section.source, split)
    with RunLock() as lock:
        lock.take(corpus.folder)
        corpus.open(asked)
        found = len(corpus.finished)
        shards = partial(read_shards, section, split, frozenset(corpus.finished), shard_rows)
        for heard in _heard(shards, hearing, workers):
            lock.refuse_if_lost()
            corpus.add(heard)
            on_shard(len(corpus.finished) - found)
        result = _assembled(corpus, asked, min_confidence, _unreadable(rows), found)
    return _not_empty(result, source)


def _data_section(source: Any, data: Mapping[str, Any]) -> DataSection:
    asked = {"data": {**data, "source": source}}
    return with_absolute_paths(apply_overrides(Recipe(), asked)).data


def _hearing(
    run_or_model: str | Path, model: Mapping[str, Any], choice: ContextChoice, batch_size: int
) -> Hearing:
    section = recipe_of(run_or_model, {"model": dict(model)} if model else {}).model
    return Hearing(
        run_or_model=_place(run_or_model),
        model=dict(model),
        language=section.language,
        task=section.task,
        audio_context=choose_context(run_or_model, choice),
        batch_size=batch_size,
    )


def _place(run_or_model: str | Path) -> str:
    """Return what workers load: a path that holds in any working directory, or the name of a model."""
    path = Path(run_or_model).expanduser()
    return str(path.absolute() if path.exists() else run_or_model)


def _not_empty(result: LabelResult, source: Any) -> LabelResult:
    if not result.rows:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(result.left_out.items()))
        why = f"all are left out: {reasons}" if reasons else "the source is empty"
        raise DataError(
            f"{source} has no row to learn from", why, "lower --min-confidence, or check the source"
        )
    return result


def _heard(
    shards: Callable[[], Iterator[Sequence[Utterance]]], hearing: Hearing, workers: int
) -> Iterator[list[Heard]]:
    """Yield what is heard of each shard; a finished corpus loads nothing."""
    first = next(shards(), None)
    if first is None:
        return
    if workers:
        yield from hear_on_ray(shards, hearing, workers=workers)
    else:
        yield from map(Listener(hearing).hear, shards())


def read_shards(
    section: DataSection, split: str, finished: frozenset[str], shard_rows: int
) -> Iterator[list[Utterance]]:
    """Yield the rows of a source that are not finished, some at a time, in its order.

    Example:
        >>> rows = [{"audio": f"{name}.wav", "text": "", "id": name} for name in "abcde"]
        >>> shards = read_shards(DataSection(source=rows), "all", frozenset("b"), 2)
        >>> [[row.id for row in shard] for shard in shards]
        [['a', 'c'], ['d', 'e']]
    """
    waiting = (row for row in open_untranscribed(section, split) if row.id not in finished)
    while shard := list(itertools.islice(waiting, shard_rows)):
        yield shard


def _unreadable(rows: Source) -> Counter[str]:
    """Count the rows that a source cannot offer; a stream, which would be read for it, is not asked."""
    if not rows.is_stream:
        deque(rows, maxlen=0)
    return Counter(rows.skipped)


def _asked(hearing: Hearing, source: Any, split: str) -> dict[str, Any]:
    """Return what transcripts depend on; an adapter by its content, as a folder may be trained on."""
    folder = Path(hearing.run_or_model)
    adapter = find_adapter_folder(folder / ADAPTER) or find_adapter_folder(folder)
    weights = adapter / SAFE_FILE if adapter else None
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights and weights.is_file() else None
    name = str(source) if isinstance(source, str | Path) else type(source).__name__
    asked = {**asdict(hearing), "source": name, "split": split, "adapter_sha256": digest}
    del asked["batch_size"]
    return asked


def _assembled(
    corpus: CorpusFolder,
    asked: Mapping[str, Any],
    min_confidence: float,
    left_out: Counter[str],
    found: int,
) -> LabelResult:
    """Write the rows to learn from, and the record of what came of the corpus."""
    kept: list[LabelledRow] = []
    for row in corpus.rows():
        reason = doubt(row, min_confidence)
        if reason is None:
            kept.append(row)
        else:
            left_out[reason] += 1
    corpus.write_manifest(kept)
    result = LabelResult(
        folder=str(corpus.folder),
        rows=len(kept),
        hours=round(sum(row.duration_s or 0.0 for row in kept) / 3600, 4),
        left_out=dict(sorted(left_out.items())),
        heard=len(corpus.finished) - found,
        found=found,
    )
    corpus.write_record({"asked": asked, "min_confidence": min_confidence, **result.to_dict()})
    return result


def _refuse_unfit(min_confidence: float, workers: int, shard_rows: int, batch_size: int) -> None:
    if not 0 <= min_confidence <= 1:
        raise RecipeError(f"min_confidence is {min_confidence}", "it is a probability", "give 0 to 1")
    if workers < 0:
        raise RecipeError(f"workers is {workers}", "there cannot be fewer than none", "give 0 or more")
    for name, value in {"shard_rows": shard_rows, "batch_size": batch_size}.items():
        if value < 1:
            raise RecipeError(f"{name} is {value}", "nothing would be heard", "give at least 1")
    if workers:
        refuse_without_ray()
