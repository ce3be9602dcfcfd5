"""Transcripts of single batches: exact, whatever their neighbours, in every precision, while training."""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.targets.labels import MAX_PREVIOUS_TOKENS, Labeller
from whisper_peft.errors import DataError
from whisper_peft.evaluation import generation
from whisper_peft.evaluation.generation import (
    decode_states,
    decoder_prefix,
    encode,
    generate,
    generate_transcripts,
    listening,
    token_cap,
)
from whisper_peft.model.adapters.attaching import attach_adapter, enable_gradient_checkpointing
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection
from whisper_peft.types import Utterance, Waveform


@pytest.fixture(scope="module")
def clips(prompts_en: list[dict[str, Any]]) -> list[Waveform]:
    """Four English prompts of 2 to 6 s."""
    rows = sorted((row for row in prompts_en if row["split"] == "test"), key=lambda row: row["duration_s"])
    return [_listen(rows[place]["file_name"]) for place in (0, 5, 10, 15)]


@pytest.fixture(scope="module")
def alone(tiny_en: Whisper, clips: list[Waveform]) -> list[generation.Generation]:
    return [generate(tiny_en, [clip], language=None)[0] for clip in clips]


def _listen(path: str) -> Waveform:
    return decode(Utterance(path, Path(path), "")).waveform


def test_greedy_search_equals_transformers_own_generate(
    tiny_en: Whisper, clips: list[Waveform], alone: list[generation.Generation]
) -> None:
    features = tiny_en.companions.feature_extractor(clips[:2], sampling_rate=16_000, return_tensors="pt")
    theirs = tiny_en.model.generate(features.input_features, do_sample=False, num_beams=1)
    texts = [tiny_en.tokenizer.decode(row, skip_special_tokens=True).strip() for row in theirs]
    assert [row.text for row in alone[:2]] == texts


def assert_same(found: list[generation.Generation], expected: list[generation.Generation]) -> None:
    """Compare what was written; how sure the model was may differ by the order of sums."""
    sure = [row.mean_log_probability for row in expected]
    assert [row.mean_log_probability for row in found] == pytest.approx(sure, abs=1e-4)
    written = [(row.text, row.tokens, row.looping) for row in expected]
    assert [(row.text, row.tokens, row.looping) for row in found] == written


def test_a_transcript_does_not_depend_on_its_batch(
    tiny_en: Whisper, clips: list[Waveform], alone: list[generation.Generation]
) -> None:
    assert_same(generate(tiny_en, clips, language=None), alone)


def test_an_empty_batch_has_no_transcripts(tiny_en: Whisper) -> None:
    assert generate_transcripts(tiny_en, [], language=None) == []


def test_each_row_of_a_batch_has_its_own_language(base: Whisper, prompts_fr: list[dict[str, Any]]) -> None:
    french = _listen(next(row["file_name"] for row in prompts_fr if "demo-thanks" in row["file_name"]))
    texts = generate_transcripts(base, [french, french], language=["en", "French"])
    assert texts[1] == generate_transcripts(base, [french], language="fr")[0]
    assert "merci" in texts[1].lower()
    assert texts[0] != texts[1]


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_decoder_is_given_the_prefix_that_it_was_trained_on(base: Whisper, language: str) -> None:
    labeller = Labeller(base.tokenizer, multilingual=True, language=language)
    trained_on = labeller.prefix(Utterance("a", b"", "text"))
    assert tuple(decoder_prefix(base, language, "transcribe")) == trained_on


def test_an_english_only_checkpoint_is_told_no_language(tiny_en: Whisper) -> None:
    names = tiny_en.tokenizer.convert_ids_to_tokens(decoder_prefix(tiny_en, "en", "transcribe"))
    assert names == ["<|startoftranscript|>", "<|notimestamps|>"]


def test_previous_text_comes_first_and_keeps_its_last_tokens(tiny_en: Whisper) -> None:
    prefix = decoder_prefix(tiny_en, None, "transcribe", prompt_tokens=range(1000))
    assert tiny_en.tokenizer.convert_ids_to_tokens(prefix[:1]) == ["<|startofprev|>"]
    assert prefix[1:-2] == list(range(1000 - MAX_PREVIOUS_TOKENS, 1000))


def test_a_multilingual_checkpoint_refuses_to_guess_the_language(base: Whisper) -> None:
    with pytest.raises(DataError, match="no language is given"):
        decoder_prefix(base, None, "transcribe")


def test_an_english_only_checkpoint_refuses_other_languages(tiny_en: Whisper) -> None:
    with pytest.raises(DataError, match="English-only"):
        decoder_prefix(tiny_en, "fr", "transcribe")


def test_an_unknown_language_is_named(base: Whisper) -> None:
    with pytest.raises(DataError, match="klingon"):
        decoder_prefix(base, "klingon", "transcribe")


def test_suppressed_tokens_are_never_written(
    tiny_en: Whisper, clips: list[Waveform], alone: list[generation.Generation]
) -> None:
    unwanted = alone[0].tokens[0]
    config = deepcopy(tiny_en.generation_config)
    config.suppress_tokens = [*(config.suppress_tokens or ()), unwanted]
    quiet = _with_generation_config(tiny_en, config)
    assert unwanted not in generate(quiet, [clips[0]], language=None)[0].tokens


