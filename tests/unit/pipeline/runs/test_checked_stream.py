"""A stream that is checked row by row goes on in its middle as it would have gone on."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from whisper_peft.data.batches.batching import EpochPlan
from whisper_peft.data.sources.opening import open_source, open_split
from whisper_peft.errors import DataError
from whisper_peft.pipeline.runs.checked_stream import CheckedStream
from whisper_peft.recipe.sections import DataSection, Recipe


class Words:
    """Counts a token for each word."""

    def length(self, utterance):
        return len(utterance.text.split())


def clip(seconds):
    stream = io.BytesIO()
    soundfile.write(
        stream, np.random.default_rng(0).normal(0, 0.1, int(seconds * 16_000)), 16_000, format="FLAC"
    )
    return stream.getvalue()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return chapters of LibriSpeech, of which every seventh row is too short and one has no text."""
    folder = tmp_path_factory.mktemp("parquet")
    long, short = clip(1.0), clip(0.05)
    numbers = range(60)
    table = {
        "id": [f"19-{n // 20}-{n % 20:04}" for n in numbers],
        "speaker_id": ["19" for _ in numbers],
        "audio": [{"bytes": short if n % 7 == 0 else long, "path": None} for n in numbers],
        "text": ["" if n == 30 else f"row {n}" for n in numbers],
    }
    pq.write_table(pa.table(table), folder / "train-00000-of-00001.parquet", row_group_size=9)
    pq.write_table(pa.table(table).slice(0, 3), folder / "test-00000-of-00001.parquet")
    return DataSection(source=str(folder), train="train", eval="test")


def opened(section):
    return CheckedStream(open_split(section, "train"), Words(), Recipe(data=section))


def many(rows, bad):
    """Return rows of which the first ones have no text."""
    audio = clip(0.2)
    return [{"audio": audio, "text": "" if n < bad else "words"} for n in range(rows)]


def stream_of(rows, share):
    class Rows:
        """A stream: neither list nor tuple."""

        def __iter__(self):
            return iter(rows)

    section = DataSection(source=Rows(), max_skipped_share=share)
    return CheckedStream(open_source(section, "all"), Words(), Recipe(data=section))


def test_a_stream_with_too_many_bad_rows_stops_after_200_rows_and_says_why():
    stream, kept = stream_of(many(400, bad=201), 0.5), []
    with pytest.raises(DataError, match=r"100\.0 % of the rows .* empty-text: 200 .*data\.max_skipped_share"):
        kept.extend(stream)
    assert kept == []


@pytest.mark.parametrize(("rows", "bad", "share"), [(199, 150, 0.5), (400, 100, 0.5), (400, 390, 1.0)])
def test_a_stream_goes_on_with_few_bad_rows_or_before_200_or_where_all_may_be_left_out(rows, bad, share):
    stream = stream_of(many(rows, bad), share)
    assert len(list(stream)) == rows - bad
    assert dict(stream.skipped) == {"empty-text": bad}


@pytest.mark.parametrize("epoch", [0, 2])
def test_rows_from_a_place_on_are_the_same_with_what_was_said_before_them(source, epoch):
    plan = EpochPlan(rows_per_step=4, window=9, work=lambda window, epoch: 1.0)
    first = opened(source)
    whole = list(plan.steps(first, seed=0, epoch=epoch))
    refused = {"too-short": 9, "empty-text": 1} if epoch == 0 else {}
    assert dict(first.skipped) == refused
    assert sum(row.previous_text is not None for step in whole for row in step.utterances) > 20
    for step in whole:
        again = opened(source)
        rest = [
            one
            for one in plan.steps(again, seed=0, epoch=epoch, place=step.place)
            if one.step_in_epoch >= step.step_in_epoch
        ]
        assert [one.utterances for one in rest] == [one.utterances for one in whole[step.step_in_epoch :]]
        assert dict(again.skipped) == refused


def test_rows_that_are_refused_are_counted_in_the_first_pass_alone(source):
    stream = opened(source)
    for _ in range(3):
        assert len(list(stream)) == 50
    assert dict(stream.skipped) == {"too-short": 9, "empty-text": 1}
