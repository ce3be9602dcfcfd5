"""The order of the work: what each verb does, from one room to the next."""

from whisper_peft.pipeline.corpora.inspection import inspect
from whisper_peft.pipeline.exports import export, verify
from whisper_peft.pipeline.forecasting import Plan, check
from whisper_peft.pipeline.hosting import serve
from whisper_peft.pipeline.operations import evaluate, load, merge, transcribe
from whisper_peft.pipeline.runs.finetuning import finetune
from whisper_peft.pipeline.runs.run import Run
from whisper_peft.pipeline.runs.run_views import report

__all__ = [
    "Plan",
    "Run",
    "check",
    "evaluate",
    "export",
    "finetune",
    "inspect",
    "load",
    "merge",
    "report",
    "serve",
    "transcribe",
    "verify",
]
