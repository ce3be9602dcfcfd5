"""The work of a window against torch's own count of a forward pass."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.data.batches.audio_contexts import AudioContexts
from whisper_peft.data.batches.work import WorkModel
from whisper_peft.data.targets.target_draws import TargetDraws
from whisper_peft.model.audio_context import enable_variable_context
from whisper_peft.recipe.sections import TrainSection
from whisper_peft.types import Utterance

SIZES = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_ffn_dim": 256,
    "decoder_ffn_dim": 128,
    "vocab_size": 500,
    "num_mel_bins": 80,
}


@pytest.mark.parametrize("seconds", [5.0, 12.0, 30.0])
def test_the_work_is_that_of_a_forward_pass(seconds):
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    special = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0}
    model = WhisperForConditionalGeneration(WhisperConfig(**SIZES, **heads, **special))
    model.set_attn_implementation("eager")  # the counter knows its products
    enable_variable_context(model)
    tokens = 40
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        states = model.get_encoder()(torch.zeros(1, 80, int(seconds * 100))).last_hidden_state
        ids = torch.zeros(1, tokens, dtype=torch.long)
        hidden = model.get_decoder()(input_ids=ids, encoder_hidden_states=states, use_cache=False)
        model.proj_out(hidden.last_hidden_state)
    contexts = AudioContexts.of(TrainSection(), seed=0)
    window = (Utterance("a", b"", "word" * tokens, duration_s=seconds),)
    work = WorkModel.of_whisper(contexts, TargetDraws(), **SIZES)(window, 0)
    # what attention in the decoder takes is left out
    assert work == pytest.approx(counter.get_total_flops() / 2, rel=0.07)
