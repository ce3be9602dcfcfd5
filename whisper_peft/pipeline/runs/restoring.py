"""Training text with the base model's own case and punctuation: each recording is heard once, by the base.

The words stay those of the corpus (`data/text/restoration.py`). What the base wrote is kept in the run
folder, so that a resumed run and later epochs listen to nothing twice.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch.distributed
from accelerate import Accelerator
from peft import PeftModel
from rich.console import Console

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.batches.stream_pools import StreamPlace
from whisper_peft.data.targets.labels import recase
from whisper_peft.data.text.restoration import restore_text, word_key, written_words
from whisper_peft.errors import AudioError, RecipeError
from whisper_peft.evaluation.generation import check_language, generate_transcripts
from whisper_peft.measuring import StageClock
from whisper_peft.model.loading import Whisper
from whisper_peft.pipeline.runs.checked_stream import CheckedStream
from whisper_peft.pipeline.runs.speech import TrainingRows
from whisper_peft.pipeline.runs.transcript_store import TRANSCRIPTS_FILE, TranscriptStore, describe_base
from whisper_peft.recipe.sections import Recipe
from whisper_peft.reporting.console.progress import EvalProgress
from whisper_peft.training.encoder_cache import RecordingDigests
from whisper_peft.training.plan import TrainingPlan
from whisper_peft.training.processes import on_main_process
from whisper_peft.types import MAX_LABEL_TOKENS, SAMPLING_RATE, WINDOW_S, Segment, Utterance


@dataclass
class Restorer:
    """Give training rows the case and punctuation that the base model writes.

    Args:
        whisper: The model; an adapter is switched off while it listens.
        store: What it wrote before.
        language: Language of rows that have none of their own.
        task: Task of rows that have none of their own.
        fits: Tells whether the decoder has room for a row's text; one that has not is put in sentence case.
        batch_size: Recordings heard together, at 30 s.
        rank: Number of this process, and
        world_size: of all processes, which share the work and end up with the same text.
        progress: Called with the number of rows done so far.
    """

    whisper: Whisper
    store: TranscriptStore
    language: str | None
    task: str
    fits: Callable[[Utterance], bool]
    batch_size: int
    rank: int = 0
    world_size: int = 1
    progress: Callable[[int], None] = lambda done: None
    _digests: RecordingDigests = field(default_factory=RecordingDigests, init=False)

    def __call__(self, rows: Sequence[Utterance]) -> list[Utterance]:
        """Return the rows with restored text; those that cannot be heard are put in sentence case."""
        recordings = [self._name(row) for row in rows]
        written = {recording: self.store.find(recording) for recording in recordings}
        new = [place for place, recording in enumerate(recordings) if written[recording] is None]
        done = len(rows) - len(new)
        for batches in _chunks(list(self._batches(rows, new)), self.world_size):
            mine = batches[self.rank] if self.rank < len(batches) else ()
            heard = self._gather({recordings[at]: text for at, text in self._listen(rows, mine)})
            self.store.keep({recording: text for recording, text in heard.items() if recording})
            written |= heard
            done += sum(map(len, batches))
            self.progress(done)
        return [
            self._restored(row, written[recording] or "")
            for row, recording in zip(rows, recordings, strict=True)
        ]

    def _name(self, row: Utterance) -> str:
        """Return what a transcript is found by: what the recording holds, and what the model was told."""
        digest = self._digests((row,)).hex()
        return f"{digest} {row.language or self.language} {row.task or self.task}" if digest else ""

    def _restored(self, row: Utterance, transcript: str) -> Utterance:
        changed = restored(row, transcript)
        return changed if self.fits(changed) else restored(row, "")

    def _batches(self, rows: Sequence[Utterance], places: Sequence[int]) -> Iterator[Sequence[int]]:
        """Group rows of one task whose texts are of like length: a batch takes as long as its longest."""
        by_task: dict[str, list[int]] = {}
        for place in sorted(places, key=lambda place: (len(rows[place].text), place)):
            by_task.setdefault(rows[place].task or self.task, []).append(place)
        for alike in by_task.values():
            yield from _chunks(alike, self.batch_size)

    def _listen(self, rows: Sequence[Utterance], places: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Transcribe some of the rows with the base alone; what cannot be decoded was silent."""
        decoded: dict[int, Utterance] = {}
        for place in places:
            try:
                decoded[place] = decode(rows[place])
            except AudioError:
                yield place, ""
        if not decoded:
            return
        model, heard = self.whisper.model, list(decoded.values())
        with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
            texts = generate_transcripts(
                self.whisper,
                [row.waveform[: int(WINDOW_S * SAMPLING_RATE)] for row in heard],
                language=[check_language(self.whisper, row.language or self.language) for row in heard],
                task=heard[0].task or self.task,
            )
        yield from zip(decoded, texts, strict=True)

    def _gather(self, heard: dict[str, str]) -> dict[str, str]:
        """Return what all processes heard."""
        shares: list[dict[str, str]] = [heard] * self.world_size
        if self.world_size > 1:
            torch.distributed.all_gather_object(shares, heard)
        return {recording: text for share in shares for recording, text in share.items()}


@dataclass
class RestoredStream(CheckedStream):
    """A checked stream whose text is restored as it passes, a batch at a time."""

    restorer: Restorer = field(kw_only=True)

    def numbered(self, place: StreamPlace, *, epoch: int) -> Iterator[tuple[int, Utterance]]:
        """Yield the rows from a place on, each with its number in the source."""
        waiting = super().numbered(place, epoch=epoch)
        while some := list(itertools.islice(waiting, self.restorer.batch_size)):
            numbers, rows = zip(*some, strict=True)
            yield from zip(numbers, self.restorer(rows), strict=True)


