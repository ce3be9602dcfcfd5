"""What TensorBoard shows beside numbers: augmented clips, transcripts as they grow, and what is listened to.

All of it is made before the first step, at evaluations and at the end, never in a step.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard.summary import audio, text

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.effects.augmentation_gallery import LONGEST_S, AugmentationDraws, hang
from whisper_peft.errors import AudioError
from whisper_peft.evaluation.generation import (
    check_language,
    decode_states,
    decoder_prefix,
    encode,
    listening,
)
from whisper_peft.evaluation.word_alignment import Alignment, align_tokens
from whisper_peft.model.loading import Whisper
from whisper_peft.pipeline.runs.augmented_speech import masked_pictures
from whisper_peft.pipeline.runs.followed_transcripts import (
    TRANSCRIPTS_FILE,
    FollowedTranscripts,
    plain_markdown,
)
from whisper_peft.pipeline.runs.speech import Speech
from whisper_peft.recipe.sections import Recipe
from whisper_peft.reporting.pages.recordings import shaded_picture, spectrogram_picture
from whisper_peft.training.events import Event
from whisper_peft.training.logs import Media
from whisper_peft.types import SAMPLING_RATE, EvalResult, Utterance

CLIPS = 2
"""Training rows that are heard as augmentation leaves them."""

ROWS = 32
"""Rows that clips are chosen from: so many are read anew, of a stream too."""

TOKEN_ROWS, POSITION_COLUMNS = 14, 3
"""Dots of a token's height, and of the width of 20 ms, in the picture of an alignment."""

WORTH_SHOWING = ("start", "evaluation", "end")
"""Events at which pictures are made."""


def learning_media(
    speech: Speech, collator: Collator, folder: Path, before: EvalResult | None
) -> tuple[Media, ...]:
    """Return what makes sounds, pictures and texts for TensorBoard.

    Args:
        speech: The splits of the run, with its recipe.
        collator: What makes batches of them.
        folder: The run folder, for the transcripts so far.
        before: Scores of the untuned model.
    """
    draws = AugmentationDraws(
        collator.augmentation, collator.spec_augment, collator.seed, collator.num_mel_bins
    )
    scored = speech.eval if speech.recipe.eval.steps is None else speech.dev
    followed = FollowedTranscripts(
        folder / TRANSCRIPTS_FILE, before if scored.split == speech.eval.split else None
    )
    clips = [AugmentedClips(draws, speech.train)] if draws.names else []
    return (*clips, followed, ListenedClip(speech.recipe, scored))


@dataclass
class AugmentedClips:
    """A few training rows as the model hears them, in the epoch that has come.

    Args:
        draws: What training draws.
        source: The training split.
    """

    draws: AugmentationDraws
    source: Iterable[Utterance]
    epoch: int = 0
    rows: tuple[Utterance, ...] | None = None
    shown_step: int = -1

    def __call__(self, event: Event) -> Iterator[Summary]:
        """Yield sounds and spectrograms: as recorded and as heard."""
        self.epoch = int(event.row.get("epoch", self.epoch))
        # of a run that goes on, the epoch is known from its first step on
        unknown_epoch = event.kind == "start" and event.step > 0
        if event.kind not in WORTH_SHOWING or unknown_epoch or event.step == self.shown_step:
            return
        self.shown_step = event.step
        if self.rows is None:
            self.rows = self._chosen()
            for number, row in enumerate(self.rows, 1):
                yield from _clip(f"clips/{number} as recorded", decode(row).waveform)
        for number, row in enumerate(self.rows, 1):
            example = self.draws.example(row, epoch=self.epoch)
            yield from _clip(f"clips/{number} as heard", example.together)
            if example.keep is not None:
                masked = masked_pictures(example, self.draws.num_mel_bins)[1]
                yield _image(f"clips/{number} as heard, log-mel", masked)

    def _chosen(self) -> tuple[Utterance, ...]:
        rows = {row.id: row for row in itertools.islice(self.source, ROWS)}
        gallery = hang(self.draws, tuple(rows.values()), epochs=1, most=CLIPS)
        return tuple(rows[example.id] for example in gallery.examples)


