"""What the collator makes of windows: the kind that was drawn, times of the speech as heard, silence."""

import dataclasses

import numpy as np
import pytest
import torch

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.batching import EpochPlan, MicroBatch, Recording
from whisper_peft.data.batches.collation import Collator
from whisper_peft.data.batches.loader import StepLoader
from whisper_peft.data.effects.augmentation import build_augmentation
from whisper_peft.data.targets.labels import IGNORED, Labeller
from whisper_peft.data.targets.no_speech import NoSpeech, no_speech_row
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.data.targets.windowing import Windowing
from whisper_peft.recipe.sections import AugmentSection, SpecAugment, Speed, TargetSection, TrainSection
from whisper_peft.types import Segment, Utterance


@pytest.fixture(scope="module")
def collate(tiny_en):
    """Return a function from target settings to a collator."""

    def build(augment=None, **targets):
        section = TargetSection(**targets)
        return Collator(
            Labeller(tiny_en.tokenizer, multilingual=False, language=None, targets=section),
            build_augmentation(augment or AugmentSection()),
            SpecAugment(),
            AudioContexts.of(TrainSection(), seed=0),
            num_mel_bins=80,
            seed=0,
            draws=TargetDraws(section, seed=0),
        )

    return build


def spoken(name, seconds, text="Yes.", **fields):
    samples = np.random.default_rng(len(name)).standard_normal(int(16_000 * seconds)).astype(np.float32) / 10
    return Utterance(name, samples, text, sampling_rate=16_000, duration_s=seconds, **fields)


def batch(collator, *windows, epoch=0):
    return collator(MicroBatch(epoch, 0, windows))


def texts(collator, made):
    """Return what is scored in each window."""
    decode = collator.labeller.tokenizer.decode
    scored = [labels[labels != IGNORED].tolist() for labels in made.labels.split(made.token_counts)]
    return [decode(ids, decode_with_timestamps=True) for ids in scored]


def test_a_window_of_several_utterances_keeps_the_times_of_each(collate):
    collator = collate(timestamps=1.0)
    made = batch(collator, (spoken("a", 2.0), spoken("b", 1.5, "No."), spoken("c", 3.0)))
    assert texts(collator, made) == [
        "<|0.00|> Yes.<|2.00|><|2.00|> No.<|3.50|><|3.50|> Yes.<|6.50|><|endoftext|>"
    ]
    assert dict(made.kinds) == {"timestamps": 1}


def test_stretched_speech_has_stretched_times(collate):
    said = (Segment(0.5, 1.0, "Yes."), Segment(1.5, 2.0, "No."))
    collator = collate(AugmentSection(speed=Speed(p=1, factors=(0.8,))), timestamps=1.0)
    row = spoken("a", 2.0, "Yes. No.", segments=said)
    assert texts(collator, batch(collator, (row, spoken("b", 2.0)))) == [
        "<|0.62|> Yes.<|1.24|><|1.88|> No.<|2.50|><|2.50|> Yes.<|5.00|><|endoftext|>"
    ]


def test_kinds_come_at_their_rates_and_belong_to_the_utterance(collate):
    collator = collate(timestamps=0.5, previous_text=0.3)
    rows = [(spoken(f"utterance-{n}", 0.2, previous_text="No."),) for n in range(200)]
    made = batch(collator, *rows)
    assert made.kinds["timestamps"] == pytest.approx(100, abs=25)
    assert made.kinds["previous_text"] == pytest.approx(60, abs=20)
    alone = [texts(collator, batch(collator, row))[0] for row in rows[:20]]
    assert alone == texts(collator, made)[:20]
    assert texts(collator, batch(collator, *rows, epoch=1)) != texts(collator, made)


def test_neighbours_are_timed_and_told_what_came_before(collate):
    rows = [
        dataclasses.replace(spoken(f"19-198-000{n}", 1.0), speaker_id="19", previous_text="Before.")
        for n in range(2)
    ]
    collator = collate(long_form=1.0)
    made = batch(collator, tuple(rows))
    assert texts(collator, made) == ["<|0.00|> Yes.<|1.00|><|1.00|> Yes.<|2.00|><|endoftext|>"]
    read = collator.labeller.tokenizer.decode(made.decoder_input_ids)
    assert read.startswith("<|startofprev|> Before.<|startoftranscript|>")
    assert dict(made.kinds) == {"timestamps": 1, "previous_text": 1, "long_form": 1}
    plain = collate()
    assert texts(plain, batch(plain, tuple(rows))) == [" Yes. Yes.<|endoftext|>"]


def test_nobody_speaks_where_nobody_does(collate):
    collator = collate(no_speech=0.5)
    quiet = no_speech_row(np.random.default_rng(3), among=[spoken("a", 1.0)])
    made = batch(collator, (quiet,), (spoken("a", 1.0),))
    assert texts(collator, made) == ["<|endoftext|>", " Yes.<|endoftext|>"]
    assert made.sample_counts[0] == round(quiet.duration_s * 16_000)
    assert dict(made.kinds) == {"no_speech": 1}
    assert made.audio_seconds == 1.0


def test_a_known_recording_has_the_labels_it_had_when_it_was_heard(collate):
    collator = collate(timestamps=1.0)
    row = spoken("a", 2.34)
    heard = batch(collator, (row,))
    known = Recording(b"digest", samples=heard.sample_counts[0], frames=heard.frames[0])
    silent = dataclasses.replace(row, audio=b"")
    again = collator(MicroBatch(0, 0, ((silent,),), recordings=(known,)))
    assert torch.equal(heard.labels, again.labels)
    assert torch.equal(heard.decoder_input_ids, again.decoder_input_ids)


def test_workers_and_resumed_plans_make_the_same_batches(collate):
    section = {"timestamps": 0.5, "previous_text": 0.5, "no_speech": 0.3, "long_form": 0.5}
    collator = collate(**section)
    rows = [
        dataclasses.replace(spoken(f"19-198-{n:04d}", 0.5 + n % 3), speaker_id="19", previous_text="Before.")
        for n in range(24)
    ]
    plan = EpochPlan(
        rows_per_step=4,
        window=16,
        work=lambda window, epoch: sum(row.duration_s for row in window),
        windowing=Windowing(long_form=0.5, no_speech=0.3),
    )

    def load(workers, skip=0):
        steps = list(plan.steps(rows, seed=1, epoch=0))[skip:]
        loader = StepLoader(collator, rank=0, world_size=1, micro_batches=1, workers=workers)
        return [made for (made,) in loader.load(steps)]

    here, there, resumed = load(0), load(2), load(0, skip=2)
    assert any(made.kinds.get("no_speech") for made in here)
    for first, second in [*zip(here, there, strict=True), *zip(here[2:], resumed, strict=True)]:
        assert torch.equal(first.samples, second.samples)
        assert torch.equal(first.labels, second.labels)
        assert torch.equal(first.decoder_input_ids, second.decoder_input_ids)
        assert first.kinds == second.kinds


def test_what_no_speech_sounds_like_is_drawn_from_its_id(collate):
    collator = collate(no_speech=0.5)
    quiet = NoSpeech("no-speech-1", b"", "", duration_s=1.0)
    assert torch.equal(batch(collator, (quiet,)).samples, batch(collator, (quiet,)).samples)
    others = [
        batch(collator, (dataclasses.replace(quiet, id=f"no-speech-{n}"),)).samples for n in range(2, 6)
    ]
    assert not all(torch.equal(batch(collator, (quiet,)).samples, other) for other in others)
