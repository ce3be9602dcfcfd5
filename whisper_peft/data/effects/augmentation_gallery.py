"""What augmentation makes of a few utterances: each effect by itself, and all of them as the model hears it.

Every draw is that of training: of (seed, epoch, utterance id) and the effect's name, so what is shown is what
was learned from, and not another throw of the same dice.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.batches.collation import MASK_STREAM, SAMPLES_PER_FRAME
from whisper_peft.data.effects.augmentation import Augmentation, Change
from whisper_peft.data.effects.spectrogram_masks import draw_masks
from whisper_peft.data.randomness import utterance_rng
from whisper_peft.errors import AudioError
from whisper_peft.recipe.sections import SpecAugment
from whisper_peft.types import Utterance, Waveform

MASKS = "spec_augment"
"""Name of the masks, which are drawn on the spectrogram."""

LONGEST_S = 12.0
"""Utterances that are shown last at most so long, where there are any: they travel inside a page."""


@dataclass(frozen=True, slots=True)
class Example:
    """An utterance in one epoch.

    Attributes:
        id: The utterance's.
        epoch: Number of the epoch, from 0.
        dry: As it was recorded.
        alone: What each effect that happens makes of it by itself.
        together: What all of them make of it, one after the other.
        keep: Cells of its spectrogram that are not hidden, shape `(mel bins, frames)`; None where all are.
    """

    id: str
    epoch: int
    dry: Waveform
    alone: tuple[Change, ...]
    together: Waveform
    keep: NDArray[np.bool_] | None

    @property
    def happening(self) -> tuple[str, ...]:
        """Names of what happens to it."""
        return (*(change.name for change in self.alone), *((MASKS,) if self.keep is not None else ()))

    @property
    def hidden_share(self) -> float:
        """Share of the spectrogram that is hidden."""
        return 0.0 if self.keep is None else float(1 - self.keep.mean())


@dataclass(frozen=True, slots=True)
class AugmentationDraws:
    """What training draws for utterances.

    Args:
        augmentation: Effects on the waveform.
        spec_augment: Masks on the spectrogram.
        seed: Seed of the run.
        num_mel_bins: Height of the spectrogram.

    Example:
        >>> from whisper_peft.data.effects.augmentation import build_augmentation
        >>> from whisper_peft.recipe.sections import AugmentSection, Gain
        >>> section = AugmentSection(gain=Gain(p=1))
        >>> draws = AugmentationDraws(build_augmentation(section), section.spec_augment, 42, 80)
        >>> draws.names, draws.happening("a-1", epoch=0)
        (('gain',), ('gain',))
    """

    augmentation: Augmentation
    spec_augment: SpecAugment
    seed: int
    num_mel_bins: int

    @property
    def probabilities(self) -> dict[str, float]:
        """How likely each effect is, by name, in the order in which they happen."""
        effects = {step.name: step.p for step in self.augmentation.steps}
        return effects | ({MASKS: self.spec_augment.p} if self.spec_augment.p > 0 else {})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the effects, in the order in which they happen."""
        return tuple(self.probabilities)

    def happening(self, utterance_id: str, *, epoch: int) -> tuple[str, ...]:
        """Return the names of what happens to an utterance, without hearing it."""
        effects = self.augmentation.happening(utterance_rng(self.seed, epoch, utterance_id))
        hidden = self._mask_rng(utterance_id, epoch).random() < self.spec_augment.p
        return (*effects, MASKS) if hidden else effects

    def example(self, utterance: Utterance, *, epoch: int) -> Example:
        """Return what happens to an utterance, in a window of its own.

        Raises:
            AudioError: If it cannot be decoded.
        """
        dry = decode(utterance).waveform
        happening = self.happening(utterance.id, epoch=epoch)
        together = dry
        for change in self.augmentation.changes(dry, utterance_rng(self.seed, epoch, utterance.id)):
            together = change.waveform
        alone = [
            change
            for name in happening
            for change in self.augmentation.alone(name).changes(
                dry, utterance_rng(self.seed, epoch, utterance.id)
            )
        ]
        keep = self._keep(utterance.id, together, epoch) if MASKS in happening else None
        return Example(utterance.id, epoch, dry, tuple(alone), together, keep)

    def _keep(self, utterance_id: str, waveform: Waveform, epoch: int) -> NDArray[np.bool_]:
        frames = -(-len(waveform) // SAMPLES_PER_FRAME)
        rng = self._mask_rng(utterance_id, epoch)
        return draw_masks(self.num_mel_bins, frames, frames, self.spec_augment, rng)

    def _mask_rng(self, utterance_id: str, epoch: int) -> np.random.Generator:
        return utterance_rng(self.seed, epoch, f"{MASK_STREAM} {utterance_id}")


@dataclass(frozen=True)
class Gallery:
    """A few utterances in which every effect happens, as far as they were found.

    Attributes:
        probabilities: How likely each effect is, by name.
        happened: To how many of the rows it happens in the first epoch.
        rows: Rows that were looked at.
        examples: The utterances that are shown.
    """

    probabilities: Mapping[str, float]
    happened: Mapping[str, int]
    rows: int
    examples: tuple[Example, ...] = field(repr=False)

    @property
    def missing(self) -> tuple[str, ...]:
        """Effects that happen in none of the examples."""
        shown = {name for one in self.examples for name in one.happening}
        return tuple(name for name in self.probabilities if name not in shown)


def hang(draws: AugmentationDraws, rows: Sequence[Utterance], *, epochs: int, most: int) -> Gallery:
    """Choose utterances that show every effect, and hear them.

    Args:
        draws: What training draws.
        rows: Rows to choose from, undecoded.
        epochs: Epochs to choose from.
        most: Utterances to show at most; where nothing is augmented, none is.
    """
    happened = Counter(name for row in rows for name in draws.happening(row.id, epoch=0))
    candidates = {
        (place, epoch): frozenset(draws.happening(row.id, epoch=epoch))
        for epoch, (place, row) in itertools.product(range(epochs), enumerate(rows))
    }
    missing = set(draws.names)
    examples: list[Example] = []

    def worth(one: tuple[int, int]) -> tuple[bool, int]:
        news = candidates[one] & missing
        return bool(news) and (rows[one[0]].duration_s or 0.0) <= LONGEST_S, len(news)

    while missing and candidates and len(examples) < most:
        place, epoch = best = max(candidates, key=worth)
        news = candidates.pop(best) & missing
        if not news:
            break
        with suppress(AudioError):
            examples.append(draws.example(rows[place], epoch=epoch))
            missing -= news
    counts = {name: happened[name] for name in draws.names}
    return Gallery(draws.probabilities, counts, len(rows), tuple(examples))
