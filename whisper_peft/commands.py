"""The verbs: what each takes on the command line, and the public function it calls."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.benchmarking.one_epoch import ONE_EPOCH
from whisper_peft.benchmarking.summary_text import benchmark_text
from whisper_peft.errors import AudioError, DataError, RecipeError, StorageError, did_you_mean, first_of
from whisper_peft.flags import RecipeFlags, parse_command
from whisper_peft.recipe.catalog import (
    copy_recipe,
    find_recipe,
    named_recipe,
    recipe_names,
    recipe_sentence,
    resolve_recipe,
)
from whisper_peft.recipe.overrides import apply_overrides, tree_of
from whisper_peft.recipe.sections import (
    AdapterSection,
    DataSection,
    EvalSection,
    ModelSection,
    Recipe,
    Section,
    TrainSection,
)
from whisper_peft.recipe.yaml_files import read_recipe, recipe_yaml
from whisper_peft.reporting.verdict import merge_sentence
from whisper_peft.terminal import diagnosis_text, is_main_process, scores_text, show

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


@dataclass(frozen=True)
class Finetune:
    """Score, train, score again, merge and report."""

    recipe: Annotated[Positional[str], arg(metavar="NAME_OR_YAML")]
    """A named recipe (whisper-peft recipes list) or a recipe's YAML file."""
    resume: bool = False
    """Go on from the last checkpoint in --output-dir."""
    fields: RecipeFlags = field(default_factory=Recipe)


@dataclass(frozen=True)
class Script:
    """Score, train, score again, merge and report."""

    resume: bool = False
    """Go on from the last checkpoint in --output-dir."""
    fields: RecipeFlags = field(default_factory=Recipe)


class EvaluateFields(Section):
    """The sections that scoring reads."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    eval: EvalSection = EvalSection()


@dataclass(frozen=True)
class Evaluate:
    """Score generated transcripts. What is not typed is as in the run's recipe."""

    run_or_model: Annotated[Positional[str], arg(metavar="RUN_OR_MODEL")]
    """A run folder, an adapter folder, a model folder or file, or a model's name."""
    json: Path | None = None
    """File to write the scores to."""
    fields: Annotated[EvaluateFields, arg(name="")] = field(default_factory=EvaluateFields)


@dataclass(frozen=True)
class Merge:
    """Fold a run's adapter into its base model, compare the two on real clips, and save the result."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder."""
    output_dir: Path
    """Folder of the merged model."""
    max_logit_difference: float | None = None
    """Largest difference of any logit that is accepted. None: the run's merge.max_logit_difference."""
    clips: int | None = None
    """Evaluation clips to compare on. None: the run's merge.clips."""


class TranscribeFields(Section):
    """The section that transcribing reads."""

    model: ModelSection = ModelSection()


@dataclass(frozen=True)
class Transcribe:
    """Write down recordings of any length."""

    run_or_model: Annotated[Positional[str], arg(metavar="RUN_OR_MODEL")]
    """A run folder, an adapter folder, a model folder or file, or a model's name."""
    audio: Annotated[Positional[tuple[Path, ...]], arg(metavar="AUDIO ...")]
    """Recordings, or folders of them."""
    prompt: str | None = None
    """Text that comes before, for style and spelling."""
    hotwords: tuple[str, ...] = ()
    """Words to expect, such as names."""
    audio_context: Literal["full", "cut", "auto"] = "auto"
    """full: 30 s. cut: as long as the speech, for models tuned so. auto: cut where that did no harm."""
    output_dir: Path | None = None
    """Folder for the files of --formats. None: the current folder."""
    formats: tuple[Literal["txt", "srt", "vtt", "json"], ...] = ()
    """Files to write for each recording. None given: txt into --output-dir, and no file without it."""
    fields: Annotated[TranscribeFields, arg(name="")] = field(default_factory=TranscribeFields)


