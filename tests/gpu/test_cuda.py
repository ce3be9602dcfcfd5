"""What CUDA alone runs: training in each weight format and precision; and both devices' words."""

import math

import pytest
import torch

from tests.unit.pipeline.runs.short_runs import overrides
from whisper_peft import evaluate, finetune

pytestmark = pytest.mark.gpu

WEIGHTS = [
    {"precision": "bf16"},
    {"precision": "fp16"},
    {"precision": "fp32"},
    {"quantize": "int8"},
    {"quantize": "nf4"},
]


@pytest.fixture
def speech(root):
    return root / "tests" / "data" / "prompts" / "en"


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda one: "-".join(one.values()))
def test_a_run_learns_scores_and_merges(weights, speech, tmp_path):
    made = overrides(speech, model={"device": "cuda", **weights})
    report = finetune("lora-librispeech", **made, output_dir=tmp_path / "run").report
    assert report["train"]["steps"] == 3
    assert math.isfinite(report["train"]["final_loss"])
    assert report["evaluation"]["after"]["wer"] <= report["evaluation"]["before"]["wer"] + 0.5
    assert report["merge"]["max_logit_difference"] < report["merge"]["tolerance"]
    assert report["meta"]["gpu"] == torch.cuda.get_device_name()


def test_both_devices_write_the_same_words(speech):
    said = {
        device: evaluate(
            "openai/whisper-tiny.en",
            model={"precision": "fp32", "device": device},
            data={"source": str(speech), "eval": "test"},
        )
        for device in ("cpu", "cuda")
    }
    words = {device: [one.hypothesis for one in result.predictions] for device, result in said.items()}
    assert words["cuda"] == words["cpu"]
