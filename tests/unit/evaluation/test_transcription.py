"""Files to transcripts: any length, several together, prompts, and what cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.targets.labels import MAX_PREVIOUS_TOKENS
from whisper_peft.errors import AudioError, DataError
from whisper_peft.evaluation import windows
from whisper_peft.evaluation.encoder_states import EncoderStates
from whisper_peft.evaluation.generation import generate_transcripts
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import score
from whisper_peft.evaluation.transcription import encode_prompt, find_recordings, transcribe_files
from whisper_peft.model.loading import Whisper
from whisper_peft.types import Transcript, Utterance, Waveform


@pytest.fixture(scope="module")
def spoken(prompts_en: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """English prompts whose speech is over 60 s together."""
    return sorted(prompts_en, key=lambda row: -row["duration_s"])[:16]


@pytest.fixture(scope="module")
def minute(spoken: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One recording of these prompts with pauses of half a second."""
    pause = np.zeros(8_000, np.float32)
    clips = [decode(Utterance("", Path(row["file_name"]), "")).waveform for row in spoken]
    path = tmp_path_factory.mktemp("long") / "minute.wav"
    soundfile.write(path, np.concatenate([part for clip in clips for part in (clip, pause)]), 16_000)
    return path


@pytest.fixture(scope="module")
def short(spoken: list[dict[str, Any]]) -> Path:
    return Path(spoken[0]["file_name"])


@pytest.fixture(scope="module")
def together(tiny_en: Whisper, short: Path, minute: Path) -> list[Transcript]:
    return transcribe_files(tiny_en, [short, minute], language=None)


@pytest.fixture(scope="module")
def transcript(together: list[Transcript]) -> Transcript:
    return together[1]


def test_a_recording_of_over_a_minute_is_transcribed_whole(
    transcript: Transcript, spoken: list[dict[str, Any]]
) -> None:
    assert transcript.duration_s > 60
    reference = " ".join(row["text"] for row in spoken)
    assert score([reference], [transcript.text], normalizer=get_normalizer("english")).wer < 0.05


