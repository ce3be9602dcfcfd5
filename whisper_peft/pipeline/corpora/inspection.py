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

from whisper_peft.data.audio.decoding import decode as decode_audio
from whisper_peft.data.sources.opening import Source
from whisper_peft.data.survey.clips import choose_clips, encode_clip
from whisper_peft.data.survey.contents import ContentIndex
from whisper_peft.data.survey.findings import Inspection, ListeningFigures, Reason, Suspect
from whisper_peft.data.survey.recording_survey import RecordingSurvey
from whisper_peft.data.survey.row_facts import RowFacts, examine_row
from whisper_peft.data.survey.survey import Survey
from whisper_peft.data.survey.transcript_survey import TranscriptSurvey
from whisper_peft.data.targets.labels import Labeller
from whisper_peft.data.text.text_style import TextCase, choose_text_case
from whisper_peft.errors import AudioError, RecipeError
from whisper_peft.measuring import usable_cores
from whisper_peft.model.blueprint import sketch
from whisper_peft.model.checkpoints.finding import resolve_checkpoint
from whisper_peft.model.checkpoints.vocabulary import WhisperVocabulary
from whisper_peft.model.checkpoints.whisper_tokenizers import load_tokenizer
from whisper_peft.model.loading import Whisper, load_run_or_model
from whisper_peft.pipeline.corpora.inspected_splits import InspectedSplit, Overrides, ToInspect
from whisper_peft.pipeline.corpora.listening import OTHER_WORDS_WER, Listener
from whisper_peft.recipe.sections import DataSection, Recipe
from whisper_peft.reporting.console.progress import EvalProgress
from whisper_peft.reporting.json_lines import read_predictions
from whisper_peft.reporting.pages.inspection_page import write_inspection
from whisper_peft.types import Utterance

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

    All splits are looked at, or those that `data` names as `train`, `eval` or `dev`; so are those of the
    sources in its `mix`, each source by itself, and what they share.

    Args:
        source: A path, a name on the Hub or an iterable: what `data.source` takes. Or a recipe's YAML file,
            for the sources and splits that it names.
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
    wanted = ToInspect.of(source, data=data or {}, model=model or {}, run=run)
    recipe, splits = wanted.recipe, wanted.splits()
    whisper = load_run_or_model(str(run or recipe.model.name), recipe.model) if listen else None
    counts_labels = whisper is not None or run is not None or "name" in (model or {})
    looking = Looking(
        wanted,
        splits,
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
        write_inspection(inspection, looking.clips(inspection), Path(output_dir))
    return inspection


@dataclass
class Looking:
    """One look through all splits, stage by stage; each source has a survey of its own.

    Args:
        wanted: The sources, and the recipe they are for.
        splits: Their splits, those that are scored first.
        decodes: Whether recordings are decoded.
        max_rows: Rows of each split to look at.
        labeller: Counts label tokens, where a model was named.
    """

    wanted: ToInspect
    splits: Sequence[InspectedSplit]
    decodes: bool
    max_rows: int | None
    labeller: Labeller | None

    def __post_init__(self) -> None:
        named = [one.split for one in self.splits]
        label_length = None if self.labeller is None else partial(_label_length, self.labeller)
        self.sentences, self.recordings = ContentIndex(), ContentIndex()
        self.surveys = {
            name: Survey(
                named,
                label_length,
                name,
                transcripts=TranscriptSurvey(self.sentences),
                recordings=RecordingSurvey(self.recordings),
            )
            for name, _ in self.wanted.sources()
        }
        self.listeners: dict[str | None, Listener] = {}
        self.heard: dict[tuple[str, str], str] = {}
        self.notes: list[str] = []

    def look(self) -> None:
        """Take in every row."""
        for number, one in enumerate(self.splits):
            survey = self._survey(number)
            examine = partial(examine_row, split=number, section=one.section, decodes=self.decodes)
            label = f"{'hearing' if self.decodes else 'reading'} {one.split.label}"
            with EvalProgress(self._row_count(one.rows), label) as progress:
                for done, row in enumerate(_in_threads(examine, self._rows(one.rows)), 1):
                    survey.add(row)
                    if done % PROGRESS_ROWS == 0:
                        progress.update(done)
            survey.refused.update(one.rows.skipped)
        for survey in self.surveys.values():
            survey.finish()

    def listen(self, whisper: Whisper) -> None:
        """Have a model hear every row, and write down those whose text it finds unlikely."""
        for name, section in self.wanted.sources():
            style = self.surveys[name].transcripts.style
            text_case = choose_text_case(section.text_case, style)
            self.listeners[name] = Listener(whisper, _labeller(self.wanted.recipe, whisper, text_case))
        for number, one in enumerate(self.splits):
            listener = self.listeners[one.split.source]
            with EvalProgress(self._row_count(one.rows), f"listening to {one.split.label}") as progress:
                for done, utterance in enumerate(self._rows(one.rows), 1):
                    listener.hear(self._facts(utterance, number), utterance)
                    progress.update(done)
        for listener in self.listeners.values():
            unlikely = listener.unlikely()
            found = ((*unlikely[split, row.id], row) for split, row in self._again(unlikely))
            for heard in listener.judged(found):
                self._name(heard.row, heard.reason, heard.transcript)

    def compare(self, run: Path) -> None:
        """Name the rows whose transcript in a run's predictions is in other words."""
        for name in self.surveys:
            predictions = read_predictions(run, name)
            wrong = {
                (number, one.id): one
                for one in (predictions.after or predictions.before).values()
                if one.wer >= OTHER_WORDS_WER
                for number, part in enumerate(self.splits)
                if part.split.source == name
            }
            for number, row in self._again(wrong):
                one = wrong[number, row.id]
                if one.reference == row.text:
                    told = Reason("not-as-heard", f"WER {one.wer:.0%} in {run}")
                    self._name(self._facts(row, number), told, one.hypothesis)
            self.notes += [note for note in predictions.notes if note not in self.notes]

    def inspection(self) -> Inspection:
        """Return what was found: that of the main source, with the others in it."""
        found = {name: self._of_source(name, section) for name, section in self.wanted.sources()}
        main = found.pop(None)
        return replace(main, notes=(*self._sampling(), *self.notes), mixed=tuple(found.values()))

    def clips(self, inspection: Inspection) -> Mapping[tuple[str, str], bytes]:
        """Return some suspects' recordings, to be played beside what is said of them."""
        numbers = {(one.split.source, one.split.name): place for place, one in enumerate(self.splits)}
        wanted = {
            (numbers[source.name, one.split], one.id)
            for source in inspection.all_sources
            for one in choose_clips(source.suspects)
        }
        clips: dict[tuple[str, str], bytes] = {}
        for number, utterance in self._again(wanted):
            with suppress(AudioError):
                clip = encode_clip(decode_audio(utterance).waveform)
                clips[self.splits[number].split.name, utterance.id] = clip
        return clips

    def _of_source(self, name: str | None, section: DataSection) -> Inspection:
        survey, (what, command) = self.surveys[name], self.wanted.described(name, section)
        counts = [one.rows.count for one in self.splits if one.split.source == name]
        return Inspection(
            source=str(section.source),
            what=what,
            command=command,
            rows=survey.rows,
            rows_there=None if None in counts else sum(count or 0 for count in counts),
            decoded=survey.recordings.decoded,
            splits=survey.split_figures(),
            audio=survey.recordings.figures(survey.own_splits),
            text=survey.transcripts.figures(survey.own_splits),
            labels=survey.label_figures(self.wanted.recipe.model.name),
            leaks=survey.leaks(),
            refused=dict(survey.refused),
            concerns=dict(survey.concerns),
            suspects=tuple(self._with_transcript(one) for one in survey.suspects()),
            listening=self._listening(name),
            name=name,
        )

    def _survey(self, number: int) -> Survey:
        return self.surveys[self.splits[number].split.source]

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
        for number, one in enumerate(self.splits):
            missing = {row_id for where, row_id in wanted if where == number}
            for row in self._rows(one.rows) if missing else ():
                if row.id in missing:
                    missing.discard(row.id)
                    yield number, row
                    if not missing:
                        break

    def _facts(self, utterance: Utterance, number: int) -> RowFacts:
        return examine_row(utterance, number, section=self.splits[number].section, decodes=False)

    def _name(self, row: RowFacts, reason: Reason, transcript: str) -> None:
        self._survey(row.split).name(row, reason)
        self.heard[self.splits[row.split].split.name, row.id] = transcript

    def _with_transcript(self, suspect: Suspect) -> Suspect:
        return replace(suspect, heard=self.heard.get((suspect.split, suspect.id)))

    def _listening(self, name: str | None) -> ListeningFigures | None:
        listener = self.listeners.get(name)
        if listener is None:
            return None
        losses = listener.losses
        return ListeningFigures(listener.whisper.checkpoint.name, losses.count, losses.summary())

    def _sampling(self) -> Iterator[str]:
        if self.max_rows is not None:
            yield f"at most {self.max_rows} rows of each split were looked at"
        for name, index in (("recordings", self.recordings), ("sentences", self.sentences)):
            if index.halvings:
                yield f"repeated and shared {name} are estimated from one in {index.scale} of them"


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
