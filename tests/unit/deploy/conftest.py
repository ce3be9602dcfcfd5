"""A narrow Whisper of any vocabulary, and exports of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.recipe.sections import ModelSection

SHAPE = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 256,
    "decoder_ffn_dim": 256,
    "decoder_start_token_id": 50_258,
    "pad_token_id": 50_257,
    "bos_token_id": 50_257,
    "eos_token_id": 50_257,
}


@pytest.fixture(scope="session")
def narrow_whisper(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], Whisper]:
    """Return a maker of random Whispers by vocabulary and mel bins, each made once: never change one."""
    made: dict[tuple[int, int], Whisper] = {}

    def make(vocab_size: int, num_mel_bins: int) -> Whisper:
        if (vocab_size, num_mel_bins) not in made:
            folder = tmp_path_factory.mktemp("narrow") / f"whisper-{vocab_size}"
            save_narrow(folder, vocab_size, num_mel_bins)
            section = ModelSection(name=str(folder), precision="fp32", device="cpu")
            made[vocab_size, num_mel_bins] = load_whisper(section)
        return made[vocab_size, num_mel_bins]

    return make


def save_narrow(folder: Path, vocab_size: int, num_mel_bins: int) -> None:
    torch.manual_seed(0)
    sizes = {**SHAPE, "vocab_size": vocab_size, "num_mel_bins": num_mel_bins}
    model = WhisperForConditionalGeneration(WhisperConfig(**sizes))
    with torch.no_grad():  # no two tensors alike: CTranslate2's converter would store them once
        for weight in model.parameters():
            weight.copy_(0.05 * torch.randn_like(weight))
    model.save_pretrained(folder)
