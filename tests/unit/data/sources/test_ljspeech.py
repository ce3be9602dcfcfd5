"""LJSpeech's table: which cell is the text, and what is no row."""

from pathlib import Path

import pytest

from whisper_peft.data.sources.opening import open_source
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection


def corpus(folder: Path, content: str, suffix: str = ".wav") -> Path:
    (folder / "wavs").mkdir()
    (folder / "wavs" / f"a{suffix}").touch()
    (folder / "metadata.csv").write_text(content, "utf-8-sig")
    return folder


def test_the_text_is_as_people_write_unless_the_spelled_one_is_named(tmp_path: Path) -> None:
    section = DataSection(source=corpus(tmp_path, 'a|In 1945, "they" said.|In nineteen forty-five\r\n'))
    assert [row.text for row in open_source(section, "all")] == ['In 1945, "they" said.']
    spelled = section.model_copy(update={"text_column": "normalized_text"})
    assert [row.text for row in open_source(spelled, "all")] == ["In nineteen forty-five"]
    with pytest.raises(DataError, match=r"text_column is 'normalised'.*did you mean normalized_text"):
        open_source(section.model_copy(update={"text_column": "normalised"}), "all")


def test_rows_with_other_cells_and_paths_out_of_the_folder_are_counted(tmp_path: Path) -> None:
    source = open_source(DataSection(source=corpus(tmp_path, "a|A|x\nb|B\n../../c|C|y\n|D|z\n")), "all")
    assert [row.text for row in source] == ["A"]
    assert source.skipped == {"malformed-row": 2, "path-outside": 1}


@pytest.mark.parametrize(("suffix", "name"), [(".flac", "b"), (".wav", "b.flac")])
def test_the_recordings_suffix_is_found(tmp_path: Path, suffix: str, name: str) -> None:
    folder = corpus(tmp_path, f"{name}|B|b\n", suffix)
    (row,) = open_source(DataSection(source=folder / "metadata.csv"), "all")
    assert row.audio == folder / "wavs" / "b.flac"
