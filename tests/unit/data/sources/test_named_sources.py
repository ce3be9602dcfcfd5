"""Sources of installed packages: found by name, imported only then."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from whisper_peft.data.sources.opening import open_source, open_split
from whisper_peft.errors import DataError, RecipeError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.testing import check_source

MODULE = """
from whisper_peft.types import Utterance


class Stream:
    def __init__(self, folder):
        self.folder = folder

    def __iter__(self):
        return (Utterance(f"{self.folder}-{n}", bytes(1000), f"Sentence {n}.") for n in range(30))


def stream(section):
    return Stream(section.source.partition(":")[2])


def by_split(section):
    return {split: [{"audio": "a.wav", section.text_column: split}] for split in ("train", "dev")}


def once(section):
    yield from ()


nothing = 3
"""

ENTRIES = "[whisper_peft.sources]\n" + "".join(
    f"{name} = a_speech_package:{name}\n" for name in ("stream", "by_split", "once", "nothing", "gone")
)


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package with sources."""
    place = tmp_path / "site"
    info = place / "a_speech_package-1.0.dist-info"
    info.mkdir(parents=True)
    (place / "a_speech_package.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-speech-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, "a_speech_package", raising=False)
    return place


def test_a_plug_in_is_given_the_section_with_the_words_after_its_name() -> None:
    source = open_source(DataSection(source="stream:2024/spring"), "all")
    assert [row.id for row in source][:2] == ["2024/spring-0", "2024/spring-1"]
    assert source.is_stream
    assert source.name == "stream:2024/spring (all)"


def test_a_plug_in_may_bring_splits_and_columns_of_its_own() -> None:
    section = DataSection(source="by_split", text_column="words")
    assert [row.text for row in open_split(section, "train")] == ["train"]
    assert [row.text for row in open_split(section, "eval")] == ["dev"]


def test_a_plug_in_can_be_held_to_the_contract() -> None:
    with pytest.raises(AssertionError, match="the recording of a-0 cannot be used"):
        check_source(open_source(DataSection(source="stream:a"), "all"))
    check_source(open_source(DataSection(source="stream:a"), "all"), decoded=0)


def test_nothing_is_imported_before_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "speech.jsonl").write_text('{"audio": "a.wav", "text": "A"}\n')
    open_source(DataSection(source=tmp_path / "speech.jsonl"), "all")
    assert "a_speech_package" not in sys.modules


def test_a_path_of_that_name_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stream").write_text("")
    with pytest.raises(DataError, match="of no known kind"):
        open_source(DataSection(source="stream"), "all")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("steam:2024", "there is no 'steam' in sources - did you mean stream?.*Known: .*by_split"),
        ("nothing", "the source 'nothing' is a int"),
        ("gone", "cannot be imported"),
    ],
)
def test_what_is_no_source_says_so(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        open_source(DataSection(source=name), "all")


def test_a_generator_is_refused_since_it_ends_after_one_epoch() -> None:
    with pytest.raises(DataError, match="only once"):
        open_source(DataSection(source="once"), "all")


@pytest.mark.parametrize("source", ["https://example.org/speech.tar", "C:\\speech", "no/such:thing.jsonl"])
def test_what_only_looks_like_a_name_is_a_missing_path(source: str) -> None:
    with pytest.raises(DataError, match="is missing"):
        open_source(DataSection(source=source), "all")
