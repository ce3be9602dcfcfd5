"""No input crashes or hangs the readers, changes a good row, or leaves a bad one uncounted."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.hostile.inputs import Hostile, hostile_inputs
from tests.hostile.speech import Spoken
from tests.hostile.table import PAGE, page
from tests.hostile.time_limit import at_most
from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.checking import check_row, check_rows
from whisper_peft.data.sources.opening import open_source
from whisper_peft.data.targets.labels import Labeller
from whisper_peft.errors import AudioError, DataError
from whisper_peft.measuring import PeakMemory
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

LIMIT_S = 20
MOST_BYTES = 500 << 20


@pytest.fixture(scope="module")
def labeller(tiny_en: Whisper) -> Labeller:
    return Labeller(tiny_en.tokenizer, multilingual=False, language=None)


def read(source: Path, labeller: Labeller) -> tuple[list[Utterance], Counter[str]]:
    """Read a source as a run does: open, check the rows, decode those that are kept."""
    section = DataSection(source=source, text_case="as-is", max_skipped_share=1)
    opened = open_source(section, "all")
    skipped: Counter[str] = Counter()
    if opened.is_stream:
        checked = [check_row(row, section=section, label_length=labeller.length) for row in opened]
        kept = [row for row, reason in checked if reason is None]
        skipped.update(reason for _, reason in checked if reason is not None)
        skipped.update(opened.skipped)
    else:
        check = check_rows(opened, section=section, label_length=labeller.length)
        kept = list(check.kept)
        skipped.update(check.skipped)
    decoded = []
    for row in kept:
        try:
            decoded.append(decode(row))
        except AudioError as error:
            skipped[error.reason] += 1
    return decoded, skipped


def assert_heard(found: Utterance, expected: Spoken) -> None:
    heard, wanted = found.waveform, expected.samples
    if expected.tolerance == 0:
        assert np.array_equal(heard, wanted)
        return
    assert abs(len(heard) - len(wanted)) <= 2_000
    count = min(len(heard), len(wanted))
    difference = heard[:count] - wanted[:count]
    assert np.sqrt(np.mean(difference**2) / np.mean(wanted**2)) <= expected.tolerance


@pytest.mark.parametrize("hostile", hostile_inputs(), ids=lambda hostile: hostile.name)
def test_a_hostile_input_is_counted_and_its_neighbours_are_unchanged(
    hostile: Hostile, labeller: Labeller, tmp_path: Path
) -> None:
    source = hostile.build(tmp_path)
    with at_most(LIMIT_S), PeakMemory() as memory:
        if hostile.refused:
            with pytest.raises(DataError, match=hostile.refused):
                read(source, labeller)
        else:
            found, skipped = read(source, labeller)
            assert dict(skipped) in [dict(result.skipped) for result in hostile.results]
            (result,) = (result for result in hostile.results if dict(result.skipped) == dict(skipped))
            assert [row.text for row in found] == [one.text for one in result.spoken]
            "".join(row.id for row in found).encode()
            for row, expected in zip(found, result.spoken, strict=True):
                assert_heard(row, expected)
            assert len({row.id for row in found}) == len(found)
    assert memory.peak_bytes - memory.before_bytes < MOST_BYTES


def test_there_are_enough_of_them() -> None:
    assert len(hostile_inputs()) >= 90


def test_the_page_of_the_reference_lists_them() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python -m tests.hostile.table"
