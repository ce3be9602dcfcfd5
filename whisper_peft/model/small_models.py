"""A random Whisper of two narrow layers, for tests that need a model and no words."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from whisper_peft.model.library_noise import no_loading_bar
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.recipe.sections import ModelSection

MULTILINGUAL_VOCAB = 51_865
"""Tokens of multilingual Whispers before large-v3."""

_EOT, _SOT = 50_257, 50_258
"""Their <|endoftext|> and <|startoftranscript|>."""


def small_whisper(folder: Path, *, vocab_size: int = MULTILINGUAL_VOCAB, num_mel_bins: int = 80) -> Whisper:
    """Make a random Whisper of two narrow layers in a folder, and load it in fp32 on the CPU.

    Args:
        folder: An empty one, such as pytest's `tmp_path`; its name is the model's.
        vocab_size: Tokens.
        num_mel_bins: Bins of the spectrogram.

    Example:
        >>> whisper = small_whisper(Path("whisper-small"))  # doctest: +SKIP
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = WhisperForConditionalGeneration(_narrow(vocab_size, num_mel_bins))
        with torch.no_grad():  # no two tensors alike: CTranslate2's converter would store them once
            for weight in model.parameters():
                weight.copy_(0.05 * torch.randn_like(weight))
    with no_loading_bar():
        model.save_pretrained(folder)
    return load_whisper(ModelSection(name=str(folder), precision="fp32", device="cpu"))


def _narrow(vocab_size: int, num_mel_bins: int) -> WhisperConfig:
    return WhisperConfig(
        vocab_size=vocab_size,
        num_mel_bins=num_mel_bins,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        decoder_start_token_id=_SOT,
        pad_token_id=_EOT,
        bos_token_id=_EOT,
        eos_token_id=_EOT,
    )
