"""The contracts of plug-ins, as functions that a plug-in's own tests call.

Each raises AssertionError with a sentence that says which promise is broken. None needs a test framework.

Example:
    >>> def softer(waveform, rng):
    ...     waveform *= 0.5
    ...     return waveform
    >>> check_augmentation(softer)
    Traceback (most recent call last):
    AssertionError: an effect changed the waveform that it was given: return a new one
"""

from whisper_peft.model.small_models import small_whisper
from whisper_peft.testing.adapters import check_adapter_config
from whisper_peft.testing.effects import check_augmentation
from whisper_peft.testing.exporters import check_exporter
from whisper_peft.testing.recipes import check_recipe
from whisper_peft.testing.sources import check_source
from whisper_peft.testing.trackers import check_tracker

__all__ = [
    "check_adapter_config",
    "check_augmentation",
    "check_exporter",
    "check_recipe",
    "check_source",
    "check_tracker",
    "small_whisper",
]
