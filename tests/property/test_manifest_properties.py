"""Whatever stands in a manifest, every row is an utterance that can be checked, or is counted."""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from whisper_peft.data.checking import check_row
from whisper_peft.data.sources.opening import open_source
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection

cells = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.lists(st.text())
)
rows = st.lists(
    st.fixed_dictionaries(
        {"audio": st.text(st.characters(exclude_categories=[])) | cells, "text": cells},
        optional={"id": cells, "split": cells, "speaker_id": cells, "language": cells},
    ),
    min_size=1,
    max_size=6,
)


def check(path: Path, expected: int) -> None:
    section = DataSection(source=path)
    try:
        source = open_source(section, "all")
    except DataError:
        return
    utterances = list(source)
    assert len(utterances) + sum(source.skipped.values()) == expected
    assert len({utterance.id for utterance in utterances}) == len(utterances)
    for utterance in utterances:
        utterance.id.encode()
        assert check_row(utterance, section=section, label_length=lambda row: 1)[1] is not None
        assert isinstance(utterance.audio, Path | bytes)


@settings(max_examples=150, deadline=None)
@given(rows)
def test_every_jsonl_row_is_offered_or_counted(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        check(path, len(rows))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=6))
def test_every_csv_row_is_offered_or_counted(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("audio", "text"), *rows])
        check(path, len(rows))
        assert all(
            utterance.text == utterance.text.strip()
            for utterance in open_source(DataSection(source=path), "all")
        )
