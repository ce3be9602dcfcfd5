"""A narrow Whisper of any vocabulary, and exports of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from whisper_peft.model.loading import Whisper
from whisper_peft.testing import small_whisper


@pytest.fixture(scope="session")
def narrow_whisper(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Whisper]:
    """Return a maker of random Whispers by vocabulary and mel bins, each made once: never change one."""
    made: dict[tuple[int, int], Whisper] = {}

    def make(vocab_size: int, num_mel_bins: int) -> Whisper:
        if (vocab_size, num_mel_bins) not in made:
            folder = tmp_path_factory.mktemp("narrow") / f"whisper-{vocab_size}"
            made[vocab_size, num_mel_bins] = small_whisper(
                folder, vocab_size=vocab_size, num_mel_bins=num_mel_bins
            )
        return made[vocab_size, num_mel_bins]

    return make