@dataclass
class ListenedClip:
    """What the decoder listens to in one scored clip while it writes each token.

    Args:
        recipe: The run's.
        source: The split that is scored while learning.
    """

    recipe: Recipe
    source: Iterable[Utterance]
    row: Utterance | None = None
    shown_step: int = -1

    def __call__(self, event: Event) -> Iterator[Summary]:
        """Yield the picture of the cross-attention, and the words with their times."""
        if event.kind not in WORTH_SHOWING or event.step == self.shown_step:
            return
        self.shown_step = event.step
        if self.row is None:
            self.row = _first_short(self.source)
        if self.row is None:
            return
        found = listen_to(event.whisper, self.row, self.recipe)
        yield _image("alignment/tokens down, time to the right", alignment_picture(found))
        yield text("alignment/words", words_table(found))


def listen_to(whisper: Whisper, row: Utterance, recipe: Recipe) -> Alignment:
    """Transcribe a decoded clip as evaluation does, and return how the transcript follows it."""
    spoken, task = row.language or recipe.model.language, row.task or recipe.model.task
    prefix = decoder_prefix(whisper, spoken, task)
    seconds = len(row.waveform) / SAMPLING_RATE
    with listening(whisper):
        states = encode(whisper, [row.waveform], audio_context=recipe.eval.audio_context)
        (written,) = decode_states(whisper, states, [prefix], seconds=[seconds])
        language = check_language(whisper, spoken)
        return align_tokens(whisper, states[0], prefix, written.tokens, language=language, duration_s=seconds)


def alignment_picture(found: Alignment) -> bytes:
    """Return a PNG: tokens from top to bottom, time to the right, brightest where the decoder listened.

    The way that word times are read from is drawn over it.

    Example:
        >>> weights = np.eye(3, 9, dtype=np.float32)
        >>> alignment_picture(Alignment(weights, (0, 1, 2), (0, 1, 2), ()))[1:4]
        b'PNG'
    """
    low, high = np.percentile(found.weights, (5, 99.5))
    levels = 0.8 * ((found.weights - low) / max(high - low, 1e-6)).clip(0, 1)
    dots = levels.repeat(TOKEN_ROWS, axis=0).repeat(POSITION_COLUMNS, axis=1)
    for row, column in zip(found.rows, found.columns, strict=True):
        middle, left = row * TOKEN_ROWS + TOKEN_ROWS // 2, column * POSITION_COLUMNS
        dots[middle - 1 : middle + 1, left : left + POSITION_COLUMNS] = 1.0
    return shaded_picture(dots[::-1])


def words_table(found: Alignment) -> str:
    """Return the words with their times as a Markdown table.

    Example:
        >>> from whisper_peft.evaluation.word_alignment import Word
        >>> one = Alignment(np.zeros((1, 1), np.float32), (), (), (Word(" one|two", 0.5, 0.82, 2),))
        >>> print(words_table(one).splitlines()[-1])
        | 0.50 | 0.82 | one&#124;two |
    """
    rows = (
        f"| {word.start_s:.2f} | {word.end_s:.2f} | {plain_markdown(word.text)} |" for word in found.words
    )
    return "\n".join(["| from s | to s | word |", "|---|---|---|", *rows])


def _first_short(source: Iterable[Utterance]) -> Utterance | None:
    for row in source:
        if (row.duration_s or 0.0) <= LONGEST_S:
            with suppress(AudioError):
                return decode(row)
    return None


def _clip(tag: str, waveform: np.ndarray[Any, np.dtype[np.float32]]) -> Iterator[Summary]:
    yield audio(tag, torch.from_numpy(waveform.clip(-1, 1)), SAMPLING_RATE)
    yield _image(f"{tag}, spectrogram", spectrogram_picture(waveform))


def _image(tag: str, png: bytes) -> Summary:
    width, height = Image.open(io.BytesIO(png)).size
    picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=picture)])
