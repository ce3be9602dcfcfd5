"""inspect(): what lies at a source, how good it is, and which rows to drop or to check."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from whisper_peft.data.clips import choose_clips, encode_clip
from whisper_peft.data.decoding import decode as decode_audio
from whisper_peft.data.descriptions import describe
from whisper_peft.data.findings import Inspection, ListeningFigures, Reason, Suspect
from whisper_peft.data.labels import Labeller
from whisper_peft.data.row_facts import RowFacts, examine_row
from whisper_peft.data.sources import Source, open_split, open_splits
from whisper_peft.data.splits import Role
from whisper_peft.data.survey import Survey, scored_first
from whisper_peft.data.text_style import TextCase, choose_text_case
from whisper_peft.errors import AudioError, RecipeError
from whisper_peft.measuring import usable_cores
from whisper_peft.model.blueprint import sketch
from whisper_peft.model.checkpoints import resolve_checkpoint
from whisper_peft.model.loading import Whisper, load_run_or_model
from whisper_peft.model.vocabulary import WhisperVocabulary
from whisper_peft.model.whisper_tokenizers import load_tokenizer
from whisper_peft.pipeline.listening import OTHER_WORDS_WER, Listener
from whisper_peft.pipeline.run_folder import RECIPE_FILE
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.reporting.inspection_page import write_inspection
from whisper_peft.reporting.json_lines import read_predictions
from whisper_peft.reporting.progress import EvalProgress
from whisper_peft.types import Utterance

Overrides = Mapping[str, Any]

ROLES: tuple[Role, ...] = ("train", "eval", "dev")

AHEAD = 8
"""Rows that wait for each thread: a long recording holds nobody up."""

PROGRESS_ROWS = 20
"""Rows between two looks at the progress."""


def inspect(
    source: Any,
    *,
    data: Overrides | None = None,
    model: Overrides | None = None,
    run: str | Path | None = None,
    decode: bool = True,
    listen: bool = False,
    max_rows: int | None = None,
    output_dir: str | Path | None = None,
) -> Inspection:
    """Look through speech before anything is learned from it, and say which rows to drop or to check.

    All splits are looked at, or those that `data` names as `train`, `eval` or `dev`.

    Args:
        source: A path, a name on the Hub or an iterable: what `data.source` takes.
        data: Fields of the section, such as `{"text_column": "sentence"}`.
        model: Fields of the section. Where a name is given, labels are counted in its tokens.
        run: A run folder or model to listen with; of a run, what it predicted is looked at too.
        decode: Whether recordings are decoded. Without, only their headers are read.
        listen: Whether the model hears each row, to find texts that it finds unlikely.
        max_rows: Rows of each split to look at: evenly drawn, but of a stream the first ones.
        output_dir: Folder for inspection.json, inspection.html and suspicious.csv. None: none is written.

    Raises:
        WhisperPeftError: With what is wrong, why, and what to do.

    Example:
        >>> rows = [{"audio": "no.wav", "text": "Hello.", "split": "train"}]
        >>> inspect(rows).refused
        {'missing': 1}
    """
    if max_rows is not None and max_rows < 1:
        raise RecipeError(
            f"--max-rows is {max_rows}", "no row would be looked at", "give at least 1, or leave it out"
        )
    overrides: dict[str, Any] = {"data": {**(data or {}), "source": source}}
    if model:
        overrides["model"] = dict(model)
    recipe = apply_overrides(_recipe_of(run), overrides)
    whisper = load_run_or_model(str(run or recipe.model.name), recipe.model) if listen else None
    counts_labels = whisper is not None or run is not None or "name" in (model or {})
    looking = Looking(
        _described(recipe),
        _opened(recipe, data or {}),
        recipe,
        decodes=decode,
        max_rows=max_rows,
        labeller=_labeller(recipe, whisper) if counts_labels else None,
    )
    looking.look()
    if whisper is not None:
        looking.listen(whisper)
    if run is not None:
        looking.compare(Path(run))
    inspection = looking.inspection()
    if output_dir is not None:
        write_inspection(inspection, looking.clips(inspection.suspects), Path(output_dir))
    return inspection


@dataclass
class Looking:
    """One look through all splits, stage by stage.

    Args:
        described: What the source is, and the command to learn from it, where it is a path.
        sources: The splits, those that are scored first.
        recipe: Bounds of durations, language and task.
        decodes: Whether recordings are decoded.
        max_rows: Rows of each split to look at.
        labeller: Counts label tokens, where a model was named.
    """

    described: tuple[str, str | None]
    sources: Sequence[Source]
    recipe: Recipe
    decodes: bool
    max_rows: int | None
    labeller: Labeller | None

    def __post_init__(self) -> None:
        names = [source.split for source in self.sources]
        self.survey = Survey(names, None if self.labeller is None else partial(_label_length, self.labeller))
        self.listener: Listener | None = None
        self.heard: dict[tuple[str, str], str] = {}
        self.notes: list[str] = []

    def look(self) -> None:
        """Take in every row."""
        for split, source in enumerate(self.sources):
            examine = partial(examine_row, split=split, section=self.recipe.data, decodes=self.decodes)
            label = f"{'hearing' if self.decodes else 'reading'} {source.split}"
            with EvalProgress(self._row_count(source), label) as progress:
                for done, row in enumerate(_in_threads(examine, self._rows(source)), 1):
                    self.survey.add(row)
                    if done % PROGRESS_ROWS == 0:
                        progress.update(done)
            self.survey.refused.update(source.skipped)
        self.survey.finish()

    def listen(self, whisper: Whisper) -> None:
        """Have a model hear every row, and write down those whose text it finds unlikely."""
        listener = Listener(whisper, _labeller(self.recipe, whisper, self._text_case()))
        for split, source in enumerate(self.sources):
            with EvalProgress(self._row_count(source), f"listening to {source.split}") as progress:
                for done, utterance in enumerate(self._rows(source), 1):
                    listener.hear(self._facts(utterance, split), utterance)
                    progress.update(done)
        unlikely = listener.unlikely()
        found = ((*unlikely[split, row.id], row) for split, row in self._again(unlikely))
        for heard in listener.judged(found):
            self._name(heard.row, heard.reason, heard.transcript)
        self.listener = listener

    def compare(self, run: Path) -> None:
        """Name the rows whose transcript in a run's predictions is in other words."""
        predictions = read_predictions(run)
        wrong = {
            (split, one.id): one
            for one in (predictions.after or predictions.before).values()
            if one.wer >= OTHER_WORDS_WER
            for split in range(len(self.sources))
        }
        for split, row in self._again(wrong):
            one = wrong[split, row.id]
            if one.reference == row.text:
                told = Reason("not-as-heard", f"WER {one.wer:.0%} in {run}")
                self._name(self._facts(row, split), told, one.hypothesis)
        self.notes += predictions.notes

    def inspection(self) -> Inspection:
        """Return what was found."""
        survey, (what, command) = self.survey, self.described
        suspects = tuple(replace(one, heard=self.heard.get((one.split, one.id))) for one in survey.suspects())
        counts = [source.count for source in self.sources]
        return Inspection(
            source=str(self.recipe.data.source),
            what=what,
            command=command,
            rows=survey.rows,
            rows_there=None if None in counts else sum(count or 0 for count in counts),
            decoded=survey.recordings.decoded,
            splits=survey.split_figures(),
            audio=survey.recordings.figures(),
            text=survey.transcripts.figures(),
            labels=survey.label_figures(self.recipe.model.name),
            leaks=survey.leaks(),
            refused=dict(survey.refused),
            concerns=dict(survey.concerns),
            suspects=suspects,
            listening=self._listening(),
            notes=(*self._sampling(), *self.notes),
        )

    def clips(self, suspects: Sequence[Suspect]) -> Mapping[tuple[str, str], bytes]:
        """Return some suspects' recordings, to be played beside what is said of them."""
        names = [source.split for source in self.sources]
        wanted = {(names.index(one.split), one.id) for one in choose_clips(suspects)}
        clips: dict[tuple[str, str], bytes] = {}
        for split, utterance in self._again(wanted):
            with suppress(AudioError):
                clips[names[split], utterance.id] = encode_clip(decode_audio(utterance).waveform)
        return clips

    def _rows(self, source: Source) -> Iterator[Utterance]:
        """Yield the rows to look at: evenly drawn, but of a stream the first ones."""
        count = self._row_count(source)
        if self.max_rows is None or count is None:
            yield from source
        elif source.is_stream or source.count is None:
            yield from itertools.islice(source, count)
        else:
            drawn = {number * source.count // count for number in range(count)}
            yield from (row for place, row in enumerate(source) if place in drawn)

    def _row_count(self, source: Source) -> int | None:
        counts = [count for count in (source.count, self.max_rows) if count is not None]
        return min(counts, default=None)

    def _again(self, wanted: Collection[tuple[int, str]]) -> Iterator[tuple[int, Utterance]]:
        """Yield wanted rows by split and id, from a second pass that ends with the last of them."""
        for split, source in enumerate(self.sources):
            missing = {row_id for where, row_id in wanted if where == split}
            for row in self._rows(source) if missing else ():
                if row.id in missing:
                    missing.discard(row.id)
                    yield split, row
                    if not missing:
                        break

    def _facts(self, utterance: Utterance, split: int) -> RowFacts:
        return examine_row(utterance, split, section=self.recipe.data, decodes=False)

    def _name(self, row: RowFacts, reason: Reason, transcript: str) -> None:
        self.survey.name(row, reason)
        self.heard[self.sources[row.split].split, row.id] = transcript

    def _text_case(self) -> TextCase:
        return choose_text_case(self.recipe.data.text_case, self.survey.transcripts.style)

    def _listening(self) -> ListeningFigures | None:
        if self.listener is None:
            return None
        losses = self.listener.losses
        return ListeningFigures(self.listener.whisper.checkpoint.name, losses.count, losses.summary())

    def _sampling(self) -> Iterator[str]:
        if self.max_rows is not None:
            yield f"at most {self.max_rows} rows of each split were looked at"
        indices = {
            "recordings": self.survey.recordings.contents,
            "sentences": self.survey.transcripts.sentences,
        }
        for name, index in indices.items():
            if index.halvings:
                yield f"repeated and shared {name} are estimated from one in {index.scale} of them"


def _recipe_of(run: str | Path | None) -> Recipe:
    file = None if run is None else Path(run) / RECIPE_FILE
    if file is None:
        return Recipe()
    if not file.is_file():
        raise RecipeError(
            f"{run} is no run folder", f"it has no {RECIPE_FILE}", "give --run the folder of a run"
        )
    return read_recipe(file)


def _opened(recipe: Recipe, data: Overrides) -> list[Source]:
    """Return the splits that were named, else all of them; those that are scored first."""
    named = [role for role in ROLES if data.get(role) is not None]
    if named:
        sources = {source.split: source for source in (open_split(recipe.data, role) for role in named)}
    else:
        sources = {source.split: source for source in open_splits(recipe.data)}
    return [sources[name] for name in scored_first(list(sources))]


def _described(recipe: Recipe) -> tuple[str, str | None]:
    source = recipe.data.source
    if not isinstance(source, str | Path):
        return f"speech in memory ({type(source).__name__})", None
    path = Path(source).expanduser()
    if not path.exists():
        return f"{source}, streamed from the Hub", None
    found = describe(path, recipe.data)
    return found.sentence, found.command


def _labeller(recipe: Recipe, whisper: Whisper | None, text_case: TextCase = "as-is") -> Labeller:
    """Return what counts label tokens: with the model's own tokenizer, read without its weights."""
    if whisper is None:
        size = sketch(recipe.model.name).config.vocab_size
        tokenizer, _ = load_tokenizer(resolve_checkpoint(recipe.model.name), size)
        multilingual = WhisperVocabulary(size).is_multilingual
    else:
        tokenizer, multilingual = whisper.tokenizer, whisper.is_multilingual
    return Labeller(
        tokenizer,
        multilingual=multilingual,
        language=recipe.model.language,
        task=recipe.model.task,
        text_case=text_case,
    )


def _label_length(labeller: Labeller, row: RowFacts) -> int:
    return labeller.length(Utterance(row.id, b"", row.text, language=row.language, duration_s=row.duration_s))


def _in_threads(examine: Callable[[Utterance], RowFacts], rows: Iterable[Utterance]) -> Iterator[RowFacts]:
    """Yield the facts of rows in their order; decoding and measuring leave Python's lock to the others."""
    threads = usable_cores()
    waiting: deque[Future[RowFacts]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for row in rows:
            waiting.append(pool.submit(examine, row))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
