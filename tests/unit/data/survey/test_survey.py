import random
from dataclasses import replace

import pytest

from whisper_peft.data.survey.acoustics import Acoustics
from whisper_peft.data.survey.contents import ContentIndex
from whisper_peft.data.survey.findings import Reason
from whisper_peft.data.survey.recording_survey import RecordingSurvey
from whisper_peft.data.survey.row_facts import AudioFormat, RowFacts
from whisper_peft.data.survey.survey import MOST_LISTED, Survey, SurveyedSplit
from whisper_peft.data.survey.transcript_survey import TranscriptSurvey


def row(row_id, text="A quiet sentence of some words.", *, split=0, recording=None, **changes):
    facts = {
        "audio": f"/speech/{row_id}.wav",
        "speaker_id": None,
        "language": None,
        "duration_s": len(text) / 14,
        "start_s": 0.0,
        "end_s": None,
        "recording": recording or row_id.encode(),
        "format": AudioFormat("WAV PCM_16", 16_000, 1),
        "acoustics": None,
        "refusal": None,
    }
    return RowFacts(id=row_id, split=split, text=text, **{**facts, **changes})


def surveyed(rows, splits=("test", "train"), **options):
    survey = Survey([SurveyedSplit.named(name) for name in splits], **options)
    for one in rows:
        survey.add(one)
    survey.finish()
    return survey


def named(survey):
    return {one.id: {reason.name for reason in one.reasons} for one in survey.suspects()}


def usual(count=100, **options):
    draws = random.Random(0)
    return [
        row(f"row{place}", f"words {place} of usual length", duration_s=draws.uniform(1.6, 2.4), **options)
        for place in range(count)
    ]


def test_a_training_row_whose_recording_is_scored_is_to_be_dropped():
    rows = [row("a", "Yes.", split=0, recording=b"x"), row("b", "Yes.", split=1, recording=b"x")]
    survey = surveyed(rows)
    assert named(survey) == {"b": {"leaked-audio"}}
    assert survey.suspects()[0].action == "drop"


def test_a_recording_with_two_texts_is_to_be_checked_and_a_repeated_row_to_be_dropped():
    rows = [row(name, text, recording=b"x") for name, text in (("a", "Yes."), ("b", "Yes!"), ("c", "No."))]
    survey = surveyed(rows)
    assert named(survey) == {"b": {"repeated-audio"}, "c": {"two-texts"}}
    assert {one.id: one.action for one in survey.suspects()} == {"b": "drop", "c": "check"}


def test_leaks_are_told_by_audio_sentence_and_speaker():
    rows = [
        row("a", "It is so.", split=0, speaker_id="ann"),
        row("b", "Other words.", split=0, speaker_id="bob"),
        row("c", "IT IS SO", split=1, speaker_id="bob"),
    ]
    leaks = {leak.by: (leak.split, leak.other, leak.rows, leak.share) for leak in surveyed(rows).leaks()}
    assert leaks == {"sentence": ("test", "train", 1, 0.5), "speaker": ("test", "train", 1, 0.5)}


def test_a_split_is_scored_if_its_name_says_so_and_that_of_its_source_does_not_count():
    named = [("train-clean-100", None), ("dev-clean", None), ("other", None), ("train", "test-set")]
    assert [SurveyedSplit.named(*one).is_scored for one in named] == [False, True, False, False]


@pytest.fixture
def two_sources():
    """Return surveys of a main source and one mixed in, `old`, whose training row has a scored recording."""
    splits = [
        SurveyedSplit("test", is_scored=True),
        SurveyedSplit("train", is_scored=False),
        SurveyedSplit("train", is_scored=False, source="old"),
    ]
    sentences, recordings = ContentIndex(), ContentIndex()
    surveys = [
        Survey(
            splits,
            source=source,
            transcripts=TranscriptSurvey(sentences),
            recordings=RecordingSurvey(recordings),
        )
        for source in (None, "old")
    ]
    surveys[0].add(row("a", "It is so.", split=0, recording=b"x", speaker_id="ann"))
    surveys[0].add(row("b", "Other words.", split=1, speaker_id="bob"))
    surveys[1].add(row("old/a", "It is so.", split=2, recording=b"x", speaker_id="ann"))
    surveys[1].add(row("old/b", "And more.", split=2, recording=b"y", speaker_id="bob"))
    surveys[1].add(row("old/c", "And more.", split=2, recording=b"y", speaker_id="bob"))
    for survey in surveys:
        survey.finish()
    return surveys


