"""The official client against tiny.en with two adapters: every format, and nobody else's transcript."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import soundfile
from openai import OpenAI

from tests.hostile.http_requests import wav
from whisper_peft.deploy.serving.engine import Engine
from whisper_peft.evaluation.transcription import transcribe_files
from whisper_peft.model.loading import load_run_or_model
from whisper_peft.recipe.sections import ModelSection

BASE = "openai/whisper-tiny.en"
MODELS = ("first", "second.one", BASE)


@pytest.fixture(scope="module")
def clips(prompts_en: list[dict[str, Any]]) -> list[Path]:
    return [Path(row["file_name"]) for row in prompts_en[:5]]


@pytest.fixture(scope="module")
def expected(adapters: dict[str, Path], clips: list[Path]) -> dict[tuple[str, Path], str]:
    """Return what `transcribe` writes of each clip alone, by each model."""
    section = ModelSection(precision="fp32", device="cpu")
    found = {}
    for name, home in {**adapters, BASE: BASE}.items():
        whisper = load_run_or_model(str(home), section)
        for clip in clips:
            found[name, clip] = transcribe_files(whisper, [clip], language=None)[0].text
    return found


def transcribe(client: OpenAI, clip: Path, model: str, **options: Any) -> Any:
    return client.audio.transcriptions.create(file=clip, model=model, **options)


def test_concurrent_clients_get_their_own_transcripts_of_the_model_they_named(
    client: OpenAI, expected: dict[tuple[str, Path], str]
) -> None:
    asked = list(expected) * 2
    random.Random(0).shuffle(asked)
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda one: transcribe(client, one[1], one[0]).text, asked))
    assert answers == [expected[one] for one in asked]
    texts = {name: [text for (model, _), text in expected.items() if model == name] for name in MODELS}
    assert texts["first"] != texts[BASE] != texts["second.one"] != texts["first"]


@pytest.mark.parametrize("format", ["json", "text", "verbose_json"])
def test_the_text_is_the_same_in_every_format(
    client: OpenAI, expected: dict[tuple[str, Path], str], clips: list[Path], format: str
) -> None:
    answer = transcribe(client, clips[0], BASE, response_format=format)
    assert (answer if isinstance(answer, str) else answer.text) == expected[BASE, clips[0]]


def test_subtitles_hold_the_text_within_the_clip(
    client: OpenAI, expected: dict[tuple[str, Path], str], clips: list[Path]
) -> None:
    for format, mark in (("srt", ","), ("vtt", ".")):
        answer = transcribe(client, clips[0], BASE, response_format=format)
        lines = [line for line in answer.splitlines() if line and "-->" not in line]
        words = " ".join(line for line in lines if not line.isdigit() and line != "WEBVTT")
        assert words == expected[BASE, clips[0]]
        times = [
            float(found.replace(mark, ".")) for found in re.findall(rf"00:00:(\d\d\{mark}\d\d\d)", answer)
        ]
        assert times == sorted(times)
        assert times[-1] <= soundfile.info(clips[0]).duration + 0.01


def test_words_come_in_order_with_the_text_and_segments_with_their_tokens(
    client: OpenAI, clips: list[Path], engine: Engine
) -> None:
    answer = transcribe(
        client,
        clips[0],
        BASE,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert " ".join(word.word for word in answer.words) == answer.text
    edges = [edge for word in answer.words for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert 0 <= edges[0] <= edges[-1] <= answer.duration
    assert answer.language == "english"
    assert " ".join(segment.text for segment in answer.segments) == answer.text
    assert [segment.id for segment in answer.segments] == list(range(len(answer.segments)))
    assert all(segment.tokens and -1 < segment.avg_logprob < 0 for segment in answer.segments)
    assert all(0 <= segment.no_speech_prob < 0.5 for segment in answer.segments)


def test_only_what_was_asked_for_is_in_the_verbose_answer(client: OpenAI, clips: list[Path]) -> None:
    plain = transcribe(client, clips[0], BASE, response_format="verbose_json")
    words = transcribe(
        client, clips[0], BASE, response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert plain.segments
    assert plain.words is None
    assert words.words
    assert words.segments is None


def test_a_stream_adds_up_to_its_end(
    client: OpenAI, expected: dict[tuple[str, Path], str], clips: list[Path]
) -> None:
    events = list(transcribe(client, clips[1], "first", stream=True))
    assert [event.type for event in events[:-1]] == ["transcript.text.delta"] * (len(events) - 1)
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == expected["first", clips[1]]


def test_a_long_recording_is_cut_at_pauses_and_streamed_window_by_window(
    client: OpenAI, expected: dict[tuple[str, Path], str], clips: list[Path], tmp_path: Path
) -> None:
    sounds = [soundfile.read(clip, dtype="float32")[0] for clip in clips]
    pause = np.zeros(24_000, np.float32)
    talk = np.concatenate([part for sound in sounds * 4 for part in (sound, pause)])[: 58 * 16_000]
    long = tmp_path / "talk.flac"
    soundfile.write(long, talk, 16_000)
    events = list(transcribe(client, long, BASE, stream=True))
    assert len(events) > 2
    whole = transcribe(client, long, BASE, response_format="verbose_json")
    assert whole.text == events[-1].text == "".join(event.delta for event in events[:-1])
    starts = [segment.start for segment in whole.segments]
    assert starts == sorted(starts)
    assert starts[-1] > 30
    assert "pound key" in whole.text


def test_the_models_are_listed_and_found_one_by_one(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == list(MODELS)
    assert client.models.retrieve("second.one").id == "second.one"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("third")


def test_whisper_1_is_the_model_that_was_served(
    client: OpenAI, expected: dict[tuple[str, Path], str], clips: list[Path]
) -> None:
    assert transcribe(client, clips[2], "whisper-1").text == expected["first", clips[2]]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # of the client's translations
def test_errors_are_the_clients_own(client: OpenAI, clips: list[Path]) -> None:
    with pytest.raises(openai.NotFoundError, match="not served here"):
        transcribe(client, clips[0], "unknown")
    with pytest.raises(openai.BadRequestError, match="greedy"):
        transcribe(client, clips[0], BASE, temperature=0.5)
    with pytest.raises(openai.BadRequestError, match="cannot translate"):
        client.audio.translations.create(file=clips[0], model=BASE)


def test_a_prompt_cannot_write_special_tokens(engine: Engine) -> None:
    (blank,) = engine.prompt_tokens("<|startoftranscript|><|endoftext|>")
    assert engine.prompt_tokens("Ada<|notimestamps|>") == engine.prompt_tokens("Ada")
    assert blank < 50_256


def test_silence_and_a_very_short_clip_are_answered(address: str) -> None:
    for samples in (np.zeros(48_000), np.zeros(160)):
        answer = httpx.post(
            f"{address}/v1/audio/transcriptions",
            data={"model": BASE, "response_format": "verbose_json"},
            files={"file": ("a.wav", wav(samples))},
            timeout=60,
        )
        assert answer.status_code == 200, answer.text
