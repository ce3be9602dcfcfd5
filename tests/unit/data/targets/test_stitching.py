"""Several utterances in one window: no row lost, none too long, languages apart."""

from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.targets.stitching import stitch
from whisper_peft.types import Utterance


def row(name, seconds, text="text", **fields):
    return Utterance(str(name), b"", text, duration_s=seconds, **fields)


@given(lengths=st.lists(st.floats(0.1, 30.0), max_size=200), stretch=st.sampled_from([1.0, 1.25]))
def test_every_row_is_in_one_window_that_holds_it(lengths, stretch):
    rows = [row(number, seconds) for number, seconds in enumerate(lengths)]
    windows = stitch(rows, stretch)
    assert sorted(int(one.id) for window in windows for one in window) == list(range(len(rows)))
    for window in windows:
        assert len(window) == 1 or sum(one.duration_s for one in window) * stretch <= 30


def test_languages_and_tasks_do_not_share_a_window():
    rows = [row(number, 2.0, language=language) for number, language in enumerate(["fr", "en"] * 4)]
    assert [{one.language for one in window} for window in stitch(rows)] == [{"fr"}, {"en"}]
    tasks = [row(number, 2.0, task=task) for number, task in enumerate(["transcribe", "translate"])]
    assert len(stitch(tasks)) == 2


def test_texts_of_a_window_fit_the_decoder():
    rows = [row(number, 1.0, text="word " * 60) for number in range(12)]
    assert max(len(window) for window in stitch(rows)) == 448 // (300 // 2)


def test_a_row_that_cannot_tell_its_length_is_alone():
    rows = [row("known", 1.0), row("unknown", None), row("also", 1.0)]
    assert [[one.id for one in window] for window in stitch(rows)] == [["known", "also"], ["unknown"]]