def restored(row: Utterance, transcript: str) -> Utterance:
    """Return a row whose text and timed parts are written as the transcript has them.

    Example:
        >>> restored(Utterance("a", b"", "WHO IS IT", previous_text="A KNOCK"), "Who is it?").text
        'Who is it?'
    """
    text = restore_text(row.text, transcript)
    previous = None if row.previous_text is None else recase(row.previous_text, "sentence")
    return replace(row, text=text, segments=_recut(row.segments, text), previous_text=previous)


def _recut(segments: Sequence[Segment], text: str) -> tuple[Segment, ...]:
    """Return timed parts with the words of a text, in its order; in sentence case where they have others."""
    words = written_words(text)
    parts = [written_words(segment.text) for segment in segments]
    if [word_key(word) for part in parts for word in part] != [*map(word_key, words)]:
        return tuple(replace(segment, text=recase(segment.text, "sentence")) for segment in segments)
    coming = iter(words)
    return tuple(
        replace(segment, text=" ".join(itertools.islice(coming, len(part))))
        for segment, part in zip(segments, parts, strict=True)
    )


def restore_rows(
    rows: TrainingRows,
    whisper: Whisper,
    recipe: Recipe,
    folder: Path,
    accelerator: Accelerator,
    console: Console,
    clock: StageClock,
) -> TrainingRows:
    """Return the rows to learn from, with restored text where their source wants it.

    Rows of a local source are heard now, as many as the run will take steps with; those of a stream as they
    pass, by the model without its adapter.

    Args:
        rows: Checked rows, with their labeller.
        whisper: The model, before anything learns.
        recipe: The run.
        folder: The run folder, where transcripts are kept.
        accelerator: This process among the others.
        console: Where the progress is shown.
        clock: Measures what the listening takes before training begins.

    Raises:
        RecipeError: If a stream is to be heard by a model that changes, or by several processes.
    """
    labeller = rows.collator.labeller
    cases = {None: labeller.text_case, **labeller.mixed_cases}
    if "restore" not in cases.values():
        return rows
    written = copy.copy(labeller)
    written.text_case, *mixed = ("as-is" if case == "restore" else case for case in cases.values())
    written.mixed_cases = dict(zip(labeller.mixed_cases, mixed, strict=True))
    restorer = Restorer(
        whisper=whisper,
        store=_open_store(folder / TRANSCRIPTS_FILE, whisper, accelerator),
        language=recipe.model.language,
        task=recipe.model.task,
        fits=lambda row: written.length(row) <= MAX_LABEL_TOKENS,
        batch_size=recipe.eval.batch_size,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    wanted = rows_in_plan(recipe, rows, whisper, accelerator.num_processes)

    def changed(utterances: Sequence[Utterance] | Iterable[Utterance], source: str | None) -> Any:
        if cases[source] != "restore":
            return utterances
        if isinstance(utterances, CheckedStream):
            _refuse_unfit_stream(recipe, accelerator.num_processes)
            return RestoredStream(utterances.source, utterances.labeller, recipe, restorer=restorer)
        with clock("restore text" if source is None else f"restore text of {source}"):
            return _restore_local(restorer, list(utterances), wanted, console)

    return replace(
        rows,
        utterances=changed(rows.utterances, None),
        collator=replace(rows.collator, labeller=written),
        mixed=tuple(replace(one, utterances=changed(one.utterances, one.speech.name)) for one in rows.mixed),
    )


def _open_store(path: Path, whisper: Whisper, accelerator: Accelerator) -> TranscriptStore:
    base = describe_base(whisper)
    if accelerator.num_processes > 1:  # written before others read it
        on_main_process(accelerator, lambda: TranscriptStore(path, base))
    return TranscriptStore(path, base, writes=accelerator.is_main_process)


def _restore_local(
    restorer: Restorer, rows: Sequence[Utterance], wanted: set[str] | None, console: Console
) -> tuple[Utterance, ...]:
    """Return the rows with restored text; those that the run does not hear are put in sentence case."""
    heard = [row for row in rows if wanted is None or row.id in wanted]
    with EvalProgress(len(heard), "restoring text", console=console) as progress:
        restorer.progress = progress.update
        written = {row.id: row for row in restorer(heard)}
    return tuple(written.get(row.id) or restored(row, "") for row in rows)


def rows_in_plan(recipe: Recipe, rows: TrainingRows, whisper: Whisper, processes: int) -> set[str] | None:
    """Return the ids of the rows that a run takes steps with; None where some are streamed."""
    plan = TrainingPlan(recipe, rows.learned(recipe.train.seed), rows.collator, whisper.config, processes)
    if plan.every_row is None:
        return None
    known = {row.id for row in plan.every_row}
    # and of one step more: restored text is longer by its marks, which moves steps by a row or two
    steps = itertools.islice(plan.steps(epoch=0, skip=0), plan.total_steps + 1)
    ids = {row.id for step in steps for row in step.utterances}
    return {name if name in known else name.rpartition("#")[0] for name in ids}  # of a later pass: ID#2


def _refuse_unfit_stream(recipe: Recipe, processes: int) -> None:
    if recipe.adapter.method == "full":
        raise RecipeError(
            "data.text_case is restore, for a stream and full fine-tuning",
            "a stream is heard while the run goes on, and then the base model is no longer what it was",
            "learn an adapter (adapter.method lora), or copy the speech to a local source",
        )
    if processes > 1:
        raise RecipeError(
            f"data.text_case is restore, for a stream and {processes} processes",
            "each of them would have to hear every row",
            "use one process, a local source, or --data.text-case sentence",
        )


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
