from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from whisper_peft.evaluation.error_analysis.alignment import align
from whisper_peft.evaluation.error_analysis.breakdown import break_down
from whisper_peft.evaluation.error_analysis.calibration import calibration
from whisper_peft.evaluation.error_analysis.groups import scored_alike
from whisper_peft.evaluation.error_analysis.rates import Resampling
from whisper_peft.evaluation.error_analysis.training_words import count_training_words
from whisper_peft.evaluation.error_analysis.values import Breakdown, Slice
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import align_words, score
from whisper_peft.types import Prediction

ENGLISH = get_normalizer("english", "en")


def predict(reference: str, hypothesis: str, name: str = "a", **facts: Any) -> Prediction:
    counts = align_words([ENGLISH(reference)], [ENGLISH(hypothesis)])[0]
    return Prediction(
        id=name,
        reference=reference,
        hypothesis=hypothesis,
        wer=counts.rate,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        hits=counts.hits,
        **{"duration_s": 3.0, "language": "en", **facts},
    )


def analyse(
    *after: Prediction, before: tuple[Prediction, ...] = (), training: dict[str, int] | None = None
) -> Breakdown:
    named = [{one.id: one for one in rows} for rows in (before, after)]
    return break_down(
        scored_alike(*named),
        normalize=ENGLISH,
        sources={},
        training_words=training,
        resampling=Resampling(200),
    )


def named(slices: tuple[Slice, ...]) -> dict[str, Slice]:
    return {one.name: one for one in slices}


def test_alignment_keeps_every_word_of_both_sides() -> None:
    words = align("a b c d", "x a c d e f", str)
    assert [word.reference for word in words if word.reference] == ["a", "b", "c", "d"]
    assert [word.hypothesis for word in words if word.hypothesis] == ["x", "a", "c", "d", "e", "f"]


def test_empty_sides_align() -> None:
    assert [word.kind for word in align("", "a b", str)] == ["insert", "insert"]
    assert [word.kind for word in align("a", "", str)] == ["delete"]
    assert align("", "", str) == ()


def test_alignment_counts_equal_the_scores(prompts_fr: list[dict[str, Any]]) -> None:
    texts = [row["text"] for row in prompts_fr[:40]]
    normalize = get_normalizer("marks", "fr")
    shuffled = texts[1:] + texts[:1]
    for counts, reference, hypothesis in zip(
        align_words([*map(normalize, texts)], [*map(normalize, shuffled)]), texts, shuffled, strict=True
    ):
        kinds = Counter(word.kind for word in align(reference, hypothesis, normalize))
        counted = (kinds["substitute"], kinds["delete"], kinds["insert"], kinds["equal"])
        assert counted == (counts.substitutions, counts.deletions, counts.insertions, counts.hits)


def test_slices_of_utterances_add_up_to_the_wer() -> None:
    rng = np.random.default_rng(0)
    rows = [
        predict("one two three four", "one two three four five"[: rng.integers(3, 24)], str(n), duration_s=d)
        for n, d in enumerate(rng.uniform(0.5, 29, size=60))
    ]
    slices = analyse(*rows).slices["duration"]
    wer = score([r.reference for r in rows], [r.hypothesis for r in rows], normalizer=ENGLISH).wer
    assert sum(one.utterances for one in slices) == 60
    assert sum(one.units * one.after.value for one in slices) / sum(one.units for one in slices) == (
        pytest.approx(wer)
    )


def test_a_bound_belongs_to_the_longer_group() -> None:
    found = analyse(predict("one two", "one two"), predict("one", "one", "b", duration_s=5.0))
    assert {name: one.utterances for name, one in named(found.slices["duration"]).items()} == {
        "2 to 5 s": 1,
        "5 to 10 s": 1,
    }


def test_speakers_with_the_most_words_stand_first() -> None:
    brief = [predict("one", "one", f"{place}", speaker_id=f"s{place:02}") for place in range(45)]
    found = analyse(*brief, predict("we saw them", "we saw them", "long", speaker_id="much"))
    names = [one.name for one in found.slices["speaker"]]
    assert names[0] == "much"
    assert len(names) == 40


def test_intervals_of_the_whole_equal_those_of_the_score() -> None:
    rows = [predict("a b c d", "a b c d"[: 2 * n % 8 + 1], str(n), speaker_id="ann") for n in range(20)]
    other = predict("x", "x", "other", speaker_id="bob")
    slices = named(analyse(*rows, other).slices["speaker"])
    scored = score(
        [r.reference for r in rows], [r.hypothesis for r in rows], normalizer=ENGLISH, bootstrap_samples=200
    )
    assert slices["ann"].after.interval == scored.wer_interval


