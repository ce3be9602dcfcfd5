"""A promise that is kept or named, and what several contracts look at."""

from __future__ import annotations

import pickle
import random

import numpy as np
import torch


def promise(is_kept: bool, sentence: str) -> None:
    """Raise AssertionError with the sentence unless the promise is kept.

    Example:
        >>> promise(False, "it yields no rows")
        Traceback (most recent call last):
        AssertionError: it yields no rows
    """
    if not is_kept:
        raise AssertionError(sentence)


def pickled(value: object, name: str) -> bytes:
    """Return a value as it would travel to a worker process.

    Raises:
        AssertionError: If it cannot.
    """
    try:
        return pickle.dumps(value)
    except Exception as error:
        raise AssertionError(f"{name} cannot be sent to a worker process: {error}") from error


def global_states() -> tuple[object, ...]:
    """Return where the generators stand that every run shares: Python's, numpy's and torch's.

    Example:
        >>> before = global_states()
        >>> random.random() < 1 and global_states() == before
        False
    """
    name, keys, *rest = np.random.get_state()
    torches = torch.random.get_rng_state().numpy().tobytes()
    return random.getstate(), name, np.asarray(keys).tobytes(), *rest, torches
