from pathlib import Path

from whisper_peft.pipeline.runs.first_look import look_first
from whisper_peft.types import Utterance


def row(row_id, text="words of usual length", *, speaker=None, duration_s=2.0):
    return Utterance(row_id, Path(f"{row_id}.wav"), text, speaker_id=speaker, duration_s=duration_s)


def rows(count, **options):
    return [row(f"row{place}", f"sentence number {place}", **options) for place in range(count)]


def test_nothing_notable_is_not_a_line():
    assert list(look_first(rows(50, speaker="ann"), [row("test", speaker="bob")]).sentences()) == []


def test_a_recording_that_is_scored_too_is_always_said():
    scored = [*rows(300, speaker="bob"), row("row0")]
    trained = [row("row0"), *(row(f"train{place}", f"other {place}") for place in range(50))]
    sentences = list(look_first(trained, scored).sentences())
    assert "have a recording of train" in sentences[0]


def test_a_recording_that_is_learned_from_another_source_is_said_and_speakers_are_not_compared():
    scored = [row("row0", speaker="ann"), *(row(f"test{place}", f"heard {place}") for place in range(9))]
    look = look_first([row("train", "other words")], scored, {"old": [row("row0", speaker="ann")]})
    assert [(leak.by, leak.other, leak.rows) for leak in look.leaks] == [
        ("audio", "old/train", 1),
        ("sentence", "old/train", 1),
    ]
    assert look.rows == 1
    assert look.suspects == ()


def test_one_sentence_in_a_thousand_is_not_worth_a_line():
    scored = rows(1000)
    look = look_first([row("train", "sentence number 7")], scored)
    assert {leak.by: leak.share for leak in look.leaks} == {"sentence": 0.001}
    assert list(look.sentences()) == []


def test_rows_that_stand_out_are_counted_once_and_named_by_reason():
    odd = row("odd", "words " * 40, duration_s=0.5)
    look = look_first([*rows(50), odd], [row("test", "Unheard of.")])
    assert (len(look.suspects), look.concerns) == (1, {"impossible-rate": 1})
    assert "2.0 % of 51 training rows stand out (1 impossible-rate)" in next(look.sentences())
