"""The Hub itself: a model that no wheel brings, and speech streamed from it. `make test-network` runs it."""

import os
import re
import subprocess
import sys

import pytest


@pytest.mark.network
def test_a_model_of_the_hub_writes_down_streamed_speech(tmp_path):
    words = ["openai/whisper-tiny", "--model.language", "en", "--data.eval", "validation.clean"]
    words += ["--data.source", "openslr/librispeech_asr", "--eval.max-utterances", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "whisper_peft", "evaluate", *words],
        env={**os.environ, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4 utterances" in done.stdout
    wer = re.search(r"WER +([\d.]+) %", done.stdout)
    assert wer is not None
    assert float(wer[1]) < 30