class BenchmarkFields(Section):
    """The sections that both sides read."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    adapter: AdapterSection = AdapterSection()
    train: TrainSection = TrainSection()
    eval: EvalSection = EvalSection()


@dataclass(frozen=True)
class Benchmark:
    """Compare with transformers' padded recipe, in turn, on your model, speech and machine."""

    recipe: Annotated[Positional[str | None], arg(metavar="NAME_OR_YAML")] = None
    """A named recipe (whisper-peft recipes list) or a recipe's YAML file. None: LoRA for one epoch."""
    what: tuple[Literal["train", "evaluate", "log-mel"], ...] = ("train",)
    """Training; transcribing, ours at cut context and the reference at 30 s; log-mel spectrograms."""
    rounds: int = 2
    """How often each side runs, in turn."""
    wer: bool = True
    """Score both adapters after training, at full and at cut context."""
    ours: tuple[str, ...] = ()
    """Fields of our side alone, such as model.precision=bf16."""
    reference: tuple[str, ...] = ()
    """Fields of the reference alone, such as model.precision=bf16 train.workers=1."""
    json: Path | None = None
    """File to write everything measured to, beside benchmark.json in the output folder."""
    output_dir: Path | None = None
    """Folder of everything that both sides leave. None: the first free runs/benchmark."""
    fields: Annotated[BenchmarkFields, arg(name="")] = field(default_factory=BenchmarkFields)


@dataclass(frozen=True)
class Report:
    """Write a run's report.html again from its report.json."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder."""


@dataclass(frozen=True)
class Doctor:
    """Try what this machine can do, and say what to install for the rest."""

    json: Path | None = None
    """File to write the findings to."""


def run_script(recipe: Recipe, words: list[str]) -> None:
    """Run a recipe script's own command line."""
    command, overrides = parse_command(Script(fields=recipe), words, prog=Path(sys.argv[0]).name)
    chosen = resolve_recipe(recipe, overrides)
    _finetune(chosen, resume=command.resume)


def run_finetune(words: list[str]) -> None:
    """Score, train, score again, merge and report."""
    named = _first_word(words)
    if named is None and not {"--help", "-h"} & set(words):
        known = ", ".join(recipe_names())
        raise RecipeError("finetune was given no recipe", "it comes first", f"a YAML file, or one of {known}")
    recipe = find_recipe(named) if named else Recipe()
    default = Finetune(MISSING, fields=recipe)
    command, overrides = parse_command(default, words, prog="whisper-peft finetune")
    chosen = resolve_recipe(recipe, overrides)
    _finetune(chosen, resume=command.resume)


def _finetune(recipe: Recipe, *, resume: bool) -> None:
    """Print the summary of a run; one that was stopped exits as Ctrl-C does."""
    run = whisper_peft.finetune(recipe, resume=resume)
    show(run.summary())
    if run.interrupted:
        raise SystemExit(INTERRUPTED)


def run_evaluate(words: list[str]) -> None:
    """Score generated transcripts of a run or a model: WER, CER, speed and memory."""
    recipe = _recorded_recipe(words)
    fields = EvaluateFields(model=recipe.model, data=recipe.data, eval=recipe.eval)
    command, overrides = parse_command(Evaluate(MISSING, fields=fields), words, prog="whisper-peft evaluate")
    apply_overrides(recipe, overrides)
    if command.json is not None:
        _refuse_unwritable(command.json)
    result = whisper_peft.evaluate(command.run_or_model, **tree_of(overrides))
    # printed first: a disk that has filled up meanwhile must not swallow them
    show(scores_text(result))
    if command.json is not None and is_main_process():
        _write_json(command.json, result.to_dict())


def run_merge(words: list[str]) -> None:
    """Fold a run's adapter into its base model, and check the result on real clips."""
    default = Merge(MISSING, output_dir=MISSING)
    command, _ = parse_command(default, words, prog="whisper-peft merge")
    result = whisper_peft.merge(
        command.run,
        output_dir=command.output_dir,
        max_logit_difference=command.max_logit_difference,
        clips=command.clips,
    )
    show(f"{merge_sentence(result)}\n{result.folder}")


def run_transcribe(words: list[str]) -> None:
    """Write down recordings of any length, as text or as txt, srt, vtt and json files."""
    recipe = _recorded_recipe(words)
    default = Transcribe(MISSING, MISSING, fields=TranscribeFields(model=recipe.model))
    command, overrides = parse_command(default, words, prog="whisper-peft transcribe")
    apply_overrides(recipe, overrides)
    several = len(command.audio) > 1 or any(path.is_dir() for path in command.audio)
    refused: list[AudioError] = []
    transcripts = whisper_peft.transcribe(
        command.run_or_model,
        command.audio,
        prompt=command.prompt,
        hotwords=command.hotwords,
        audio_context=command.audio_context,
        output_dir=command.output_dir,
        formats=command.formats,
        on_finished=lambda one: show(f"{one.file}: {one.text}" if several else one.text),
        on_refused=refused.append,
        **tree_of(overrides),
    )
    if refused:
        total = len(transcripts) + len(refused)
        raise DataError(f"{len(refused)} of {total} recordings could not be transcribed", first_of(refused))


