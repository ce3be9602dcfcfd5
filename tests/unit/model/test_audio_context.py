from __future__ import annotations

import copy

import pytest
import soundfile
import torch
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from whisper_peft.errors import ModelError
from whisper_peft.model.adapters.attaching import attach_adapter, enable_gradient_checkpointing
from whisper_peft.model.audio_context import VariableContextEncoder, enable_variable_context
from whisper_peft.model.loading import load_whisper
from whisper_peft.model.log_mel import LogMel
from whisper_peft.model.segments import Segments, segmented_attention
from whisper_peft.recipe.sections import AdapterSection, ModelSection


def published(whisper) -> WhisperForConditionalGeneration:
    """Return transformers' own model with the same weights."""
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(whisper.config)
    model.load_state_dict(whisper.core.state_dict(), assign=True)
    return model.eval()


def noise(whisper, frames: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, whisper.num_mel_bins, frames, generator=generator)


@pytest.mark.parametrize("name", ["tiny_en", "base"])
@torch.no_grad()
def test_the_full_window_is_equal_to_transformers_to_the_bit(name, request):
    whisper = request.getfixturevalue(name)
    features = noise(whisper, 3000)[:1]
    ids = torch.tensor([[whisper.config.decoder_start_token_id, 400, 500]])
    ours = whisper.core(input_features=features, decoder_input_ids=ids).logits
    theirs = published(whisper)(input_features=features, decoder_input_ids=ids).logits
    assert torch.equal(ours, theirs)


@torch.no_grad()
def test_a_cut_window_equals_a_whisper_built_for_that_window(tiny_en):
    config = copy.deepcopy(tiny_en.config)
    config.max_source_positions = 150
    short = WhisperForConditionalGeneration(config).eval()
    state = tiny_en.core.state_dict()
    state["model.encoder.embed_positions.weight"] = state["model.encoder.embed_positions.weight"][:150]
    short.load_state_dict(state)
    features = noise(tiny_en, 300)
    ours = tiny_en.core.get_encoder()(features).last_hidden_state
    assert torch.equal(ours, short.get_encoder()(features).last_hidden_state)


def test_other_models_keep_the_fixed_window(tiny_en):
    with pytest.raises(ValueError, match="3000"):
        published(tiny_en).get_encoder()(noise(tiny_en, 300))


@pytest.mark.parametrize("frames", [301, 3002, 1])
def test_an_odd_or_too_long_context_is_refused_in_words(tiny_en, frames):
    with pytest.raises(ModelError, match=f"{frames} frames.*even number from 2 to 3000"):
        tiny_en.core.get_encoder()(noise(tiny_en, frames))


