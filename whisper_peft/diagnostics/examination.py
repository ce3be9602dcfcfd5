"""doctor(): everything tried, what native code does in processes of their own."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from whisper_peft.deploy.runtimes import RUNTIMES
from whisper_peft.diagnostics import arithmetic, codecs, libraries, services, surroundings
from whisper_peft.diagnostics.apart import try_apart
from whisper_peft.diagnostics.checks import Check, Diagnosis
from whisper_peft.diagnostics.runtimes import try_runtime
from whisper_peft.measuring import usable_cores
from whisper_peft.model.library_noise import no_loading_bar

_MOST_AT_ONCE = 4
"""Processes at a time: each takes up to 1 GiB for its imports."""


def doctor(*, folder: Path = Path()) -> Diagnosis:
    """Try what this machine can do, and say what to install for the rest.

    Args:
        folder: Where runs would be written; its disk is looked at.

    Example:
        >>> diagnosis = doctor()  # doctest: +SKIP
        >>> [check.name for check in diagnosis.checks if not check.works]  # doctest: +SKIP
        ['GPU', 'm4a']
    """
    return Diagnosis(
        (
            surroundings.python(),
            *libraries.needed_libraries(),
            *libraries.extras(),
            surroundings.processors(),
            surroundings.accelerator(),
            surroundings.memory(),
            surroundings.disk(folder),
            *_in_processes(),
            *libraries.weights(),
            surroundings.hub(),
        )
    )


def _in_processes() -> Iterable[Check]:
    """Try what may crash, each group in a process of its own and several at a time."""
    runtimes = [name for name in RUNTIMES if name != "whisper_peft"]
    with no_loading_bar(), ThreadPoolExecutor(min(usable_cores(), _MOST_AT_ONCE)) as pool:
        groups = [
            pool.submit(try_apart, group, attempts)
            for group, attempts in (
                ("arithmetic", arithmetic.ATTEMPTS),
                ("codecs", codecs.ATTEMPTS),
                ("services", services.ATTEMPTS),
            )
        ]
        listened = pool.map(try_runtime, runtimes)
        return list(chain(*(group.result() for group in groups), listened))