def test_a_row_that_does_not_end_is_cut_at_its_own_cap_and_told(
    tiny_en: Whisper, clips: list[Waveform], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "TOKENS_CAP_OFFSET", 2)
    monkeypatch.setattr(generation, "TOKENS_PER_SECOND_CAP", 2)
    config = deepcopy(tiny_en.generation_config)
    config.suppress_tokens = [*(config.suppress_tokens or ()), tiny_en.tokenizer.eos_token_id]
    endless = _with_generation_config(tiny_en, config)
    rows = generate(endless, [clips[0], clips[3]], language=None)
    assert [len(row.tokens) for row in rows] == [
        token_cap(len(clip) / 16_000) for clip in (clips[0], clips[3])
    ]
    assert all(row.looping for row in rows)


def test_healthy_transcripts_stay_far_from_their_cap(
    clips: list[Waveform], alone: list[generation.Generation]
) -> None:
    for clip, row in zip(clips, alone, strict=True):
        assert not row.looping
        assert len(row.tokens) < token_cap(len(clip) / 16_000) / 4


def test_beam_search_ends_each_row_too(
    tiny_en: Whisper, clips: list[Waveform], alone: list[generation.Generation]
) -> None:
    rows = generate(tiny_en, [clips[0], clips[3]], language=None, num_beams=2)
    assert not any(row.looping for row in rows)
    assert [row.text.lower() for row in rows] == [alone[place].text.lower() for place in (0, 3)]


def test_a_cut_context_is_as_long_as_the_clip_itself(tiny_en: Whisper, clips: list[Waveform]) -> None:
    with listening(tiny_en):
        states = encode(tiny_en, clips, audio_context="cut")
        alone = encode(tiny_en, clips[:1], audio_context="cut")
    half_seconds = [int(np.ceil(len(clip) / 8_000)) for clip in clips]
    assert states.lengths == tuple(25 * number for number in half_seconds)
    assert states.hidden.shape == (4, 25 * max(half_seconds), tiny_en.config.d_model)
    torch.testing.assert_close(states[0].hidden, alone.hidden)


def test_rows_of_different_context_share_a_batch_and_write_as_if_alone(
    tiny_en: Whisper, clips: list[Waveform]
) -> None:
    alone = [generate(tiny_en, [clip], language=None, audio_context="cut")[0] for clip in clips]
    assert_same(generate(tiny_en, clips, language=None, audio_context="cut"), alone)
    beams = generate(tiny_en, [clips[0], clips[3]], language=None, audio_context="cut", num_beams=2)
    assert beams[0] == generate(tiny_en, clips[:1], language=None, audio_context="cut", num_beams=2)[0]


def test_a_row_does_not_hear_the_padding_of_its_batch(tiny_en: Whisper, clips: list[Waveform]) -> None:
    """The padding is zeros: were it heard, it would take attention from the speech."""
    with listening(tiny_en):
        states = encode(tiny_en, [clips[0], clips[3]], audio_context="cut")
        prefixes = [decoder_prefix(tiny_en, None, "transcribe")] * 2
        louder = dataclasses.replace(states, hidden=states.hidden.clone())
        louder.hidden[0, states.lengths[0] :] = 9.0
        seconds = [len(clip) / 16_000 for clip in (clips[0], clips[3])]
        expected = decode_states(tiny_en, states, prefixes, seconds=seconds)
        assert decode_states(tiny_en, louder, prefixes, seconds=seconds) == expected


def test_a_clip_over_30_s_is_a_bug_of_the_caller(tiny_en: Whisper) -> None:
    with pytest.raises(ValueError, match=r"31\.00 s"):
        generate(tiny_en, [np.zeros(31 * 16_000, np.float32)], language=None)


def test_generating_in_the_middle_of_training_leaves_every_mode_as_it_was(
    clips: list[Waveform], alone: list[generation.Generation]
) -> None:
    whisper = load_whisper(ModelSection(name="openai/whisper-tiny.en", precision="fp32", device="cpu"))
    attach_adapter(whisper, AdapterSection(r=4, lora_dropout=0.5), seed=0)
    enable_gradient_checkpointing(whisper)
    whisper.core.config.use_cache = False
    whisper.model.train()
    whisper.core.get_encoder().eval()
    modes = [module.training for module in whisper.model.modules()]

    assert generate(whisper, [clips[0]], language=None) == alone[:1]

    assert [module.training for module in whisper.model.modules()] == modes
    assert whisper.core.config.use_cache is False
    assert torch.is_grad_enabled()
    with torch.no_grad():
        for name, parameter in whisper.model.named_parameters():
            if "lora_B" in name and "decoder" in name:
                parameter.fill_(0.05)
    assert generate(whisper, [clips[0]], language=None) != alone[:1]


@pytest.mark.parametrize(
    "fields",
    [{"precision": "bf16"}, {"precision": "fp16"}, {"quantize": "int8"}, {"quantize": "nf4"}],
    ids=["bf16", "fp16", "int8", "nf4"],
)
def test_every_precision_transcribes(
    fields: dict[str, Any], clips: list[Waveform], alone: list[generation.Generation]
) -> None:
    whisper = load_whisper(ModelSection(name="openai/whisper-tiny.en", device="cpu", **fields))
    assert generate_transcripts(whisper, [clips[3]], language=None) == [alone[3].text]


def _with_generation_config(whisper: Whisper, config: Any) -> Whisper:
    companions = dataclasses.replace(whisper.companions, generation_config=config)
    return dataclasses.replace(whisper, companions=companions)
