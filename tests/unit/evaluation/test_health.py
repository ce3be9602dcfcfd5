"""Verdicts: each kind of damage is named, what is sound is called good, and nothing unmeasured ever is."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.evaluation.health_cases import (
    SENTENCES,
    half_deaf,
    joined,
    lower,
    pair,
    sounds,
    windows,
)
from whisper_peft.evaluation.health.checks import CHECKS
from whisper_peft.evaluation.health.evidence import (
    Hearing,
    JoinedUtterance,
    Sound,
    Written,
)
from whisper_peft.evaluation.health.hearing import errors_by_part
from whisper_peft.evaluation.health.judging import Evidence, judge
from whisper_peft.evaluation.health.sound_checks import (
    check_hallucination,
    check_long_form,
    check_timestamps,
)
from whisper_peft.evaluation.health.speech_checks import (
    check_language,
    check_leakage,
    check_retention,
    check_target,
)
from whisper_peft.evaluation.health.thresholds import LIMITS, Limit
from whisper_peft.evaluation.health.values import Figure
from whisper_peft.evaluation.health.version_checks import check_context, check_quantised
from whisper_peft.evaluation.health.writing_checks import check_loops, check_style
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import score
from whisper_peft.types import EvalResult


def test_a_clear_gain_is_good_and_a_clear_loss_bad():
    assert check_target(pair(before=half_deaf)).verdict == "good"
    assert check_target(pair(after=half_deaf)).verdict == "bad"
    figure = check_target(pair(before=half_deaf)).figures[0]
    assert (figure.name, figure.after, figure.count) == ("WER", 0.0, len(SENTENCES))
    assert figure.change[0] <= figure.rise <= figure.change[1] < 0


def test_no_change_and_few_utterances_are_no_certain_gain():
    assert check_target(pair()).verdict == "watch"
    few = check_target(pair(before=half_deaf, references=SENTENCES[:19]))
    assert (few.verdict, "fewer than 20" in few.why) == ("watch", True)


FEW, ENOUGH = SENTENCES[:9], SENTENCES[:10]


@pytest.mark.parametrize(
    "check",
    [
        check_retention,
        check_style,
        lambda heard: check_loops([heard]),
        lambda heard: check_quantised(heard, None, "none", ""),
        lambda heard: check_language(replace(heard, written=(Written("en", 0.5),) * 2), "transcribe"),
        lambda heard: check_hallucination(*[[Sound("silence", "", False, 0.9)] * len(heard.after)] * 2),
        lambda heard: check_long_form(*[joined(1)[: len(heard.after)]] * 2, None),
        lambda heard: check_timestamps(*[windows(*[True] * len(heard.after))] * 2),
        lambda heard: check_context(*[replace(result(0.1), utterances=len(heard.after))] * 2),
    ],
)
def test_of_few_items_nothing_is_good(check):
    few, enough = check(pair(references=FEW)), check(pair(references=ENOUGH))
    assert (few.verdict, enough.verdict) == ("watch", "good")
    assert "fewer than 10" in few.why
    assert few.todo.startswith("hear more")


def test_few_rows_of_which_none_was_learned_are_all_that_were_scored():
    assert check_leakage(pair(references=FEW), frozenset(), frozenset()).verdict == "good"


def test_forgotten_speech_is_bad_and_kept_speech_good():
    assert check_retention(pair(after=half_deaf)).verdict == "bad"
    assert check_retention(pair()).verdict == "good"
    assert check_retention(pair(before=half_deaf)).why == "other speech is understood better than before"


def test_a_loss_that_may_be_chance_is_watched_and_tells_to_hear_more():
    def once(text):
        return half_deaf(text) if text == SENTENCES[0] else text

    small = check_retention(pair(after=once, references=SENTENCES[:3]))
    assert small.verdict == "watch"

    def swapped(text):
        return half_deaf(text) if text == SENTENCES[1] else text

    unsure = check_retention(pair(before=once, after=swapped, references=SENTENCES[:4]))
    assert (unsure.verdict, unsure.why) == ("watch", "too little was heard to rule out a loss")
    assert unsure.todo.startswith("hear more")


def test_a_model_tuned_on_its_test_set_is_named():
    names = frozenset(map(str, range(len(SENTENCES))))
    found = check_leakage(pair(before=half_deaf), names, frozenset())
    assert (found.verdict, "tuned on its test set" in found.why) == ("bad", True)
    by_sentence = check_leakage(pair(before=half_deaf), frozenset(), names)
    assert (by_sentence.verdict, "sentences" in by_sentence.why) == ("bad", True)
    assert check_leakage(pair(before=half_deaf), frozenset(), frozenset()).verdict == "good"
    assert check_leakage(pair(before=half_deaf), frozenset(), frozenset({"0"})).verdict == "watch"


def test_a_gain_on_learned_rows_alone_is_named():
    learned = frozenset(map(str, range(10)))

    def by_heart(text):
        return text if SENTENCES.index(text) < 10 else half_deaf(text)

    found = check_leakage(pair(before=half_deaf, after=by_heart), frozenset(), learned)
    assert found.verdict == "bad"
    assert "the gain is on the learned rows" in found.why
    assert found.figures[0].name == "WER of leaked rows"
    leaked, clean = (one for one in found.figures if one.name.startswith("WER"))
    assert (leaked.count, clean.count) == (10, len(SENTENCES) - 10)
    assert leaked.rise < clean.rise == 0
    real = check_leakage(pair(before=half_deaf), frozenset(), learned)
    assert real.verdict == "watch"


def test_lost_case_marks_and_digits_are_bad_where_the_references_have_them():
    found = check_style(pair(after=lower))
    assert found.verdict == "bad"
    for lost in ("start with a capital", "end in . ? !", "commas"):
        assert lost in found.why
    assert found.how_to == "text-style"
    assert check_style(pair()).verdict == "good"


def test_a_style_that_the_references_have_is_watched_and_not_bad():
    found = check_style(pair(before=str.capitalize, after=str.lower, references=[*map(lower, SENTENCES)]))
    assert (found.verdict, "as the references have" in found.why) == ("watch", True)


def test_dropped_and_spelled_digits_are_named():
    dropped = check_style(pair(after=lambda text: re.sub(r" \d+", "", text)))
    assert dropped.verdict == "bad"
    assert "digits" in dropped.why
    assert "numbers are no longer written as said" in dropped.why


@pytest.mark.parametrize(
    ("write", "sign"),
    [
        (lambda text: f"{text} {'and so on ' * 40}", "repeat themselves"),
        (lambda text: "Thank you for watching.", "equal to that of other speech"),
        (lambda text: "", "nothing is written"),
        (lambda text: f"{text} {text} {text}", "more word errors than words"),
    ],
)
def test_loops_fixed_sentences_and_silence_are_named(write, sign):
    found = check_loops([pair(), pair(after=write)])
    assert (found.verdict, sign in found.why) == ("bad", True)


def test_transcripts_that_do_not_end_are_named():
    healthy = pair()
    looping = replace(
        healthy, after=tuple(replace(one, looping=True) for one in healthy.after[:4]) + healthy.after[4:]
    )
    assert check_loops([looping]).verdict == "bad"
    assert check_loops([healthy]).verdict == "good"
    assert check_loops([pair(before=lambda text: text * 3)]).verdict == "good"


def test_a_good_sentence_says_no_more_than_its_figures():
    louder = check_hallucination(sounds("you", "", "", ""), sounds("you know", "", "", ""))
    assert (louder.verdict, louder.figures[0].name) == ("good", "words for each clip of silence")
    assert louder.why == "more words for each clip of silence than before, but by less than the limit of 1"
    quieter = check_hallucination(sounds("you know", "", "", ""), sounds("you", "", "", ""))
    assert quieter.why == "less is written than before where nobody speaks"
    looping = replace(pair(), after=tuple(replace(one, looping=True) for one in pair().after))
    looping = replace(looping, before=looping.after)
    assert (check_loops([looping]).why, check_loops([looping]).figures[0].after) == ("as many as before", 1.0)
    longer = check_long_form(
        [JoinedUtterance("a", 10, 1000)] * 12, [JoinedUtterance("a", 20, 1000)] * 12, None
    )
    assert (longer.verdict, longer.why) == ("good", "it rose, but by less than the limit of 2 points")
    held = {"expected": (0.75, 0.2)}
    unsure = check_timestamps(windows(*[True] * 12), windows(*[True] * 12, **held))
    assert unsure.verdict == "good"
    assert (
        unsure.why
        == "timestamps are less likely where utterances end, but by less than the limit of 15 points"
    )
    assert unsure.figures[0].after == pytest.approx(0.75)


def test_good_speech_and_style_say_how_they_moved():
    def once(text):
        return text.replace("bring", "ring") if text == many[0] else text

    many = [f"{text} {number}" for number in range(10) for text in SENTENCES]
    risen = check_retention(pair(after=once, references=many))
    assert (risen.verdict, risen.why) == ("good", "it rose, but by less than the limit of 1 point")
    fallen = check_retention(pair(before=once, references=many))
    assert (fallen.verdict, fallen.why) == ("good", "it fell, which may be chance")

    def uncapitalised(text):
        return text[0].lower() + text[1:] if text in SENTENCES[:5] else text

    other = check_style(pair(before=uncapitalised))
    assert (other.verdict, other.figures[0].name) == ("good", "transcripts that start with a capital")
    assert other.why == (
        "more transcripts that start with a capital than before, but by less than the limit of 20 points"
    )
    wanted = check_style(pair(before=lambda text: text[0].lower() + text[1:]))
    assert (wanted.verdict, wanted.figures[0].name) == ("good", "transcripts that start with a capital")
    assert wanted.why == "more transcripts that start with a capital, as the references have"


def test_the_deciding_figure_stands_first():
    digits = check_style(pair(after=lambda text: re.sub(r" \d+", "", text)))
    assert digits.figures[0].name in digits.why.split(";")[0]
    sentences = check_leakage(pair(), frozenset(), frozenset(map(str, range(len(SENTENCES)))))
    assert sentences.figures[0].name == "scored rows whose sentence was learned"
    empty = check_loops([pair(after=lambda text: "")])
    assert (empty.figures[0].name, empty.figures[0].after) == (LIMITS["empty"].figure, 1.0)
    assert len({one.name for one in empty.figures}) == len(empty.figures) == 5


def test_another_language_is_named():
    written = (Written("fr", 0.5), Written("en", 0.1))
    spoken = pair(written=written)
    spoken = replace(spoken, after=tuple(replace(one, language="fr") for one in spoken.after))
    found = check_language(spoken, "transcribe")
    assert (found.verdict, "English (en) where French (fr) is expected" in found.why) == ("bad", True)
    assert check_language(replace(spoken, written=written[::-1]), "transcribe").verdict == "good"
    assert check_language(spoken, "translate").verdict == "good"
    assert check_language(pair(), "transcribe").verdict == "not measured"


def result(wer):
    counts = {"substitutions": 1, "deletions": 0, "insertions": 0, "hits": 9}
    rates = {"wer": wer, "cer": wer, "wer_raw": wer, "cer_raw": wer, "wer_interval": (wer, wer)}
    about = {"utterances": 30, "normalizer": "english", "language": "en", "audio_context": "full"}
    return EvalResult(**rates, **counts, **about, rtfx=4.0, peak_memory_bytes=1)


def test_a_cut_context_is_good_as_far_as_transcribe_takes_it():
    assert check_context(result(0.10), result(0.104)).verdict == "good"
    assert check_context(result(0.10), result(0.12)).verdict == "watch"
    assert check_context(result(0.10), None).verdict == "not measured"


@pytest.mark.parametrize(
    ("cut", "rtfx", "why"),
    [
        (0.1, 6.0, "costs no words (no interval), and saves time"),
        (0.1, 4.0, "costs no words (no interval), and saves no time"),
        (0.1023, 6.0, "costs 0.23 points, within the limit of 0.5 points (no interval), and saves time"),
        (0.12, 3.0, "costs 2 points, more than the limit of 0.5 points (no interval), and saves no time"),
    ],
)
def test_a_cut_context_saves_what_was_measured(cut, rtfx, why):
    assert check_context(result(0.1), replace(result(cut), rtfx=rtfx)).why == f"the cut context {why}"


def test_what_a_cut_context_costs_has_the_interval_of_the_same_utterances():
    def deaf_to_the_first(text):
        return half_deaf(text) if text == SENTENCES[0] else text

    sides = [result(0.1)] * 2
    unchanged, once, everywhere = (
        check_context(*sides, pair(after=after)) for after in (str, deaf_to_the_first, half_deaf)
    )
    assert unchanged.why == "the cut context costs no words, and saves no time"
    assert once.figures[0].change[0] == 0 < once.figures[0].change[1]
    assert "points (which may be chance), and" in once.why
    assert everywhere.figures[0].change[0] > 0
    assert "chance" not in everywhere.why


def test_what_rounding_costs_is_judged():
    unchanged = check_quantised(pair(), None, "none", "")
    assert (unchanged.verdict, unchanged.why) == ("good", "rounded weights cost no words")
    assert check_quantised(pair(after=half_deaf), None, "none", "").verdict == "bad"
    assert check_quantised(None, None, "none", "why").why == "why"


def test_what_was_not_measured_is_never_good_and_says_why():
    checks = judge(Evidence(target=None, unheard="the speech has gone", unrounded="it has gone"))
    assert {check.verdict for check in checks} == {"not measured"}
    assert {check.name for check in checks} == {*CHECKS} - {"language", "style"}
    assert all(check.why for check in checks)


def test_a_sound_run_is_good_throughout():
    heard = Hearing(
        sounds=tuple(sounds("you", "", "", "")), windows=tuple(windows(*[True] * 10)), joined=tuple(joined(0))
    )
    checks = judge(
        Evidence(
            target=pair(before=lambda text: text.replace("bring", "ring")),
            others=(pair(),),
            before=heard,
            after=heard,
            leaked_recordings=frozenset(),
            full=result(0.1),
            cut=result(0.1),
            rounded=pair(),
        )
    )
    assert {check.name: check.verdict for check in checks if check.verdict != "good"} == {
        "long_form": "watch"
    }
    assert {check.name for check in checks} == {*CHECKS} - {"language"}
    told = judge(Evidence(target=pair(), multilingual=True))
    assert [check.verdict for check in told if check.name == "language"] == ["not measured"]


@pytest.mark.parametrize("name", CHECKS)
def test_every_check_says_what_to_do_and_where_that_is_told(name, root):
    side = CHECKS[name]
    assert side.todo
    assert (root / "docs" / "how-to" / f"{side.how_to}.md").is_file()


def test_the_table_of_the_how_to_is_the_table(root):
    page = (root / "docs" / "how-to" / "check-the-health-of-a-run.md").read_text(encoding="utf-8")
    rows = []
    for limit in LIMITS.values():
        sign = "-" if limit.falls else ""
        bad = "never" if limit.bad is None else f"{sign}{limit.bad}"
        rows.append(f"| {limit.figure} | {sign}{limit.watch} | {bad} | {limit.reason} |")
    assert "\n".join(rows) in page


rates = st.floats(0, 1)


@given(rates, rates, rates, rates)
def test_a_change_for_the_better_is_never_bad(before, after, low, high):
    figure = Figure("WER", "share", before, min(before, after), tuple(sorted((low - 1, high - 1))), 9, "rows")
    assert Limit("WER", 0.01, 0.02, "").judge(figure) == "good"


words = st.lists(st.sampled_from("abcdef"), max_size=6).map(" ".join)


@given(st.lists(words, min_size=1, max_size=5), words)
def test_errors_by_part_are_the_errors_of_the_whole(parts, written):
    counted = errors_by_part(parts, written)
    assert [count for _, count in counted] == [len(part.split()) for part in parts]
    whole = score([" ".join(parts)], [written], normalizer=get_normalizer("none"), bootstrap_samples=100)
    assert sum(errors for errors, _ in counted) == whole.words.errors


def test_an_added_word_counts_where_the_next_word_lies():
    assert errors_by_part(["a b", "c d"], "x y a q c d") == [(3, 2), (0, 2)]
    assert errors_by_part(["a b", "c d"], "a b x c d") == [(0, 2), (1, 2)]
