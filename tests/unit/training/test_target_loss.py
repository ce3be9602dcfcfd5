"""The loss of windows with timestamps, previous text and silence, beside the plainest way to compute it."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.batching import MicroBatch
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.targets.labels import Labeller
from whisper_peft.data.targets.no_speech import no_speech_row
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.evaluation.generation import log_mel
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import AugmentSection, SpecAugment, TargetSection, TrainSection
from whisper_peft.training.loss import SpeechLoss

PACKED = TrainSection(audio_context="packed")


@pytest.fixture(scope="module")
def exact(tiny_en) -> Whisper:
    """Return the model in float64, where the order of a sum changes nothing that a test could see."""
    precision = dataclasses.replace(tiny_en.precision, weights_dtype=torch.float64)
    return dataclasses.replace(tiny_en, model=copy.deepcopy(tiny_en.model).double(), precision=precision)


def collator(whisper, **targets):
    section = TargetSection(**targets)
    return Collator(
        Labeller(whisper.tokenizer, multilingual=False, language=None, targets=section),
        build_augmentation(AugmentSection()),
        SpecAugment(),
        AudioContexts.of(PACKED, seed=0),
        num_mel_bins=80,
        seed=0,
        draws=TargetDraws(section, seed=0),
    )


def naive_loss(whisper, windows):
    """Return the summed loss of windows one by one: 30 s of features, and texts written out by hand."""
    total, tokenizer = 0.0, whisper.tokenizer
    for waveform, unscored, scored in windows:
        before = tokenizer.encode(unscored, add_special_tokens=False)
        after = tokenizer.encode(scored, add_special_tokens=False)
        ids = torch.tensor([[*before, *after]])
        features = log_mel(whisper, [waveform], frames=3000).double()
        logits = whisper.core(input_features=features, decoder_input_ids=ids[:, :-1]).logits[0]
        scores = logits[len(before) - 1 :]
        total += float(cross_entropy(scores, torch.tensor(after), reduction="sum"))
    return total


def stamp(seconds):
    return f"<|{round(seconds / 0.02) * 0.02:.2f}|>"


def test_the_loss_of_packed_windows_with_timestamps_is_that_of_a_naive_construction(exact, rows):
    told = [dataclasses.replace(row, previous_text="Before that.") for row in rows[:5]]
    windows = (tuple(told[:3]), tuple(told[3:]))
    batch = collator(exact, timestamps=1.0, previous_text=1.0)(MicroBatch(0, 0, windows))
    naive = []
    for window in windows:
        waves, text, end = [decode(row).waveform for row in window], "", 0.0
        for row, wave in zip(window, waves, strict=True):
            start, end = end, end + len(wave) / 16_000
            text += f"{stamp(start)} {row.text.strip()}{stamp(end)}"
        prompt = "<|startofprev|> Before that.<|startoftranscript|>"
        naive.append((np.concatenate(waves), prompt, f"{text}<|endoftext|>"))
    with torch.no_grad():
        assert loss_of(exact, batch) == pytest.approx(naive_loss(exact, naive), rel=1e-6)


def test_the_loss_of_silence_is_that_of_ending_at_once(exact, rows):
    quiet = no_speech_row(np.random.default_rng(1), among=rows)
    batch = collator(exact, no_speech=0.5)(MicroBatch(0, 0, ((quiet,),)))
    naive = [(batch.samples.numpy(), "<|startoftranscript|><|notimestamps|>", "<|endoftext|>")]
    with torch.no_grad():
        assert loss_of(exact, batch) == pytest.approx(naive_loss(exact, naive), rel=1e-6)


def loss_of(whisper, batch):
    return float(
        SpeechLoss(whisper)(
            batch.samples,
            batch.sample_counts,
            batch.frames,
            batch.token_counts,
            batch.decoder_input_ids,
            batch.labels,
            batch.keep,
        )
    )
