"""Long recordings are transcribed as openai-whisper does it, window by window and token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whisper_peft.data.audio.decoding import decode
from whisper_peft.deploy.formats.openai import write_openai
from whisper_peft.evaluation import windows
from whisper_peft.evaluation.transcription import transcribe_waveforms
from whisper_peft.model.loading import Whisper
from whisper_peft.types import Utterance, Waveform

original = pytest.importorskip("whisper", reason="openai-whisper is not installed")

# openai-whisper leaves its vocabulary open
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*gpt2.tiktoken:pytest.PytestUnraisableExceptionWarning", "ignore:.*gpt2.tiktoken:ResourceWarning"
)


@pytest.fixture(scope="module")
def recording(prompts_en: list[dict[str, Any]]) -> Waveform:
    """Prompts of three quarters of a minute, one after the other."""
    chosen = sorted(prompts_en, key=lambda row: -row["duration_s"])[:11]
    waveforms = [decode(Utterance("", Path(row["file_name"]), "")).waveform for row in chosen]
    assert 40 < sum(map(len, waveforms)) / 16_000 < 60
    return np.concatenate(waveforms)


@pytest.fixture(scope="module")
def originals(tiny_en: Whisper, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("openai")
    write_openai(tiny_en, folder, "float32")
    return original.load_model(str(folder / "model.pt"), device="cpu")


@pytest.mark.parametrize("told", [False, True])
def test_windows_get_the_tokens_that_openai_whisper_gives_them_and_the_same_is_written(
    tiny_en: Whisper, originals: Any, recording: Waveform, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs: list[list[int]] = []
    inner_task = original.decoding.DecodingTask._get_initial_tokens

    def note_theirs(task: Any) -> tuple[int, ...]:
        theirs.append([*inner_task(task)])
        return tuple(theirs[-1])

    ours: list[list[int]] = []
    inner_decode = windows.decode_states

    def note_ours(whisper: Whisper, states: Any, prefixes: Any, **settings: Any) -> Any:
        ours.append([*prefixes[0]])
        return inner_decode(whisper, states, prefixes, **settings)

    monkeypatch.setattr(original.decoding.DecodingTask, "_get_initial_tokens", note_theirs)
    monkeypatch.setattr(windows, "decode_states", note_ours)
    expected = originals.transcribe(
        recording, language="en", temperature=0.0, condition_on_previous_text=told, fp16=False
    )
    (found,) = transcribe_waveforms(tiny_en, [recording], language=None, previous_text=told)
    assert ours == theirs
    assert len(ours) >= 2
    assert max(map(len, ours)) > 20 if told else {len(one) for one in ours} == {1}
    # the last window is another one: there openai-whisper ends the spectrogram in zeros, which is no silence
    until = 20.0
    said = [one["text"].strip() for one in expected["segments"] if one["end"] < until]
    assert [one.text for one in found.segments if one.end_s < until] == said
    assert said
