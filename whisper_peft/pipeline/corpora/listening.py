"""What a model hears in rows that were looked at: the loss of the given text, and its own transcript."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.survey.findings import Reason
from whisper_peft.data.survey.outliers import OutlierSearch
from whisper_peft.data.survey.row_facts import RowFacts
from whisper_peft.data.survey.sketches import Sketch
from whisper_peft.data.survey.speaking_rate import letters
from whisper_peft.data.targets.labels import IGNORED, Labeller, told_language
from whisper_peft.errors import AudioError
from whisper_peft.evaluation.generation import encode, generate_transcripts, listening
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import align_words
from whisper_peft.model.loading import Whisper
from whisper_peft.model.segments import Segments
from whisper_peft.training.loss import SpeechLoss
from whisper_peft.types import WINDOW_S, Utterance

LEAST_LOSS = 1.0
"""Nats per token below which no text is unlikely, however alike the others are."""

OTHER_WORDS_WER = 0.75
"""From this word error rate on, a text that the model finds unlikely is another one than it hears."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A row that stands out by what a model hears: why, and what it wrote down."""

    row: RowFacts
    reason: Reason
    transcript: str


class Listener:
    """Hears rows at 30 s of context, as a model that was not tuned yet must.

    Args:
        whisper: The model.
        labeller: Puts the text as the model would learn it.
    """

    def __init__(self, whisper: Whisper, labeller: Labeller) -> None:
        self.whisper, self.labeller = whisper, labeller
        self.losses = Sketch(0.01, is_log=True)
        self._loss = SpeechLoss(whisper)
        self._search: OutlierSearch[RowFacts] = OutlierSearch(is_log=False)

    def hear(self, row: RowFacts, utterance: Utterance) -> None:
        """Take in the loss of a row's text; what cannot be decoded is left to others to report."""
        try:
            decoded = decode(utterance)
        except AudioError:
            return
        if not decoded.text.strip() or (decoded.duration_s or 0.0) > WINDOW_S:
            return
        loss = self.loss_per_token(decoded)
        self.losses.add(loss)
        self._search.add(row, loss, letters=letters(row.text))

    def loss_per_token(self, utterance: Utterance) -> float:
        """Return the mean cross-entropy of a decoded utterance's text, in nats per target token."""
        target = self.labeller(utterance)
        device = self.whisper.device
        labels = torch.tensor(target.labels, device=device)
        with listening(self.whisper):
            states = encode(self.whisper, [utterance.waveform], audio_context="full")
            loss = self._loss.decoder_loss(
                states.hidden,
                Segments((states.hidden.shape[1],), (len(labels),)),
                torch.tensor(target.decoder_input_ids, device=device),
                labels,
            )
        return float(loss) / int((labels != IGNORED).sum())

    def unlikely(self) -> dict[tuple[int, str], tuple[RowFacts, str]]:
        """Return the rows whose text is far less likely than others of its length, and how unlikely."""
        found = (one for one in self._search.outliers() if one.z > 0 and one.value > LEAST_LOSS)
        told = ((one.row, f"{one.value:.1f} nats a token, where {one.usual} is usual") for one in found)
        return {(row.split, row.id): (row, sentence) for row, sentence in told}

    def judged(self, found: Iterable[tuple[RowFacts, str, Utterance]]) -> Iterator[Heard]:
        """Write down rows whose text is unlikely, and compare; those in other words are mislabelled."""
        for row, sentence, utterance in found:
            decoded = decode(utterance)
            language = told_language(
                utterance.language or self.labeller.language, multilingual=self.whisper.is_multilingual
            )
            (transcript,) = generate_transcripts(
                self.whisper, [decoded.waveform], language=language, task=self.labeller.task
            )
            wer = word_error_rate(row.text, transcript, language)
            name = "not-as-heard" if wer >= OTHER_WORDS_WER else "hard-to-hear"
            yield Heard(row, Reason(name, f"{sentence}, WER {wer:.0%}"), transcript)


def word_error_rate(reference: str, hypothesis: str, language: str | None) -> float:
    """Return the word error rate of one transcript, after the normaliser of its language."""
    normalize = get_normalizer("auto", language)
    return align_words([normalize(reference)], [normalize(hypothesis)])[0].rate