def test_segments_follow_each_other_within_the_recording(transcript: Transcript) -> None:
    times = [time for segment in transcript.segments for time in (segment.start_s, segment.end_s)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= transcript.duration_s
    assert len(transcript.segments) >= 10
    assert " ".join(segment.text for segment in transcript.segments) == transcript.text


def test_a_short_recording_is_transcribed_as_evaluation_does(
    tiny_en: Whisper, short: Path, together: list[Transcript]
) -> None:
    clip = decode(Utterance("", short, "")).waveform
    assert [together[0].text] == generate_transcripts(tiny_en, [clip], language=None)
    assert [(one.start_s, one.end_s) for one in together[0].segments] == [(0.0, len(clip) / 16_000)]


@pytest.mark.slow
def test_a_long_recording_alone_is_transcribed_as_together(
    tiny_en: Whisper, minute: Path, transcript: Transcript
) -> None:
    assert transcribe_files(tiny_en, [minute], language=None, batch_size=1) == [transcript]


def test_recordings_that_do_not_fit_the_memory_together_are_transcribed_all_the_same(
    tiny_en: Whisper, short: Path, minute: Path, together: list[Transcript], monkeypatch: pytest.MonkeyPatch
) -> None:
    hear = windows.encode

    def short_of_memory(whisper: Whisper, waveforms: Sequence[Waveform], **heard: Any) -> EncoderStates:
        if len(waveforms) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return hear(whisper, waveforms, **heard)

    monkeypatch.setattr(windows, "encode", short_of_memory)
    files = [short, short, minute]
    assert transcribe_files(tiny_en, files, language=None) == [together[0], together[0], together[1]]


def test_a_short_recording_is_cut_into_segments_when_asked(
    tiny_en: Whisper, minute: Path, tmp_path: Path
) -> None:
    samples, _ = soundfile.read(minute, stop=12 * 16_000)
    soundfile.write(tmp_path / "short.wav", samples, 16_000)
    (timed,) = transcribe_files(tiny_en, [tmp_path / "short.wav"], language=None, timestamps=True)
    assert len(timed.segments) >= 2
    assert timed.segments[0].text.startswith("That agent is already logged on.")
    assert timed.segments[-1].end_s <= 12


def test_a_pause_of_noise_is_not_filled_with_words(tiny_en: Whisper, short: Path, tmp_path: Path) -> None:
    clip = decode(Utterance("", short, "")).waveform
    noise = np.random.default_rng(0).normal(0, 1e-3, 40 * 16_000).astype(np.float32)
    soundfile.write(tmp_path / "pause.wav", np.concatenate([clip, noise]), 16_000)
    (found,) = transcribe_files(tiny_en, [tmp_path / "pause.wav"], language=None)
    assert found.text.startswith("That agent is already logged on.")
    assert all(segment.start_s < len(clip) / 16_000 for segment in found.segments)


def test_a_hotword_sets_the_spelling(base: Whisper, prompts_fr: list[dict[str, Any]]) -> None:
    path = next(Path(row["file_name"]) for row in prompts_fr if "demo-thanks" in row["file_name"])
    (without,) = transcribe_files(base, [path], language="fr")
    (with_hotword,) = transcribe_files(base, [path], language="fr", hotwords=["Asterisk"])
    assert "Astérisque" in without.text
    assert "Asterisk" in with_hotword.text


def test_the_prompt_keeps_its_last_tokens_and_the_hotwords(
    tiny_en: Whisper, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = encode_prompt(tiny_en, "word " * 300, ["Asterisk", "Allison"])
    assert len(tokens) == MAX_PREVIOUS_TOKENS
    assert tiny_en.tokenizer.decode(tokens).endswith("word word Asterisk, Allison")
    assert "the last 223 are read" in caplog.text
    assert encode_prompt(tiny_en, " ", []) == ()


def test_auto_detects_the_language(base: Whisper, prompts_fr: list[dict[str, Any]]) -> None:
    path = next(Path(row["file_name"]) for row in prompts_fr if "demo-thanks" in row["file_name"])
    (found,) = transcribe_files(base, [path], language="auto")
    assert found.language == "fr"
    assert "merci" in found.text.lower()


def test_a_multilingual_checkpoint_wants_a_language_or_auto(base: Whisper, short: Path) -> None:
    with pytest.raises(DataError, match="no language is given"):
        transcribe_files(base, [short], language=None)


def test_a_missing_file_or_an_only_one_that_is_no_audio_is_an_error_before_the_work(
    short: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("this is no audio")
    for files in ([short, tmp_path / "missing.wav"], [tmp_path / "text.wav"]):
        with pytest.raises(AudioError, match=files[-1].name):
            find_recordings(files)


def test_one_of_several_that_is_no_audio_is_told_and_left_out(
    tiny_en: Whisper, short: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.wav").write_text("this is no audio")
    refused: list[AudioError] = []
    files = [tmp_path / "text.wav", short]
    found = transcribe_files(tiny_en, files, language=None, on_refused=refused.append)
    assert [one.file for one in found] == [str(short)]
    assert [(error.what, error.reason) for error in refused] == [(str(files[0]), "unreadable")]


def test_a_transcript_is_told_before_the_next_recording_is_read(
    tiny_en: Whisper, spoken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [Path(row["file_name"]) for row in spoken[-3:]]
    happened: list[Path | int] = []

    def decode_and_note(utterance: Utterance) -> Utterance:
        assert isinstance(utterance.audio, Path)
        happened.append(utterance.audio)
        return decode(utterance)

    monkeypatch.setattr("whisper_peft.evaluation.transcription.decode", decode_and_note)
    transcribe_files(
        tiny_en,
        files,
        language=None,
        batch_size=1,
        on_finished=lambda place, transcript: happened.append(place),
    )
    assert happened == [files[0], 0, files[1], 1, files[2], 2]


def test_bad_files_of_a_folder_are_skipped_and_said(
    tiny_en: Whisper, short: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "good.flac").write_bytes(short.read_bytes())
    (tmp_path / "bad.wav").write_text("this is no audio")
    (tmp_path / "notes.txt").write_text("no recording at all")
    with caplog.at_level(logging.WARNING):
        found = transcribe_files(tiny_en, [tmp_path], language=None)
    assert [Path(one.file).name for one in found] == ["good.flac"]
    assert "bad.wav" in caplog.text
    assert caplog.text.count("skipped") == 1


def test_a_folder_without_recordings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no recordings"):
        find_recordings([tmp_path])


def test_no_recording_at_all_is_an_error() -> None:
    with pytest.raises(DataError, match="no recording was named"):
        find_recordings([])


def test_a_folder_of_bad_files_only_is_an_error(tiny_en: Whisper, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_text("this is no audio")
    with pytest.raises(DataError, match=r"none of the recordings can be used - .*a\.wav - .*; .*b\.wav - "):
        transcribe_files(tiny_en, [tmp_path], language=None)