def test_change_is_told_over_the_same_utterances() -> None:
    worse = tuple(predict("a b c d", "a b x y", str(n), duration_s=1 + n) for n in range(8))
    better = tuple(predict("a b c d", "a b c y", str(n), duration_s=1 + n) for n in range(8))
    for one in analyse(*better, before=worse).slices["duration"]:
        assert one.change == (-0.25, -0.25)


def test_utterances_scored_once_are_left_out_of_the_comparison() -> None:
    before = (predict("a", "b", "1", duration_s=1), predict("a", "b", "2", duration_s=9))
    after = (*before, predict("a", "b", "3", duration_s=9))
    assert [one.utterances for one in analyse(*after, before=before).slices["duration"]] == [1, 1]


def test_words_are_parted_by_how_often_they_were_learned() -> None:
    row = predict("the cat saw a wombat and an emu", "the cat saw a combat and an emu")
    training = {"the": 90, "cat": 2, "saw": 5, "a": 50, "and": 40, "an": 10, "emu": 0, "wombat": 0}
    slices = named(analyse(row, training=training).slices["rarity"])
    assert {name: (one.units, one.after.value) for name, one in slices.items()} == {
        "never": (2, 0.5),
        "once or twice": (1, 0.0),
        "3 to 9 times": (1, 0.0),
        "10 times or more": (4, 0.0),
    }


def test_training_words_are_counted_as_they_are_scored() -> None:
    counts = count_training_words(
        ["I can't, Mr. Grey!", "GREY colour."], ["gray", "can", "not", "color", "dog"], ENGLISH
    )
    assert counts == {"gray": 2, "can": 1, "not": 1, "color": 1, "dog": 0}


def test_names_and_numbers_are_told_apart() -> None:
    row = predict(
        "Then Mary Smith paid twenty dollars, she said.", "Then Mary Smyth paid thirty dollars, she said."
    )
    slices = named(analyse(row).slices["kind"])
    assert {name: (one.units, one.after.value) for name, one in slices.items()} == {
        "names": (2, 0.5),
        "numbers": (1, 1.0),
        "other words": (4, 0.0),
    }


def test_upper_case_names_nobody() -> None:
    row = predict("THEN MARY SMITH PAID", "then mary smith paid")
    assert set(named(analyse(row).slices["kind"])) == {"other words"}
    assert "writing" in analyse(row).not_measured


def test_german_capitals_say_noun_not_name() -> None:
    rows = {
        language: predict("wir sehen das Haus", "wir sehen das Haus", language=language)
        for language in ("de", "nl")
    }
    kinds = {language: set(named(analyse(row).slices["kind"])) for language, row in rows.items()}
    assert kinds == {"de": {"other words"}, "nl": {"names", "other words"}}


def test_french_number_words_count_and_articles_do_not() -> None:
    row = replace(predict("appuyez sur un puis vingt", "appuyez sur un puis vin"), language="fr")
    slices = named(analyse(row).slices["kind"])
    assert (slices["numbers"].units, slices["numbers"].after.value) == (1, 1.0)


def test_case_and_marks_are_told_apart_from_words() -> None:
    row = predict("Hello, Ann. Are you there? Yes.", "hello Ann. Are, you there! no")
    slices = named(analyse(row).slices["writing"])
    assert (slices["wrong case"].units, slices["wrong case"].after.value) == (5, 1 / 5)
    missing = slices["marks missing or wrong"]  # the comma is gone, the question mark is another mark
    assert (missing.units, missing.after.value) == (3, pytest.approx(2 / 3))
    added = slices["marks added"]
    assert (added.units, added.after.value) == (3, pytest.approx(1 / 3))


def test_each_side_has_the_count_that_its_rate_is_of() -> None:
    before = predict("Hello Ann. Are you there? Yes.", "hello, Ann, are you there yes")
    after = predict("Hello Ann. Are you there? Yes.", "Hello, Ann. Are, you there? Yes.")
    found = named(analyse(after, before=(before,)).slices["writing"])
    added, missing = found["marks added"], found["marks missing or wrong"]
    assert (added.before.units, added.units, added.after.units) == (2, 5, None)
    assert (added.before.value, added.after.value) == (0.5, 0.4)
    assert added.has_own_units
    assert not missing.has_own_units


