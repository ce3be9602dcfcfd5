import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.benchmarking.sides import Lora
from whisper_peft.benchmarking.useful_flops import Size, useful_flops
from whisper_peft.model.adapters.targets import PRESETS
from whisper_peft.model.audio_context import enable_variable_context
from whisper_peft.model.library_noise import no_false_alarms_of_peft

CONFIG = WhisperConfig(
    d_model=32,
    encoder_layers=2,
    decoder_layers=2,
    encoder_attention_heads=2,
    decoder_attention_heads=2,
    encoder_ffn_dim=64,
    decoder_ffn_dim=48,
    vocab_size=600,
    pad_token_id=0,
    bos_token_id=0,
    eos_token_id=0,
    decoder_start_token_id=1,
    attn_implementation="eager",
)
TOKENS = 12


def counted_flops(targets, frames, config=CONFIG):
    """Return what torch counts in a forward and a backward pass over one utterance."""
    model = WhisperForConditionalGeneration(config)
    enable_variable_context(model)
    targets = targets if isinstance(targets, str) else list(targets)
    with no_false_alarms_of_peft():
        adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    ids = torch.ones(1, TOKENS, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        states = model.get_encoder()(torch.randn(1, config.num_mel_bins, frames))
        output = adapted(encoder_outputs=states, decoder_input_ids=ids, labels=ids, use_cache=False)
        output.loss.backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("targets", [*PRESETS.values(), ("q_proj", "v_proj"), ("fc2",)], ids=str)
@pytest.mark.parametrize("frames", [200, 1000])
def test_an_unpadded_utterance_takes_what_torch_counts(targets, frames):
    lora = Lora(4, 8, 0.0, targets if isinstance(targets, str) else tuple(targets), False, False)
    ours = useful_flops(CONFIG, lora, [Size(frames / 100, TOKENS, TOKENS)])
    assert ours == pytest.approx(counted_flops(targets, frames), rel=0.01)


def test_many_utterances_take_the_sum():
    lora = Lora(4, 8, 0.0, ("q_proj",), False, False)
    sizes = [Size(1.0, 5, 3), Size(7.5, 30, 28)]
    apart = sum(useful_flops(CONFIG, lora, [size]) for size in sizes)
    assert useful_flops(CONFIG, lora, sizes) == pytest.approx(apart)
