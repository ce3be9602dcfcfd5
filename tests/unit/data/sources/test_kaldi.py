"""Kaldi's data folders as recipes leave them: nothing in them is run, and nothing is lost unseen."""

from pathlib import Path

import pytest

from whisper_peft.data.sources.kinds import kind_at
from whisper_peft.data.sources.opening import Source, open_source
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection


def data_folder(folder: Path, **tables: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"wav.scp": "", "text": "", **tables}.items():
        (folder / name.replace("_scp", ".scp")).write_text(content)
    return folder


def every(folder: Path) -> Source:
    return open_source(DataSection(source=folder), "all")


def test_commands_are_never_run_but_counted(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    lines = f"a touch {witness} |\nb sph2pipe -f wav b.sph |\nc c.wav\nd wavs.ark:1234\ne ../../e.wav\n"
    source = every(data_folder(tmp_path / "data", wav_scp=lines, text="a A\nb B\nc C\nd D\ne E\n"))
    assert [row.text for row in source] == ["C"]
    assert source.skipped == {"pipe": 2, "archive": 1, "path-outside": 1}
    assert not witness.exists()


def test_texts_without_recording_and_segments_without_one_are_counted(tmp_path: Path) -> None:
    segments = "u1 rec 0.5 1.5\nu2 gone 0 1\nu3 rec 2 two\nu4 rec 3\nu5 rec 4.0 -1\nu6 rec 5 6 1\n"
    text = "u1 One.\nu2 Two.\nu5 Five.\nu9 Nine.\n"
    source = every(data_folder(tmp_path / "data", wav_scp="rec day.flac\n", segments=segments, text=text))
    assert [(row.id, row.text, row.start_s, row.end_s) for row in source] == [
        ("u1", "One.", 0.5, 1.5),
        ("u5", "Five.", 4.0, None),
    ]
    assert source.skipped == {"missing": 2, "bad-times": 1, "malformed-row": 1, "channel": 1}


def test_of_an_id_with_two_recordings_the_first_is_taken_and_the_other_counted(tmp_path: Path) -> None:
    source = every(data_folder(tmp_path / "data", wav_scp="a a.wav\na b.wav\n", text="a A\n"))
    assert [row.audio for row in source] == [tmp_path / "data" / "a.wav"]
    assert source.skipped == {"repeated-id": 1}


@pytest.mark.parametrize("place", ["data/train", "data", "."])
def test_relative_paths_are_of_where_the_recipe_ran(tmp_path: Path, place: str) -> None:
    folder = data_folder(tmp_path / "data" / "train", wav_scp="a wav/a.wav\n", text="a A\n")
    (tmp_path / place / "wav").mkdir(exist_ok=True)
    (tmp_path / place / "wav" / "a.wav").touch()
    (row,) = every(folder)
    assert isinstance(row.audio, Path)
    assert row.audio.is_file()


def test_a_folder_of_data_folders_has_them_as_splits(tmp_path: Path) -> None:
    for split in ("train_clean", "dev"):
        data_folder(tmp_path / split, wav_scp="a a.wav\n", text=f"a {split}\n")
    (tmp_path / "lang").mkdir()
    assert kind_at(tmp_path).name == "kaldi"
    assert [row.text for row in open_source(DataSection(source=tmp_path), "train-clean")] == ["train_clean"]
    assert len(list(every(tmp_path))) == 2


def test_a_data_folder_without_text_says_so(tmp_path: Path) -> None:
    (data_folder(tmp_path / "data", wav_scp="a a.wav\n") / "text").unlink()
    with pytest.raises(DataError, match="has no file named text"):
        every(tmp_path / "data")
