"""`benchmark`: ours beside transformers' padded recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.benchmarking.one_epoch import ONE_EPOCH
from whisper_peft.benchmarking.summary_text import benchmark_text
from whisper_peft.commands.json_files import refuse_unwritable, write_json
from whisper_peft.commands.words import assignments, first_word
from whisper_peft.flags import parse_command
from whisper_peft.recipe.catalog import find_recipe
from whisper_peft.recipe.overrides import apply_overrides, tree_of
from whisper_peft.recipe.sections import (
    AdapterSection,
    DataSection,
    EvalSection,
    ModelSection,
    Section,
    TrainSection,
)
from whisper_peft.terminal import show


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


def run_benchmark(words: list[str]) -> None:
    """Compare speed, memory and WER with transformers' padded recipe, side by side."""
    named = first_word(words)
    recipe = find_recipe(named) if named else ONE_EPOCH
    sections = {name: getattr(recipe, name) for name in BenchmarkFields.model_fields}
    default = Benchmark(fields=BenchmarkFields(**sections))
    command, overrides = parse_command(default, words, prog="whisper-peft benchmark")
    apply_overrides(recipe, overrides)
    if command.json is not None:
        refuse_unwritable(command.json)
    result = whisper_peft.benchmark(
        recipe,
        what=command.what,
        rounds=command.rounds,
        wer=command.wer,
        ours=assignments(command.ours),
        reference=assignments(command.reference),
        output_dir=command.output_dir,
        **tree_of(overrides),
    )
    show(benchmark_text(result))
    if command.json is not None:
        write_json(command.json, result.to_dict())