def test_what_sources_share_is_told_of_the_scored_split_and_speakers_are_not_compared(two_sources):
    main, old = two_sources
    assert {(leak.by, leak.split, leak.other, leak.rows) for leak in main.leaks()} == {
        ("audio", "test", "old/train", 1),
        ("sentence", "test", "old/train", 1),
    }
    assert old.leaks() == ()


def test_a_source_counts_its_own_rows_alone_and_names_those_that_another_source_scores(two_sources):
    main, old = two_sources
    assert [split.rows for split in main.split_figures()] == [1, 1]
    assert [(split.name, split.rows) for split in old.split_figures()] == [("train", 3)]
    assert named(main) == {}
    assert named(old) == {"old/a": {"leaked-audio"}, "old/c": {"repeated-audio"}}
    assert main.recordings.figures(main.own_splits).repeated == 0
    assert old.recordings.figures(old.own_splits).repeated == 1
    assert old.transcripts.figures(old.own_splits).repeated_sentences == 1


@pytest.mark.parametrize(("duration_s", "reason"), [(0.2, "impossible-rate"), (8.0, "unusual-rate")])
def test_a_text_too_fast_or_too_slow_for_its_recording_is_named(duration_s, reason):
    survey = surveyed([*usual(), row("odd", "words odd of usual length", duration_s=duration_s)])
    assert named(survey) == {"odd": {reason}}


def test_few_rows_say_nothing_of_what_is_usual():
    assert not named(surveyed([*usual(10), row("odd", "words odd of usual length", duration_s=8.0)]))


def test_one_text_in_another_script_is_named_and_a_bilingual_corpus_is_not():
    latin = usual(60)
    cyrillic = [replace(one, id=f"ru{one.id}", text="Слова самой обычной длины") for one in usual(60)]
    cyrillic = [replace(one, recording=one.id.encode()) for one in cyrillic]
    assert named(surveyed([*latin, cyrillic[0]])) == {"rurow0": {"other-script"}}
    assert not named(surveyed([*latin, *cyrillic]))


def test_another_script_is_judged_within_each_language():
    latin = [row(f"en{place}", f"words {place} of usual length", language="en") for place in range(900)]
    cyrillic = [row(f"ru{place}", f"Слова {place} обычной длины", language="ru") for place in range(30)]
    assert not named(surveyed([*latin, *cyrillic]))


def test_a_latin_letter_in_a_cyrillic_word_is_named():
    assert named(surveyed([row("a", "Тaкси стоит у вокзала")])) == {"a": {"mixed-script"}}


def test_poor_recordings_are_named_for_what_is_poor():
    poor = {
        "clipped": Acoustics(2.0, 0.1, 0.05, 30.0, b"1"),
        "noisy": Acoustics(2.0, 0.1, 0.0, 1.0, b"2"),
        "mostly-silent": Acoustics(2.0, 0.9, 0.0, 30.0, b"3"),
        "offset": Acoustics(2.0, 0.1, 0.0, 30.0, b"3", offset=-0.2),
    }
    rows = [row(name, acoustics=heard) for name, heard in poor.items()]
    rows.append(row("fine", acoustics=Acoustics(2.0, 0.1, 0.0, 30.0, b"4")))
    assert named(surveyed(rows)) == {name: {name} for name in poor}


def test_labels_over_448_tokens_cannot_be_learned():
    survey = surveyed(
        [row("long", "word " * 500, duration_s=30.0)], label_length=lambda row: len(row.text.split())
    )
    assert survey.refused == {"label-too-long": 1}
    assert survey.label_figures("tiny").too_long == 1
    assert survey.split_figures()[0].usable == 0


def test_all_rows_are_counted_and_some_hundreds_listed():
    missing = Reason("missing", "there is no such file")
    survey = surveyed([row(str(place), refusal=missing) for place in range(2 * MOST_LISTED)])
    assert survey.refused["missing"] == 2 * MOST_LISTED
    assert len(survey.suspects()) == MOST_LISTED


def test_rare_signs_are_leftovers_and_not_letters():
    rows = [row(str(place), f"words {place} of usual length") for place in range(2000)]
    rows[7] = row("markup", "words <i> of é usual length")
    assert surveyed(rows).transcripts.figures([0, 1]).rare_signs == {"<": 1, ">": 1}
