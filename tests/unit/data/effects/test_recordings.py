"""Folders of noise and impulse responses."""

import numpy as np
import pytest
import soundfile

from whisper_peft.data.effects.recordings import open_recordings, read_first_channel, read_mixed_down
from whisper_peft.errors import DataError, RecipeError


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        tone = 0.1 * (number + 1) * np.ones(8000)
        soundfile.write(tmp_path / f"{number}.wav", tone, 8000)
    (tmp_path / "metadata.jsonl").write_text("{}")
    return tmp_path


def opened(folder, read=read_mixed_down):
    return open_recordings(folder, "augment.noise.source", read)


def test_recordings_are_found_and_brought_to_sixteen_kilohertz(folder):
    recordings = opened(folder)
    assert [path.name for path in recordings.paths] == ["0.wav", "1.wav", "2.wav"]
    assert {len(recordings[path]) for path in recordings.paths} == {16_000}


def test_each_file_is_decoded_once(folder):
    read = []

    def counting(path):
        read.append(path)
        return read_mixed_down(path)

    recordings = opened(folder, counting)
    assert read == []
    rng = np.random.default_rng(0)
    for _ in range(50):
        recordings.draw(rng)
    assert sorted(read) == sorted(recordings.paths)


def test_memory_is_bounded_and_the_last_used_stay(folder):
    recordings = opened(folder)
    recordings.cache_bytes = 2 * 16_000 * 4
    first, second, third = recordings.paths
    for path in (first, second, first, third):
        recordings[path]
    assert list(recordings._held) == [first, third]
    assert recordings._held_bytes == recordings.cache_bytes


def test_one_recording_over_the_bound_is_still_usable(folder):
    recordings = opened(folder)
    recordings.cache_bytes = 10
    for path in recordings.paths:
        assert len(recordings[path]) == 16_000
    assert len(recordings._held) == 1


def test_impulse_responses_use_their_first_channel(tmp_path):
    samples = np.zeros((400, 2))
    samples[10, 0] = samples[20, 1] = 0.5
    soundfile.write(tmp_path / "room.wav", samples, 16_000)
    recordings = opened(tmp_path, read_first_channel)
    assert np.flatnonzero(recordings[recordings.paths[0]]).tolist() == [10]


def test_missing_setting_names_the_field():
    with pytest.raises(
        RecipeError, match=r"augment\.noise\.source is not set - augment\.noise\.p is above 0"
    ):
        opened(None)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        opened(tmp_path / "gone")


def test_folder_without_recordings_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="holds no recordings"):
        opened(tmp_path)


def test_unreadable_recording_is_refused_at_once_by_name(folder):
    (folder / "broken.wav").write_bytes(b"RIFF not really")
    with pytest.raises(DataError, match=r"augment\.noise\.source.*broken\.wav"):
        opened(folder)


def test_recording_damaged_later_is_not_taken_for_a_bad_utterance(folder):
    recordings = opened(folder)
    recordings.paths[0].write_bytes(b"gone bad")
    with pytest.raises(DataError, match=r"0\.wav") as caught:
        recordings[recordings.paths[0]]
    assert type(caught.value) is DataError
