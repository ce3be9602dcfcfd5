"""Generators that depend on what is drawn for, not on who draws or when."""

from __future__ import annotations

import hashlib

import numpy as np


def named_rng(entropy: bytes, name: str) -> np.random.Generator:
    """Return the generator of `name`: the same in every process, independent of those of other names.

    Example:
        >>> int(named_rng(b"run", "noise").integers(1000)) == int(named_rng(b"run", "noise").integers(1000))
        True
    """
    digest = hashlib.blake2b(name.encode(), key=hashlib.blake2b(entropy).digest(), digest_size=16)
    return np.random.default_rng(np.frombuffer(digest.digest(), dtype="<u4"))


def utterance_rng(seed: int, epoch: int, utterance_id: str) -> np.random.Generator:
    """Return the generator of one utterance in one epoch, whatever the worker, batch or order.

    Example:
        >>> first, again = utterance_rng(42, 0, "a-1"), utterance_rng(42, 0, "a-1")
        >>> bool(first.random() == again.random() != utterance_rng(42, 1, "a-1").random())
        True
    """
    return named_rng(f"{seed} {epoch}".encode(), utterance_id)
