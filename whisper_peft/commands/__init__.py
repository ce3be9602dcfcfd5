"""The verbs: what each takes on the command line, and the public function it calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from whisper_peft.commands.adapter_verbs import run_adapters
from whisper_peft.commands.augmenting import run_augmentations
from whisper_peft.commands.comparing import run_benchmark
from whisper_peft.commands.exporting import run_export, run_verify
from whisper_peft.commands.health_verb import run_health
from whisper_peft.commands.hosting import run_serve
from whisper_peft.commands.inspecting import run_inspect
from whisper_peft.commands.labelling import run_label
from whisper_peft.commands.machine import run_doctor
from whisper_peft.commands.planning import run_check
from whisper_peft.commands.publishing import run_push
from whisper_peft.commands.recipe_catalogue import run_recipes
from whisper_peft.commands.run_comparison import run_compare
from whisper_peft.commands.run_folders import run_merge, run_report
from whisper_peft.commands.scoring import run_evaluate
from whisper_peft.commands.studies import run_learning_curve, run_pseudo_label, run_search
from whisper_peft.commands.transcribing import run_transcribe
from whisper_peft.commands.tuning import INTERRUPTED, run_finetune, run_script
from whisper_peft.recipe.sections import Recipe

__all__ = ["INTERRUPTED", "STUDIES", "VERBS", "Study"]

VERBS: dict[str, Callable[[list[str]], None]] = {
    "check": run_check,
    "inspect": run_inspect,
    "augmentations": run_augmentations,
    "finetune": run_finetune,
    "evaluate": run_evaluate,
    "health": run_health,
    "merge": run_merge,
    "export": run_export,
    "verify": run_verify,
    "adapters": run_adapters,
    "transcribe": run_transcribe,
    "label": run_label,
    "report": run_report,
    "compare": run_compare,
    "serve": run_serve,
    "push": run_push,
    "benchmark": run_benchmark,
    "recipes": run_recipes,
    "doctor": run_doctor,
}
"""The verbs in the order of a run's life."""

Study: TypeAlias = Literal["finetune", "learning-curve", "search", "pseudo-label"]

STUDIES: dict[Study, Callable[[Recipe, list[str]], None]] = {
    "finetune": run_script,
    "learning-curve": run_learning_curve,
    "search": run_search,
    "pseudo-label": run_pseudo_label,
}
"""What a recipe's script can do with it."""
