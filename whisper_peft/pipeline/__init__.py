"""The order of the work: what each verb does, from one room to the next."""

from whisper_peft.pipeline.finetuning import Run, finetune
from whisper_peft.pipeline.operations import evaluate, load, merge, report, transcribe

__all__ = ["Run", "evaluate", "finetune", "load", "merge", "report", "transcribe"]
