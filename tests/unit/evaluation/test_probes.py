"""Probes: what counts as well formed, where boundaries are, and real figures of real weights."""

from pathlib import Path

import numpy as np
import pytest

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.targets.no_speech import Quiet
from whisper_peft.evaluation import windows
from whisper_peft.evaluation.generation import generate_transcripts, text_of, token_id
from whisper_peft.evaluation.probes import suite
from whisper_peft.evaluation.probes.long_form import probe_long_form
from whisper_peft.evaluation.probes.silence import probe_silence, quiet_clips
from whisper_peft.evaluation.probes.stitched import Stitched, stitch_recordings, stitch_windows
from whisper_peft.evaluation.probes.suite import run_probes
from whisper_peft.evaluation.probes.timestamps import boundary_distances, is_well_formed, probe_timestamps
from whisper_peft.evaluation.transcription import transcribe_waveforms
from whisper_peft.recipe.sections import EvalSection
from whisper_peft.types import EvalResult, Utterance


def silent(name, seconds, **fields):
    samples = np.zeros(int(16_000 * seconds), np.float32)
    return Utterance(str(name), samples, name, sampling_rate=16_000, duration_s=seconds, **fields)


@pytest.fixture(scope="module")
def prompts(prompts_en):
    rows = sorted(prompts_en, key=lambda row: -row["duration_s"])[:12]
    return [decode(Utterance(row["file_name"], Path(row["file_name"]), row["text"])) for row in rows]


@pytest.mark.parametrize(
    ("tokens", "holds"),
    [
        ([100, 7, 150], True),
        ([100, 7, 150, 150, 8, 9, 200], True),
        ([100, 7, 150, 160, 8, 200], True),
        ([7, 150], False),
        ([100, 7], False),
        ([100, 150], False),
        ([100], False),
        ([], False),
        ([100, 7, 150, 8, 200], False),
        ([100, 7, 150, 140, 8, 200], False),
        ([100, 100, 7, 150], False),
        ([100, 7, 202], False),
        ([100, 7, 150, 150, 150, 8, 200], False),
    ],
)
def test_well_formed_timestamps_come_in_pairs_in_order_within_the_speech(tokens, holds):
    assert is_well_formed(tokens, begin=100, end_s=2.0) is holds


def test_a_boundary_is_as_far_as_its_nearest_timestamp():
    tokens = [100, 7, 150, 150, 8, 300]
    far = [*boundary_distances(tokens, [1.1, 3.0, 4.9], begin=100, end_s=5.0)]
    assert far == [pytest.approx(0.1), pytest.approx(1.0), pytest.approx(0.1)]


def test_windows_are_filled_in_order_and_hold_one_language():
    rows = [silent(n, 12.0, language="en" if n != 2 else "fr") for n in range(5)]
    made = stitch_windows(rows)
    assert [[one.id for one in window.utterances] for window in made] == [["0", "1"], ["2"], ["3", "4"]]
    assert made[0].ends_s == [12.0, 24.0]


def test_recordings_hold_a_speaker_together_and_a_rest_is_left():
    rows = [silent(n, 25.0, speaker_id="ab"[n % 2]) for n in range(7)]
    made = stitch_recordings(rows, 60.0)
    assert [[one.id for one in window.utterances] for window in made] == [["0", "2", "4"], ["6", "1", "3"]]


def test_silent_clips_are_the_same_in_every_run_and_of_many_lengths():
    first, again = quiet_clips(8, Quiet()), quiet_clips(8, Quiet())
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert len({len(clip) for clip in first}) == 8


def test_an_untuned_model_times_joined_prompts(tiny_en, prompts):
    made = probe_timestamps(tiny_en, stitch_windows(prompts))
    assert (made.windows, made.boundaries) == (len(stitch_windows(prompts)), 12 - made.windows)
    assert made.well_formed >= 0.5
    assert made.boundary_error_s < 1.0


def test_words_on_silence_are_those_that_evaluation_would_write(tiny_en):
    clips = quiet_clips(4, Quiet())
    made = probe_silence(tiny_en, clips, language=None)
    written = generate_transcripts(tiny_en, clips, language=None)
    assert made.words == sum(len(text.split()) for text in written)
    assert made.clips_with_words == sum(bool(text) for text in written)
    assert 0 <= made.no_speech_probability <= 1


def test_windows_are_told_what_was_written_before_only_when_asked(tiny_en, prompts, monkeypatch):
    recording = Stitched(tuple(prompts)).waveform
    assert len(recording) > 31 * 16_000
    prefixes = []
    inner = windows.decode_states

    def noting(whisper, states, given, **settings):
        prefixes.append([*given[0]])
        return inner(whisper, states, given, **settings)

    monkeypatch.setattr(windows, "decode_states", noting)
    transcribe_waveforms(tiny_en, [recording], language=None)
    assert {len(prefix) for prefix in prefixes} == {1}
    prefixes.clear()
    (transcript,) = transcribe_waveforms(tiny_en, [recording], language=None, previous_text=True)
    assert len(prefixes[0]) == 1
    told = text_of(tiny_en, prefixes[1]).strip()
    assert len(told) > 10
    assert transcript.text.startswith(told)
    begin = token_id(tiny_en, "<|notimestamps|>") + 1
    assert prefixes[1][1] == begin  # the words come with their times
    assert begin < prefixes[1][-2] <= begin + 1500


def test_long_recordings_are_scored_both_ways(tiny_en, prompts):
    made = probe_long_form(tiny_en, [Stitched(tuple(prompts))])
    assert made.recordings == 1
    assert made.audio_seconds > 30
    assert 0 <= made.wer < 0.5
    assert 0 <= made.wer_previous_text < 0.5


def test_all_probes_are_plain_numbers_in_a_report(tiny_en, prompts, monkeypatch):
    monkeypatch.setattr(suite, "SILENT_CLIPS", 2)
    made = run_probes(
        tiny_en, prompts[:3], section=EvalSection(batch_size=40), language=None, task="transcribe"
    )
    assert made.long_form is None
    blank = EvalResult(0, 0, 0, 0, (0, 0), 1, "none", "en", "full", 1, 1, 0, 0, 0, 0, probes=made)
    assert blank.to_dict()["probes"]["silence"]["clips"] == 2
