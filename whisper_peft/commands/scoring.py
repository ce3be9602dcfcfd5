"""`evaluate`: scores of generated transcripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.json_files import refuse_unwritable, write_json
from whisper_peft.commands.words import recorded_recipe
from whisper_peft.flags import parse_command
from whisper_peft.recipe.overrides import apply_overrides, tree_of
from whisper_peft.recipe.sections import DataSection, EvalSection, ModelSection, Section
from whisper_peft.terminal import is_main_process, scores_text, show


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


def run_evaluate(words: list[str]) -> None:
    """Score generated transcripts of a run or a model: WER, CER, speed and memory."""
    recipe = recorded_recipe(words)
    fields = EvaluateFields(model=recipe.model, data=recipe.data, eval=recipe.eval)
    command, overrides = parse_command(Evaluate(MISSING, fields=fields), words, prog="whisper-peft evaluate")
    apply_overrides(recipe, overrides)
    if command.json is not None:
        refuse_unwritable(command.json)
    result = whisper_peft.evaluate(command.run_or_model, **tree_of(overrides))
    # printed first: a disk that has filled up meanwhile must not swallow them
    show(scores_text(result))
    if command.json is not None and is_main_process():
        write_json(command.json, result.to_dict())