def run_benchmark(words: list[str]) -> None:
    """Compare speed, memory and WER with transformers' padded recipe, side by side."""
    named = _first_word(words)
    recipe = find_recipe(named) if named else ONE_EPOCH
    sections = {name: getattr(recipe, name) for name in BenchmarkFields.model_fields}
    default = Benchmark(fields=BenchmarkFields(**sections))
    command, overrides = parse_command(default, words, prog="whisper-peft benchmark")
    apply_overrides(recipe, overrides)
    if command.json is not None:
        _refuse_unwritable(command.json)
    result = whisper_peft.benchmark(
        recipe,
        what=command.what,
        rounds=command.rounds,
        wer=command.wer,
        ours=_assignments(command.ours),
        reference=_assignments(command.reference),
        output_dir=command.output_dir,
        **tree_of(overrides),
    )
    show(benchmark_text(result))
    if command.json is not None:
        _write_json(command.json, result.to_dict())


def _assignments(words: tuple[str, ...]) -> dict[str, Any]:
    """Return `section.field=value` words as overrides; values are read as YAML reads them."""
    for word in words:
        if "=" not in word:
            raise RecipeError(f"{word} is no field=value", todo="write it as model.precision=bf16")
    return {name: yaml.safe_load(value) for name, _, value in (word.partition("=") for word in words)}


def run_report(words: list[str]) -> None:
    """Write a run's report.html again from its report.json."""
    command, _ = parse_command(Report(MISSING), words, prog="whisper-peft report")
    show(str(whisper_peft.report(command.run)))


def run_doctor(words: list[str]) -> None:
    """Try what this machine can do, and say what to install for the rest."""
    command, _ = parse_command(Doctor(), words, prog="whisper-peft doctor")
    diagnosis = whisper_peft.doctor()
    if command.json is not None:
        _write_json(command.json, diagnosis.to_dict())
    show(diagnosis_text(diagnosis))


def run_recipes(words: list[str]) -> None:
    """List the recipes, show one as YAML, or copy its script."""
    match words:
        case ["list"]:
            width = max(map(len, recipe_names()))
            show("\n".join(f"{name:<{width}}  {recipe_sentence(name)}" for name in recipe_names()))
        case ["show", name]:
            show(recipe_yaml(named_recipe(name)).rstrip())
        case ["copy", name, *folder] if len(folder) <= 1:
            show(str(copy_recipe(name, Path(*folder))))
        case [] | ["--help" | "-h"]:
            show("usage: whisper-peft recipes list | show NAME | copy NAME [FOLDER]")
        case _:
            known = did_you_mean(words[0], ["list", "show NAME", "copy NAME [FOLDER]"])
            raise RecipeError(f"recipes {' '.join(words)} is not a command", todo=known)


VERBS: dict[str, Callable[[list[str]], None]] = {
    "finetune": run_finetune,
    "evaluate": run_evaluate,
    "merge": run_merge,
    "transcribe": run_transcribe,
    "report": run_report,
    "benchmark": run_benchmark,
    "recipes": run_recipes,
    "doctor": run_doctor,
}
"""The verbs in the order of a run's life."""


def _first_word(words: list[str]) -> str | None:
    return words[0] if words and not words[0].startswith("-") else None


def _recorded_recipe(words: list[str]) -> Recipe:
    """Return the recipe of the run that the first word names, for the help and for checking flags."""
    file = Path(_first_word(words) or "") / "recipe.yaml"
    return read_recipe(file) if file.is_file() else Recipe()


def _refuse_unwritable(file: Path) -> None:
    """Refuse, before the work, a file that could not be written after it; leave no trace."""
    is_new = not file.exists()
    with _storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8"):
            pass
        if is_new:
            file.unlink()


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    with _storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json_format.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _storage_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError(f"{file} cannot be written", why, "free space, or choose another file") from None
