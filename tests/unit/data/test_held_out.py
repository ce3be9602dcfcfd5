"""What is held out of a corpus without splits: never a part of a recording, a speaker or a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from whisper_peft.data.held_out import choose_hold_out
from whisper_peft.errors import DataError
from whisper_peft.types import Utterance


def windows(root: str, talks: Sequence[int], speakers: Sequence[str | None] = (None,)) -> list[Utterance]:
    """Return as many windows of each talk as given; its speakers take turns."""
    return [
        Utterance(
            f"{talk}@{n}",
            Path(root) / f"{talk}.flac",
            f"Sentence {n} of {talk}.",
            speaker_id=(speakers[n % len(speakers)] or "").replace("TALK", str(talk)) or None,
            start_s=30.0 * n,
            end_s=30.0 * n + 25,
        )
        for talk, count in enumerate(talks)
        for n in range(count)
    ]


@pytest.mark.parametrize("is_stream", [True, False])
@pytest.mark.parametrize("speakers", [(None,), ("host", "TALK")], ids=["nobody known", "a host and guests"])
def test_windows_of_a_recording_stay_together(speakers: Sequence[str | None], is_stream: bool) -> None:
    rows = windows("/data", [20] * 20, speakers)
    rule = choose_hold_out(rows, is_stream=is_stream, seed=42, source="talks")
    held = {row.audio for row in rows if rule(row)}
    assert rule.by == "recording"
    assert not held & {row.audio for row in rows if not rule(row)}
    assert 1 <= len(held) <= 4


def test_speakers_of_several_recordings_stay_together_where_none_shares_one(tmp_path: Path) -> None:
    rows = [row for talk in range(30) for row in windows(f"/data/{talk}", [3, 3], (f"speaker {talk}",))]
    rule = choose_hold_out(rows, is_stream=False, seed=42, source="talks")
    assert rule.by == "speaker"
    assert {row.speaker_id for row in rows if rule(row)}.isdisjoint(
        row.speaker_id for row in rows if not rule(row)
    )


def test_the_same_recordings_are_held_out_wherever_they_lie() -> None:
    held = []
    for root in ("/data/talks", "/content/drive/my talks"):
        rows = windows(root, [5] * 30)
        rule = choose_hold_out(rows, is_stream=False, seed=42, source="talks")
        held.append([row.id for row in rows if rule(row)])
    assert held[0] == held[1] != []


def test_of_two_recordings_the_shorter_is_held_out() -> None:
    rows = windows("/data", [90, 10])
    rule = choose_hold_out(rows, is_stream=False, seed=42, source="talks")
    assert sum(map(rule, rows)) == 10


def test_a_single_recording_cannot_be_parted() -> None:
    with pytest.raises(DataError, match=r"100 rows with 1 different recordings.*give data\.train"):
        choose_hold_out(windows("/data", [100]), is_stream=False, seed=42, source="talks")