@torch.no_grad()
def test_hidden_states_and_attentions_are_recorded_in_both_windows(small_whisper):
    model = small_whisper(num_mel_bins=80)
    model.set_attn_implementation("eager")
    enable_variable_context(model)
    ids = torch.tensor([[1, 2]])
    for frames in (100, 3000):
        output = model(
            input_features=torch.zeros(1, 80, frames),
            decoder_input_ids=ids,
            output_hidden_states=True,
            output_attentions=True,
        )
        assert [tuple(state.shape) for state in output.encoder_hidden_states] == [(1, frames // 2, 64)] * 3
        assert output.encoder_attentions[0].shape == (1, 1, frames // 2, frames // 2)
        assert output.cross_attentions[0].shape == (1, 1, 2, frames // 2)


def test_a_copy_and_a_saved_model_are_the_same_model(small_whisper, tmp_path):
    model = small_whisper(num_mel_bins=80)
    enable_variable_context(model)
    twin = copy.deepcopy(model)
    assert isinstance(twin.get_encoder(), VariableContextEncoder)
    model.save_pretrained(tmp_path)
    plain = WhisperForConditionalGeneration.from_pretrained(tmp_path)
    assert type(plain.get_encoder()).__name__ == "WhisperEncoder"
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name


def gradients(whisper, features) -> dict[str, torch.Tensor]:
    whisper.model.train()
    whisper.model.zero_grad()
    ids = torch.tensor([[whisper.config.decoder_start_token_id, 400, 500]] * len(features))
    output = whisper.core(input_features=features, decoder_input_ids=ids, use_cache=False)
    output.logits.float().logsumexp(-1).sum().backward()
    return {name: weight.grad for name, weight in whisper.model.named_parameters() if weight.requires_grad}


def test_gradient_checkpointing_gives_the_same_gradients_on_a_frozen_base():
    whisper = load_whisper(ModelSection(precision="fp32", device="cpu"))
    attach_adapter(whisper, AdapterSection(r=2, targets="encoder-only"), seed=0)
    features = noise(whisper, 300)
    expected = gradients(whisper, features)
    enable_gradient_checkpointing(whisper)
    found = gradients(whisper, features)
    assert any(gradient.abs().max() > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
@torch.no_grad()
def test_quantised_encoders_hear_cut_contexts_nearly_as_the_float_one(tiny_en, prompts_en, quantize):
    whisper = load_whisper(ModelSection(precision="fp32", device="cpu", quantize=quantize))
    waveform, _ = soundfile.read(prompts_en[0]["file_name"], dtype="float32")
    features = LogMel(80)(torch.from_numpy(waveform)[None], frames=500)
    exact = tiny_en.core.get_encoder()(features).last_hidden_state
    rounded = whisper.core.get_encoder()(features).last_hidden_state
    likeness = torch.nn.functional.cosine_similarity(exact.flatten(), rounded.flatten(), dim=0)
    assert likeness > 0.95


@torch.no_grad()
def test_generation_from_a_cut_context_does_not_depend_on_the_batch(tiny_en):
    states = tiny_en.core.get_encoder()(noise(tiny_en, 300)).last_hidden_state
    together = tiny_en.core.generate(
        encoder_outputs=BaseModelOutput(states), generation_config=short(tiny_en)
    )
    alone = tiny_en.core.generate(
        encoder_outputs=BaseModelOutput(states[:1]), generation_config=short(tiny_en)
    )
    length = min(together.shape[1], alone.shape[1])
    assert torch.equal(together[0, :length], alone[0, :length])


def short(whisper):
    config = copy.deepcopy(whisper.generation_config)
    config.max_length = 12
    return config


def test_clips_end_to_end_are_encoded_as_if_each_were_alone(small_whisper):
    model = small_whisper(num_mel_bins=80)
    enable_variable_context(model)
    encoder = model.get_encoder().eval()
    clips = [torch.randn(80, frames) for frames in (100, 742, 3000)]
    together = encoder.encode_segments(clips)
    alone = [encoder(clip[None]).last_hidden_state for clip in clips]
    assert torch.allclose(together, torch.cat(alone, dim=1), atol=1e-5)
    with pytest.raises(ModelError, match="audio context is 101 frames"):
        encoder.encode_segments([torch.zeros(80, 101)])


def test_a_decoder_row_of_several_texts_reads_each_alone(small_whisper):
    model = small_whisper(num_mel_bins=80)
    enable_variable_context(model)
    model.eval()
    clips = [torch.randn(80, frames) for frames in (100, 300)]
    texts = [torch.tensor([[1, 2, 3]]), torch.tensor([[4, 5, 6, 7, 8]])]
    segments = Segments((50, 150), (3, 5))
    together = model.get_decoder()(
        input_ids=torch.cat(texts, dim=1),
        position_ids=segments.token_positions(torch.device("cpu")),
        encoder_hidden_states=model.get_encoder().encode_segments(clips),
        use_cache=False,
        segments=segments,
    ).last_hidden_state
    pairs = zip(clips, texts, strict=True)
    alone = [model.model(input_features=clip[None], decoder_input_ids=text)[0] for clip, text in pairs]
    assert torch.allclose(together, torch.cat(alone, dim=1), atol=1e-5)


def test_another_attention_is_kept(small_whisper):
    model = small_whisper(num_mel_bins=80)
    model.set_attn_implementation("eager")
    enable_variable_context(model)
    assert model.config._attn_implementation == "eager"


def test_clips_end_to_end_are_refused_once_the_attention_would_mix_them(small_whisper):
    model = small_whisper(num_mel_bins=80)
    enable_variable_context(model)
    model.config._attn_implementation = "eager"  # as transformers' word timestamps leave it
    with pytest.raises(ModelError, match=r"attention is eager.*hear each other.*load the model again"):
        model.get_encoder().encode_segments([torch.zeros(80, 100), torch.zeros(80, 100)])


@pytest.mark.parametrize("positions", [50, 2000])
def test_plain_attention_in_bf16_is_sdpas_within_its_rounding(positions):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, positions, 16)
    attention = torch.nn.Module()
    attention.is_causal = attention.is_decoder = False
    exact = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    for scaling in (None, 16**-0.5):
        half = (part.bfloat16() for part in (query, key, value))
        segments = Segments((positions,))
        found, _ = segmented_attention(attention, *half, None, scaling=scaling, segments=segments)
        error = (found.float().transpose(1, 2) - exact).norm() / exact.norm()
        assert error < 0.01
