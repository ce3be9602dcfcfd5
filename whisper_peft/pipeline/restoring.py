"""Training text with the base model's own case and punctuation: each recording is heard once, by the base.

The words stay those of the corpus (`data/restoration.py`). What the base wrote is kept in the run folder, so
that a resumed run and later epochs listen to nothing twice.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from accelerate import Accelerator
from peft import PeftModel
from rich.console import Console

from whisper_peft.data.decoding import decode
from whisper_peft.data.labels import recase
from whisper_peft.data.restoration import restore_text, word_key
from whisper_peft.errors import AudioError, RecipeError
from whisper_peft.evaluation.generation import check_language, generate_transcripts
from whisper_peft.model.loading import Whisper
from whisper_peft.pipeline.speech import CheckedStream, TrainingRows
from whisper_peft.recipe.sections import Recipe
from whisper_peft.reporting.progress import EvalProgress
from whisper_peft.reporting.run_report import write_text
from whisper_peft.training.encoder_cache import RecordingDigests
from whisper_peft.training.plan import TrainingPlan
from whisper_peft.training.processes import on_main_process
from whisper_peft.types import MAX_LABEL_TOKENS, SAMPLING_RATE, WINDOW_S, Segment, Utterance

TRANSCRIPTS_FILE = "base_transcripts.jsonl"

MOST_KEPT = 500_000
"""Transcripts that are kept, of about 300 bytes each: what comes later is heard anew in each epoch."""


@dataclass
class TranscriptStore:
    """What a base model wrote of recordings, by their content: a JSON line each, in one file.

    A batch is added with one write, and a line that a crash left unfinished is cut off. The first line says
    which model it was: what another one wrote is dropped.

    Args:
        path: The file.
        base: What tells the model and how it listens.
        writes: Whether this process adds to the file; one of them does.
    """

    path: Path
    base: str
    writes: bool = True
    _kept: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        header = json.dumps({"base": self.base}) + "\n"
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.is_file() else ""
        whole = text[: text.rfind("\n") + 1] if text.startswith(header) else header
        if self.writes and whole != text:
            write_text(self.path, whole)
        for line in whole.split("\n")[1:-1]:
            row = json.loads(line)
            self._kept[row["recording"]] = row["text"]

    def find(self, recording: str) -> str | None:
        """Return what was written of a recording."""
        return self._kept.get(recording)

    def keep(self, transcripts: dict[str, str]) -> None:
        """Add what was written of several recordings."""
        room = MOST_KEPT - len(self._kept)
        unknown = [recording for recording in transcripts if recording not in self._kept]
        new = {recording: transcripts[recording] for recording in unknown[: max(room, 0)]}
        self._kept |= new
        if self.writes and new:
            rows = [{"recording": recording, "text": text} for recording, text in new.items()]
            with self.path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@dataclass
class Restorer:
    """Give training rows the case and punctuation that the base model writes.

    Args:
        whisper: The model; an adapter is switched off while it listens.
        store: What it wrote before.
        language: Language of rows that have none of their own.
        task: Task of the rows.
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
        recordings = [self._digests((row,)).hex() for row in rows]
        written = {recording: self.store.find(recording) for recording in recordings}
        # texts of like length are decoded together: a batch takes as long as its longest
        new = [place for place, recording in enumerate(recordings) if written[recording] is None]
        new.sort(key=lambda place: (len(rows[place].text), place))
        done = len(rows) - len(new)
        for batches in _chunks(list(_chunks(new, self.batch_size)), self.world_size):
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

    def stream(self, rows: Iterable[Utterance]) -> Iterator[Utterance]:
        """Yield rows with restored text, heard as they pass, a batch at a time."""
        waiting = iter(rows)
        while some := list(itertools.islice(waiting, self.batch_size)):
            yield from self(some)

    def _restored(self, row: Utterance, transcript: str) -> Utterance:
        changed = restored(row, transcript)
        return changed if self.fits(changed) else restored(row, "")

    def _listen(self, rows: Sequence[Utterance], places: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Transcribe some of the rows with the base alone; what cannot be decoded was silent."""
        decoded: dict[int, Utterance] = {}
        for place in places:
            try:
                decoded[place] = decode(rows[place])
            except AudioError:
                yield place, ""
        model, heard = self.whisper.model, decoded.values()
        with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
            texts = generate_transcripts(
                self.whisper,
                [row.waveform[: int(WINDOW_S * SAMPLING_RATE)] for row in heard],
                language=[check_language(self.whisper, row.language or self.language) for row in heard],
                task=self.task,
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
    """A checked stream whose text is restored as it passes."""

    restorer: Restorer = field(kw_only=True)

    def __iter__(self) -> Iterator[Utterance]:
        return self.restorer.stream(super().__iter__())


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
    words = text.split()
    if [word_key(word) for part in segments for word in part.text.split()] != [*map(word_key, words)]:
        return tuple(replace(segment, text=recase(segment.text, "sentence")) for segment in segments)
    coming = iter(words)
    return tuple(
        replace(segment, text=" ".join(itertools.islice(coming, len(segment.text.split()))))
        for segment in segments
    )


def describe_base(whisper: Whisper, *, language: str | None, task: str) -> str:
    """Return what tells a model and how it listens from all others, a digest of its weights included."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(whisper.core.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return f"{digest.hexdigest()} {whisper.precision.name} {whisper.quantize} {language} {task}"


def restore_rows(
    rows: TrainingRows,
    whisper: Whisper,
    recipe: Recipe,
    *,
    folder: Path,
    accelerator: Accelerator,
    console: Console,
) -> TrainingRows:
    """Return the rows to learn from with the text that the base model helped to restore.

    Rows of a local source are heard now, as many as the run will take steps with; those of a stream as they
    pass, by the model without its adapter.

    Args:
        rows: Checked rows.
        whisper: The model, before anything learns.
        recipe: The run.
        folder: The run folder, where transcripts are kept.
        accelerator: This process among the others.
        console: Where the progress is shown.

    Raises:
        RecipeError: If a stream is to be heard by a model that changes, or by several processes.
    """
    if isinstance(rows.utterances, CheckedStream):
        _refuse_unfit_stream(recipe, accelerator.num_processes)
    labeller = copy.copy(rows.collator.labeller)
    labeller.text_case = "as-is"
    rows = replace(rows, collator=replace(rows.collator, labeller=labeller))
    base = describe_base(whisper, language=recipe.model.language, task=recipe.model.task)
    path = folder / TRANSCRIPTS_FILE
    if accelerator.num_processes > 1:  # written before others read it
        on_main_process(accelerator, lambda: TranscriptStore(path, base))
    restorer = Restorer(
        whisper=whisper,
        store=TranscriptStore(path, base, writes=accelerator.is_main_process),
        language=recipe.model.language,
        task=recipe.model.task,
        fits=lambda row: labeller.length(row) <= MAX_LABEL_TOKENS,
        batch_size=recipe.eval.batch_size,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    if isinstance(rows.utterances, CheckedStream):
        stream = rows.utterances
        restoring = RestoredStream(stream.source, stream.labeller, stream.recipe, restorer=restorer)
        return replace(rows, utterances=restoring)
    plan = TrainingPlan(recipe, rows.utterances, rows.collator, whisper.config, accelerator.num_processes)
    wanted = rows_in_plan(plan)
    heard = [row for row in rows.utterances if row.id in wanted]
    with EvalProgress(len(heard), "restoring text", console=console) as progress:
        restorer.progress = progress.update
        written = {row.id: row for row in restorer(heard)}
    every = tuple(written.get(row.id) or restored(row, "") for row in rows.utterances)
    return replace(rows, utterances=every)


def rows_in_plan(plan: TrainingPlan) -> set[str]:
    """Return the ids of the rows of the first epoch that a run takes steps with."""
    steps = itertools.islice(plan.steps(epoch=0, skip=0), plan.total_steps)
    return {row.id for step in steps for row in step.utterances}


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
