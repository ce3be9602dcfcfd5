"""Twenty utterances of real speech, kept in every layout, come back as the same samples and text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.unit.data.layouts import LAYOUTS, WITHOUT_SPLITS, Spoken, spoken
from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.sources.opening import open_source, open_split
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.testing import check_source
from whisper_peft.types import SAMPLING_RATE, Utterance, Waveform


@pytest.fixture(scope="module")
def rows(prompts_en: list[dict[str, Any]]) -> list[Spoken]:
    return spoken(prompts_en)


@pytest.fixture(scope="module", params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def section(layout: str, tmp_path_factory: pytest.TempPathFactory, rows: list[Spoken]) -> DataSection:
    return DataSection(source=LAYOUTS[layout](tmp_path_factory.mktemp("corpus"), rows))


def parts(utterance: Utterance) -> list[tuple[str, Waveform]]:
    """Return what was said and how it sounds; of a window with subtitles, cue by cue."""
    waveform = decode(utterance).waveform
    if not utterance.segments:
        return [(utterance.text, waveform)]
    edges = [
        (round(cue.start_s * SAMPLING_RATE), round(cue.end_s * SAMPLING_RATE)) for cue in utterance.segments
    ]
    texts = [cue.text for cue in utterance.segments]
    return [(text, waveform[start:end]) for text, (start, end) in zip(texts, edges, strict=True)]


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_every_layout_gives_the_same_samples_and_text(
    section: DataSection, layout: str, split: str, rows: list[Spoken]
) -> None:
    if layout in WITHOUT_SPLITS and split != "all":
        pytest.skip("this layout has no splits")
    expected = {row.text: row.waveform for row in rows if split in (row.split, "all")}
    source = open_source(section, split)
    found = [part for utterance in source for part in parts(utterance)]
    assert sorted(text for text, _ in found) == sorted(expected)
    assert all(np.array_equal(waveform, expected[text]) for text, waveform in found)
    assert not source.skipped


def test_every_layout_keeps_the_contract_of_a_source(section: DataSection) -> None:
    check_source(open_source(section, "all"))


def test_every_layout_takes_its_own_splits_for_the_default_ones(section: DataSection, layout: str) -> None:
    train, scored = open_split(section, "train"), open_split(section, "eval")
    texts = [{text for row in source for text, _ in parts(row)} for source in (train, scored)]
    held_out = layout in WITHOUT_SPLITS
    assert [len(found) for found in texts] == ([18, 2] if held_out else [14, 6])
    assert not texts[0] & texts[1]
    assert scored.split.rpartition("/")[2] == ("held-out" if held_out else "test")
    assert [row.id for row in open_split(section, "dev")] == [row.id for row in scored]


def test_every_layout_refuses_a_split_it_does_not_have(section: DataSection) -> None:
    named = section.model_copy(update={"eval": "tset"})
    with pytest.raises(DataError, match=r"no split 'tset'.*Known: .*"):
        open_split(named, "eval")


@pytest.mark.parametrize("layout", ["common voice", "kaldi", "kaldi with segments"], indirect=True)
def test_layouts_that_say_who_speaks_and_in_which_language_are_heard(
    section: DataSection, rows: list[Spoken]
) -> None:
    speakers = {row.text: row.speaker for row in rows}
    for row in open_source(section, "all"):
        assert (row.speaker_id, row.language) == (speakers[row.text], "en")
