"""`health`: what a run did to its model beside the WER."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.adapter_verbs import Retention, take_retention
from whisper_peft.commands.json_files import refuse_unwritable, write_json
from whisper_peft.commands.words import recorded_recipe
from whisper_peft.flags import parse_command
from whisper_peft.recipe.overrides import apply_overrides, tree_of
from whisper_peft.recipe.sections import EvalSection, ModelSection, Section
from whisper_peft.reporting.health_views import health_lines
from whisper_peft.terminal import is_main_process, show

LABEL_WIDTH = 14
"""Columns for the verdicts at the left."""


class HealthFields(Section):
    """The sections that a health check reads."""

    model: ModelSection = ModelSection()
    eval: EvalSection = EvalSection()
    retention: Retention = Retention()


@dataclass(frozen=True)
class HealthCheck:
    """Check what a run did to its model beside the WER, before and after, with a verdict on each side."""

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder. The result goes into its report.json, and its card and page are written anew."""
    json: Path | None = None
    """File to write the result to as well."""
    fields: Annotated[HealthFields, arg(name="")] = field(default_factory=HealthFields)


def run_health(words: list[str]) -> None:
    """Check what a run did to its model beside the WER, with a verdict on each side."""
    recipe = recorded_recipe(words)
    fields = HealthFields(model=recipe.model, eval=recipe.eval)
    command, overrides = parse_command(HealthCheck(MISSING, fields=fields), words, prog="whisper-peft health")
    tree = tree_of(overrides, HealthFields)
    retention = take_retention(tree)
    apply_overrides(recipe, tree)
    if command.json is not None:
        refuse_unwritable(command.json)
    result = whisper_peft.health(command.run, retention=retention, **tree)
    show("\n".join(f"{label:<{LABEL_WIDTH}}{text}" for label, text in health_lines(result)))
    if command.json is not None and is_main_process():
        write_json(command.json, result.to_dict())