def test_names_that_cannot_be_told_are_listed_with_the_reason() -> None:
    why = {
        "THEN MARY PAID": "the references have no case that tells them",
        "Then mary paid": "no word of the references is capitalised inside a sentence",
        "Then Mary paid": None,
    }
    assert {text: analyse(predict(text, text)).not_measured.get("names") for text in why} == why
    german = predict("Wir sehen das Haus", "Wir sehen das Haus", language="de")
    assert analyse(german).not_measured["names"] == "the language capitalises every noun"


def test_one_language_is_said_of_the_main_source_where_others_are_scored() -> None:
    scored = [scored_alike({}, {"a": predict("un", "un", language=code)}) for code in ("fr", "en")]
    found = break_down(
        scored[0],
        normalize=ENGLISH,
        sources={"english": scored[1]},
        training_words=None,
        resampling=Resampling(10),
    )
    assert found.not_measured["language"] == "all of the main source is fr"


def test_position_follows_the_words_through_the_window() -> None:
    row = predict("a b c d e f g h i j", "a b c d e f g h x y", duration_s=20.0)
    slices = analyse(row).slices["position"]
    assert [(one.name, one.units, one.after.value) for one in slices] == [
        ("0 to 5 s", 2, 0.0),
        ("5 to 10 s", 3, 0.0),
        ("10 to 15 s", 2, 0.0),
        ("15 to 20 s", 3, pytest.approx(2 / 3)),
    ]


def test_words_added_to_an_empty_reference_are_counted() -> None:
    rows = [predict("", "thank you"), predict("a b c", "a b c", "b", duration_s=20)]
    assert sum(one.units for one in analyse(*rows).slices["position"]) == 3
    assert analyse(*rows).confusions["added"][0].after == 1


def test_confusions_are_counted_before_and_after() -> None:
    before = (predict("colder sea", "colter see"), predict("colder sea", "colter sea", "b"))
    after = (predict("colder sea", "colder see"), predict("colder sea", "sea", "b"))
    found = analyse(*after, before=before).confusions
    listed = {
        name: [(c.reference, c.hypothesis, c.before, c.after) for c in rows] for name, rows in found.items()
    }
    assert listed["substituted"] == [("colder", "colter", 2, 0), ("sea", "see", 1, 1)]
    assert listed["left_out"] == [("colder", "", 0, 1)]
    assert "added" not in listed
    assert listed["characters"] == [("a", "e", 1, 1), ("d", "t", 2, 0)]


def test_characters_of_another_word_are_no_confusions() -> None:
    found = analyse(predict("the cat sat", "the elephant sit"))
    assert [(one.reference, one.hypothesis) for one in found.confusions["characters"]] == [("a", "i")]


def test_a_model_that_is_as_sure_as_right_is_calibrated() -> None:
    said = "a b c d e f g h i j"
    rows = [predict(said, said[:-1] + "x", str(n), mean_log_probability=float(np.log(0.9))) for n in range(5)]
    curve = calibration(rows, Resampling(10))
    assert curve.error == pytest.approx(0.0)
    assert [(one.name, one.utterances, one.words, one.right.value) for one in curve.bins] == [
        ("0.9 to 0.95", 5, 50, 0.9)
    ]


def test_a_model_that_is_too_sure_is_told_by_how_much() -> None:
    rows = [predict("a b", "a x", mean_log_probability=0.0)]
    assert calibration(rows, Resampling(10)).error == 0.5


def test_added_words_are_words_of_the_transcript_that_are_wrong() -> None:
    (one,) = calibration([predict("a b", "a b x y", mean_log_probability=0.0)], Resampling(10)).bins
    assert (one.words, one.right.value, one.wer.value) == (4, 0.5, 1.0)
    left_out = [predict("a b c d", "a b", mean_log_probability=0.0)]
    assert calibration(left_out, Resampling(10)).error == 0.0


def test_what_cannot_be_measured_says_why() -> None:
    found = analyse(predict("one", "one"))
    assert found.not_measured == {
        "duration": "all of it is 2 to 5 s",
        "snr": "no recording has noise to measure",
        "speaking_rate": "no durations are known",
        "speaker": "the rows name no speakers",
        "language": "all of it is en",
        "source": "all of it is main source",
        "position": "all of it is 0 to 5 s",
        "rarity": "the words of the training text were not counted",
        "names": "the references have no case that tells them",
        "writing": "the references have neither case nor marks",
        "calibration": "the search told no confidence",
    }
