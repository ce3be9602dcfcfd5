from __future__ import annotations

from pathlib import Path

import pytest
import torch

from whisper_peft.errors import ModelError
from whisper_peft.model.checkpoints.ctranslate2_format import read_ctranslate2
from whisper_peft.model.checkpoints.finding import resolve_checkpoint
from whisper_peft.model.checkpoints.installed_weights import installed_wheel
from whisper_peft.model.checkpoints.openai_format import read_openai


@pytest.mark.parametrize("size", ["tiny.en", "base"])
def test_real_weights_in_openai_layout_come_back_to_the_bit(tmp_path, writers, size):
    original = read_ctranslate2(installed_wheel(size).folder())
    path = tmp_path / f"{size}.pt"
    torch.save(writers.openai_checkpoint(original.state, original.config), path)
    weights = read_openai(Path(resolve_checkpoint(str(path)).path))
    assert weights.state.keys() == original.state.keys()
    assert all(torch.equal(weights.state[name], tensor) for name, tensor in original.state.items())
    assert weights.config.to_dict() == original.config.to_dict()


@pytest.mark.parametrize("decoder_layers", [1, 3])
def test_distilled_and_large_v3_shapes_are_read(tmp_path, small_whisper, writers, decoder_layers):
    model = small_whisper(vocab_size=51_866, num_mel_bins=128, decoder_layers=decoder_layers)
    torch.save(writers.openai_checkpoint(model.state_dict(), model.config), tmp_path / "v3.pt")
    weights = read_openai(tmp_path / "v3.pt")
    assert (weights.config.num_mel_bins, weights.config.decoder_layers) == (128, decoder_layers)
    assert all(torch.equal(weights.state[name], tensor) for name, tensor in model.state_dict().items())


def test_truncated_file_is_refused(tmp_path, small_whisper, writers):
    model = small_whisper()
    path = tmp_path / "cut.pt"
    torch.save(writers.openai_checkpoint(model.state_dict(), model.config), path)
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ModelError, match=r"cut\.pt"):
            read_openai(path)


class Trap:
    """Would create a file if it were unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_not_run(tmp_path):
    torch.save({"dims": Trap(tmp_path / "touched")}, tmp_path / "trap.pt")
    with pytest.raises(ModelError, match="not safe"):
        read_openai(tmp_path / "trap.pt")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [{"model": {}}, [1, 2], {"dims": {}, "model_state_dict": {}}])
def test_other_files_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="not an OpenAI Whisper checkpoint"):
        read_openai(tmp_path / "other.pt")


def test_missing_tensor_is_named(tmp_path, small_whisper, writers):
    model = small_whisper()
    checkpoint = writers.openai_checkpoint(model.state_dict(), model.config)
    del checkpoint["model_state_dict"]["encoder.blocks.1.mlp.2.bias"]
    torch.save(checkpoint, tmp_path / "gap.pt")
    with pytest.raises(ModelError, match=r"no model\.encoder\.layers\.1\.fc2\.bias"):
        read_openai(tmp_path / "gap.pt")
