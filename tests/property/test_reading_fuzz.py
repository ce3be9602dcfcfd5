"""Whatever bytes lie there, reading them gives usable rows or an error of ours, within seconds.

The quick profile is the same at each run; the long one (marked slow) draws anew.
"""

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hostile.mutations import Damaged, damaged, flips, stored, texts
from tests.hostile.speech import flac
from tests.hostile.time_limit import at_most
from whisper_peft.data.audio.decoding import decode, header_duration_s
from whisper_peft.data.checking import check_row
from whisper_peft.data.sources.opening import open_source
from whisper_peft.errors import AudioError, DataError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance

REASONS = {
    "missing",
    "unreadable",
    "truncated",
    "no-decoder",
    "sampling-rate",
    "empty",
    "not-finite",
    "out-of-range",
    "silent",
    "bad-times",
}
LIMIT_S = 5

Test = Callable[..., None]
long_run = settings(max_examples=4_000, derandomize=False)


def quick(examples: int) -> settings:
    return settings(max_examples=examples)


def expect_ours(error: AudioError) -> None:
    assert error.reason in REASONS
    assert error.why


def heard(content: bytes, **times: Any) -> Any:
    """Return the samples of a recording that fuzzing made, None if it is refused as it should be."""
    with at_most(LIMIT_S):
        try:
            duration_s = header_duration_s(content, **times)
            if duration_s is not None and duration_s > 30:
                return None  # it is never decoded
            found = decode(Utterance("fuzzed", content, "words", **times)).waveform
        except AudioError as error:
            expect_ours(error)
            return None
    assert found.dtype == np.float32
    assert found.ndim == 1
    assert len(found) > 0
    assert np.isfinite(found).all()
    return found


def check_damaged(recording: Damaged) -> None:
    heard(recording.content)


def check_bytes(content: bytes) -> None:
    heard(content)


def check_stretch(recording: Damaged, start_s: float, length_s: float) -> None:
    heard(recording.content, start_s=start_s, end_s=start_s + length_s)


def check_checksummed(recording: Damaged) -> None:
    found = heard(recording.content)
    whole = decode(Utterance("whole", stored(*recording.coding), "")).waveform
    assert found is None or np.array_equal(found, whole)


CHECKSUMMED = [("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS")]
cut_or_flipped = st.one_of(
    flips, flips, st.builds(lambda share: lambda all: all[: int(share * len(all))], st.floats(0, 1))
)

test_a_damaged_recording_is_refused_or_usable = quick(400)(given(damaged())(check_damaged))
test_a_stretch_of_a_damaged_recording_is_refused_or_usable = quick(150)(
    given(damaged(), st.floats(0, 1), st.floats(0.01, 1))(check_stretch)
)
test_damage_under_a_checksum_is_refused_or_changes_nothing = quick(300)(
    given(damaged(CHECKSUMMED, cut_or_flipped))(check_checksummed)
)
test_bytes_are_no_recording = quick(100)(given(st.binary(max_size=200))(check_bytes))


@pytest.mark.slow
@pytest.mark.parametrize("coding", CHECKSUMMED[:1] + CHECKSUMMED[2:])
def test_no_single_bit_of_a_checksummed_recording_changes_what_is_heard(coding: tuple[str, str]) -> None:
    content = stored(*coding)
    whole = decode(Utterance("whole", content, "")).waveform
    for place in range(8 * min(len(content), 6_000)):
        found = heard(
            content[: place // 8] + bytes([content[place // 8] ^ 1 << place % 8]) + content[place // 8 + 1 :]
        )
        assert found is None or np.array_equal(found, whole)


@pytest.mark.parametrize("coding", [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_no_single_bit_of_a_header_changes_what_is_heard(coding: tuple[str, str]) -> None:
    content = stored(*coding)
    whole = decode(Utterance("whole", content, "")).waveform
    for place, bit in itertools.product(range(44), range(8)):
        found = heard(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        assert found is None or np.array_equal(found, whole), (place, bit)


def write(folder: Path, layout: str, contents: list[bytes]) -> Path:
    """Write fuzzed texts beside a recording, where a kind of corpus has its text; return the source."""
    places = {
        "jsonl": ["a.jsonl"],
        "csv": ["a.csv"],
        "tsv": ["a.tsv"],
        "json": ["a.json"],
        "metadata": ["metadata.jsonl"],
        "kaldi": ["wav.scp", "text", "segments", "utt2spk"],
        "ljspeech": ["metadata.csv"],
        "common-voice": ["train.tsv"],
        "openslr": ["train/19/198/19-198.trans.txt"],
        "srt": ["speech.srt"],
        "vtt": ["speech.vtt"],
        "txt": ["speech.txt"],
    }[layout]
    for place, content in zip(places, itertools.cycle(contents), strict=False):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)
    for place in (".", "wavs", "clips", "train/19/198"):
        if (folder / place).is_dir() or layout in ("ljspeech", "common-voice"):
            (folder / place).mkdir(parents=True, exist_ok=True)
            (folder / place / "speech.flac").write_bytes(flac())
    return folder / places[0] if layout in ("jsonl", "csv", "tsv", "json") else folder


LAYOUTS = [
    "jsonl",
    "csv",
    "tsv",
    "json",
    "metadata",
    "kaldi",
    "ljspeech",
    "common-voice",
    "openslr",
    "srt",
    "vtt",
    "txt",
]


def check_text(layout: str, contents: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as place, at_most(LIMIT_S):
        section = DataSection(source=write(Path(place), layout, contents))
        try:
            source = open_source(section, "all")
            rows = list(source)
        except DataError:
            return
        for row in rows:
            (row.id + row.text).encode()
            _, reason = check_row(row, section=section, label_length=lambda row: len(row.text) // 3)
            if reason is None:
                decoded(row)
        assert len({row.id for row in rows}) == len(rows)


def decoded(row: Utterance) -> None:
    try:
        assert np.isfinite(decode(row).waveform).all()
    except AudioError as error:
        expect_ours(error)


test_no_text_is_more_than_rows_and_counts = quick(400)(
    given(st.sampled_from(LAYOUTS), st.lists(texts, min_size=1, max_size=4))(check_text)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fuzz",
    [
        given(damaged())(check_damaged),
        given(damaged(), st.floats(0, 1), st.floats(0.01, 1))(check_stretch),
        given(damaged(CHECKSUMMED, cut_or_flipped))(check_checksummed),
        given(st.sampled_from(LAYOUTS), st.lists(texts, min_size=1, max_size=4))(check_text),
    ],
    ids=["damaged", "stretch", "checksummed", "text"],
)
def test_thousands_of_examples_more_find_nothing(fuzz: Test) -> None:
    long_run(fuzz)()
