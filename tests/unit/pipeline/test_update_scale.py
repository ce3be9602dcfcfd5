"""adapter.scale: the finished update is a part of what was learned, in all that leaves the run."""

import torch
from safetensors.torch import load_file

from whisper_peft import finetune

SMALL = {
    "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
    "train": {"max_steps": 2, "batch_size": 2, "workers": 0, "learning_rate": 1e-3},
    "eval": {"before": False, "max_utterances": 1, "short_context": False, "health": "off"},
    "merge": {"enabled": False},
}


def learned(root, folder, scale, **words):
    data = {"source": str(root / "tests/data/prompts/en"), "train": "train", "eval": "test"}
    adapter = {"r": 4, "targets": "attention", "scale": scale}
    run = finetune("lora-librispeech", **SMALL, data=data, adapter=adapter, output_dir=folder, **words)
    return load_file(run.folder / "adapter" / "adapter_model.safetensors")


def test_the_adapter_holds_the_scaled_update_and_a_resumed_run_scales_it_once(root, tmp_path):
    whole, half = (learned(root, tmp_path / str(scale), scale) for scale in (1.0, 0.5))
    assert all(torch.equal(half[name], whole[name] / 2) for name in whole if "lora_B" in name)
    assert all(torch.equal(half[name], whole[name]) for name in whole if "lora_A" in name)
    (tmp_path / "0.5" / "report.json").unlink()
    again = learned(root, tmp_path / "0.5", 0.5, resume=True)
    assert all(torch.equal(again[name], half[name]) for name in half)
