"""What real weights write for a health check is what the rest of the house would have them write."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.targets.no_speech import Quiet
from whisper_peft.evaluation.evaluator import evaluate_utterances
from whisper_peft.evaluation.generation import generate_transcripts
from whisper_peft.evaluation.health.brought_speech import BROUGHT_LANGUAGES, brought_speech
from whisper_peft.evaluation.health.hearing import Material, hear, written_language
from whisper_peft.evaluation.health.sounds import sound_clips
from whisper_peft.evaluation.probes.stitched import Stitched, stitch_windows
from whisper_peft.evaluation.probes.timestamps import probe_timestamps
from whisper_peft.recipe.sections import EvalSection
from whisper_peft.types import Utterance

SECTION = EvalSection(bootstrap_samples=100)


@pytest.fixture(scope="module")
def prompts(prompts_en):
    rows = sorted(prompts_en, key=lambda row: -row["duration_s"])[:12]
    paths = [Path(row["file_name"]) for row in rows]
    return [
        decode(Utterance(path.name, path, row["text"], language="en"))
        for path, row in zip(paths, rows, strict=True)
    ]


@pytest.fixture(scope="module")
def material(prompts):
    rows = prompts[:3]
    return Material(
        {"prompts": rows}, sound_clips(4, Quiet()), stitch_windows(prompts), [Stitched(tuple(prompts))]
    )


@pytest.fixture(scope="module")
def first_window(tiny_en, material):
    """Return the decoder's logits and tokens for the first window, its text and times being given."""
    window, tokenizer = material.windows[0], tiny_en.tokenizer
    times = itertools.pairwise(round(time / 0.02) * 0.02 for time in (0.0, *window.ends_s))
    parts = [
        f"<|{start:.2f}|> {one.text}<|{end:.2f}|>"
        for one, (start, end) in zip(window.utterances, times, strict=True)
    ]
    tokens = tokenizer.encode("<|startoftranscript|>" + "".join(parts), add_special_tokens=False)
    features = WhisperFeatureExtractor()(window.waveform, sampling_rate=16_000, return_tensors="pt")
    given = torch.tensor([tokens])
    with torch.no_grad():
        logits = tiny_en.core(input_features=features.input_features, decoder_input_ids=given).logits[0]
    return logits, tokens


@pytest.fixture(scope="module")
def heard(tiny_en, material):
    return hear(tiny_en, material, section=SECTION, language=None, task="transcribe")


def test_other_speech_is_scored_as_evaluation_scores_it(tiny_en, material, heard):
    scored = evaluate_utterances(
        tiny_en, material.retention["prompts"], section=SECTION, language=None, task="transcribe"
    )
    assert heard.retention["prompts"] == scored.predictions


def test_sounds_are_transcribed_as_evaluation_would(tiny_en, material, heard):
    written = generate_transcripts(tiny_en, [clip.waveform for clip in material.sounds], language=None)
    for sound, text in zip(heard.sounds, written, strict=True):
        assert text.startswith(sound.text)
        assert sound.text == text or sound.words > 8
    assert [sound.kind for sound in heard.sounds] == ["silence", "noise", "music", "silence"]


def test_timestamps_are_judged_as_the_probe_judges_them(tiny_en, material, heard):
    probed = probe_timestamps(tiny_en, material.windows)
    assert sum(window.well_formed for window in heard.windows) == probed.well_formed * probed.windows
    assert sum(len(window.distances_s) for window in heard.windows) == probed.boundaries


def test_a_recording_keeps_its_utterances_apart(heard, prompts):
    assert [one.id for one in heard.joined] == [row.id for row in prompts]
    errors, words = (sum(getattr(one, name) for one in heard.joined) for name in ("errors", "words"))
    assert errors / words < 0.5
    assert all(one.errors <= one.words + 5 for one in heard.joined)


def test_sounds_are_the_same_each_time_and_music_is_no_noise():
    first, again = sound_clips(8, Quiet()), sound_clips(8, Quiet())
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(first, again, strict=True))
    tune = next(clip.waveform for clip in first if clip.kind == "music")
    power = np.abs(np.fft.rfft(tune)) ** 2
    assert np.sort(power)[-len(power) // 100 :].sum() > 0.8 * power.sum()
    assert all(5 <= len(clip.waveform) / 16_000 <= 30 for clip in first)


def test_sounds_come_from_a_folder_that_is_given(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "fan.wav", np.full(64_000, 0.01), 16_000)
    clips = sound_clips(4, Quiet.of(tmp_path))
    assert [clip.kind for clip in clips] == ["recording", "recording", "music", "recording"]


@pytest.mark.parametrize("language", BROUGHT_LANGUAGES)
def test_the_speech_that_the_package_brings_can_be_heard(language):
    rows = brought_speech(language)
    assert len(rows) == 12
    for row in rows:
        assert decode(row).duration_s == pytest.approx(row.duration_s, abs=0.05)
        assert row.text
    assert sum(row.duration_s for row in rows[:6]) > 35


def test_the_speech_that_the_package_brings_is_understood(tiny_en):
    result = evaluate_utterances(
        tiny_en, brought_speech("en")[:6], section=SECTION, language=None, task="transcribe"
    )
    assert result.wer < 0.15


def test_the_language_of_transcripts_is_told_by_their_tokens(base):
    texts = {language: [row.text for row in brought_speech(language)] for language in BROUGHT_LANGUAGES}
    for spoken, other in (("en", "fr"), ("fr", "en")):
        right, wrong = (written_language(texts[spoken], asked, base.tokenizer) for asked in (spoken, other))
        assert right.code == spoken
        assert right.likeness > 2 * wrong.likeness
    assert written_language(["Bonjour."], "fr", base.tokenizer) is None


def test_expected_timestamps_are_the_decoder_s_own(heard, first_window):
    logits, tokens = first_window
    begin, first_end = 50_363, next(n for n in range(2, len(tokens)) if tokens[n] >= 50_363)
    chances = logits[first_end - 1].softmax(dim=-1)[begin:]
    apart = (torch.arange(len(chances)) - (tokens[first_end] - begin)).abs() * 0.02
    expected = heard.windows[0].expected
    assert len(expected) == sum(token >= begin for token in tokens) / 2
    assert expected[0].probability == pytest.approx(float(chances.sum()), abs=1e-3)
    assert expected[0].distance_s == pytest.approx(float((chances * apart).sum() / chances.sum()), abs=1e-2)
