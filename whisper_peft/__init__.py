"""Parameter-efficient fine-tuning of OpenAI Whisper, from speech to a merged model with an honest report.

The public names are loaded when they are first used (PEP 562): importing the package imports no torch.

Example:
    >>> from whisper_peft import compose, lora, schedule, whisper
    >>> compose(whisper("openai/whisper-small", language="en"), lora(r=8), schedule(max_steps=100)).adapter.r
    8
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whisper_peft.benchmarking.runner import benchmark as benchmark
    from whisper_peft.cli import main as main
    from whisper_peft.data.survey.findings import Inspection as Inspection
    from whisper_peft.diagnostics.examination import doctor as doctor
    from whisper_peft.errors import WhisperPeftError as WhisperPeftError
    from whisper_peft.evaluation.health.values import Health as Health
    from whisper_peft.export_types import ExportResult as ExportResult
    from whisper_peft.export_types import Verification as Verification
    from whisper_peft.pipeline import Plan as Plan
    from whisper_peft.pipeline import Run as Run
    from whisper_peft.pipeline import check as check
    from whisper_peft.pipeline import evaluate as evaluate
    from whisper_peft.pipeline import export as export
    from whisper_peft.pipeline import finetune as finetune
    from whisper_peft.pipeline import inspect as inspect
    from whisper_peft.pipeline import load as load
    from whisper_peft.pipeline import merge as merge
    from whisper_peft.pipeline import report as report
    from whisper_peft.pipeline import serve as serve
    from whisper_peft.pipeline import transcribe as transcribe
    from whisper_peft.pipeline import verify as verify
    from whisper_peft.pipeline.adapter_algebra import average_checkpoints as average_checkpoints
    from whisper_peft.pipeline.adapter_algebra import combine_adapters as combine_adapters
    from whisper_peft.pipeline.adapter_algebra import describe_adapter as describe_adapter
    from whisper_peft.pipeline.adapter_algebra import extract_adapter as extract_adapter
    from whisper_peft.pipeline.adapter_algebra import unmerge as unmerge
    from whisper_peft.pipeline.comparing.learning_curves import learning_curve as learning_curve
    from whisper_peft.pipeline.comparing.recipe_search import search as search
    from whisper_peft.pipeline.comparing.run_comparison import compare as compare
    from whisper_peft.pipeline.comparing.scale_curves import scale_curve as scale_curve
    from whisper_peft.pipeline.corpora.labelling import label as label
    from whisper_peft.pipeline.health.health_check import health as health
    from whisper_peft.pipeline.publishing import push as push
    from whisper_peft.pipeline.runs.augmented_speech import show_augmentations as show_augmentations
    from whisper_peft.recipe.compose import Part as Part
    from whisper_peft.recipe.compose import compose as compose
    from whisper_peft.recipe.parts import adapter as adapter
    from whisper_peft.recipe.parts import augment as augment
    from whisper_peft.recipe.parts import full as full
    from whisper_peft.recipe.parts import int8 as int8
    from whisper_peft.recipe.parts import librispeech as librispeech
    from whisper_peft.recipe.parts import lora as lora
    from whisper_peft.recipe.parts import merging as merging
    from whisper_peft.recipe.parts import mix as mix
    from whisper_peft.recipe.parts import nf4 as nf4
    from whisper_peft.recipe.parts import replay as replay
    from whisper_peft.recipe.parts import schedule as schedule
    from whisper_peft.recipe.parts import scoring as scoring
    from whisper_peft.recipe.parts import speech as speech
    from whisper_peft.recipe.parts import targets as targets
    from whisper_peft.recipe.parts import whisper as whisper
    from whisper_peft.recipe.sections import Gain as Gain
    from whisper_peft.recipe.sections import MixedSource as MixedSource
    from whisper_peft.recipe.sections import Noise as Noise
    from whisper_peft.recipe.sections import Pitch as Pitch
    from whisper_peft.recipe.sections import Recipe as Recipe
    from whisper_peft.recipe.sections import Reverb as Reverb
    from whisper_peft.recipe.sections import SpecAugment as SpecAugment
    from whisper_peft.recipe.sections import Speed as Speed
    from whisper_peft.recipe.sections import Telephone as Telephone
    from whisper_peft.types import EvalResult as EvalResult
    from whisper_peft.types import MergeResult as MergeResult
    from whisper_peft.types import Transcript as Transcript
    from whisper_peft.types import Utterance as Utterance

__version__ = "0.1.0"

_HOMES = {
    "benchmarking.runner": "benchmark",
    "cli": "main",
    "data.survey.findings": "Inspection",
    "diagnostics.examination": "doctor",
    "errors": "WhisperPeftError",
    "evaluation.health.values": "Health",
    "export_types": "ExportResult Verification",
    "pipeline": "Plan Run check evaluate export finetune inspect load merge report serve transcribe verify",
    "pipeline.adapter_algebra": "average_checkpoints combine_adapters describe_adapter extract_adapter "
    "unmerge",
    "pipeline.health.health_check": "health",
    "pipeline.runs.augmented_speech": "show_augmentations",
    "pipeline.corpora.labelling": "label",
    "pipeline.comparing.learning_curves": "learning_curve",
    "pipeline.publishing": "push",
    "pipeline.comparing.recipe_search": "search",
    "pipeline.comparing.run_comparison": "compare",
    "pipeline.comparing.scale_curves": "scale_curve",
    "recipe.compose": "Part compose",
    "recipe.parts": "adapter augment full int8 librispeech lora merging mix nf4 replay schedule scoring "
    "speech targets whisper",
    "recipe.sections": "Gain MixedSource Noise Pitch Recipe Reverb SpecAugment Speed Telephone",
    "types": "EvalResult MergeResult Transcript Utterance",
}
_HOME_OF = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
