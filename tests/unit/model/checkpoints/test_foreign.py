from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.foreign import complete_weights

SIZES = {
    "tiny.en": (384, 6, 4, 4, 51_864, 80),
    "base": (512, 8, 6, 6, 51_865, 80),
    "small": (768, 12, 12, 12, 51_865, 80),
    "medium": (1024, 16, 24, 24, 51_865, 80),
    "large-v2": (1280, 20, 32, 32, 51_865, 80),
    "large-v3": (1280, 20, 32, 32, 51_866, 128),
    "turbo": (1280, 20, 32, 4, 51_866, 128),
    "distil-large-v3": (1280, 20, 32, 2, 51_866, 128),
    "distil-small.en": (768, 12, 12, 4, 51_864, 80),
}


@pytest.mark.parametrize("size", SIZES)
def test_configuration_of_every_size_follows_from_the_shapes(size):
    width, heads, encoder_layers, decoder_layers, vocab_size, num_mel_bins = SIZES[size]
    config = WhisperConfig(
        d_model=width,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        vocab_size=vocab_size,
        num_mel_bins=num_mel_bins,
    )
    with torch.device("meta"):
        state = WhisperForConditionalGeneration(config).state_dict()
    del state["proj_out.weight"]
    found = complete_weights(state, None, Path("x"))
    ids = {"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "begin_suppress_tokens"}
    expected, actual = config.to_dict(), found.config.to_dict()
    assert {k: v for k, v in actual.items() if k not in ids} == {
        k: v for k, v in expected.items() if k not in ids
    }
    assert found.config.eos_token_id == (50_256 if size.endswith(".en") else 50_257)
    assert found.config.decoder_start_token_id == found.config.eos_token_id + 1
    assert found.state["proj_out.weight"] is found.state["model.decoder.embed_tokens.weight"]


def small_state(**shape):
    config = WhisperConfig(d_model=64, encoder_layers=1, decoder_layers=1, vocab_size=51_865, **shape)
    with torch.device("meta"):
        return WhisperForConditionalGeneration(config).state_dict()


def test_tensor_of_the_wrong_shape_is_named():
    state = small_state(encoder_attention_heads=1, decoder_attention_heads=1)
    state["model.encoder.layers.0.fc2.weight"] = torch.empty(3, 3)
    with pytest.raises(ModelError, match=r"fc2\.weight has shape \(3, 3\) instead of \(64, 1536\)"):
        complete_weights(state, None, Path("x"))


def test_heads_that_do_not_divide_the_width_are_refused():
    state = small_state(encoder_attention_heads=1, decoder_attention_heads=1)
    with pytest.raises(ModelError, match="3 and 1 attention heads"):
        complete_weights(state, (3, 1), Path("x"))


def test_vocabulary_that_is_not_whispers_is_refused():
    state = small_state(encoder_attention_heads=1, decoder_attention_heads=1)
    state["model.decoder.embed_tokens.weight"] = torch.empty(32_000, 64)
    with pytest.raises(ModelError, match="32000 tokens"):
        complete_weights(state, None, Path("x"))


def test_file_without_an_encoder_is_refused():
    with pytest.raises(ModelError, match=r"no tensor for model\.decoder\.embed_tokens\.weight"):
        complete_weights({}, None, Path("x"))
