"""Windows of a pool: rows once, windows without speech at their share, nothing drawn unasked."""

import numpy as np
import pytest

from whisper_peft.data.batches.batching import EpochPlan
from whisper_peft.data.targets.no_speech import NoSpeech
from whisper_peft.data.targets.windowing import Windowing
from whisper_peft.types import Utterance


def rows(count):
    return [
        Utterance(f"19-198-{n:04d}", b"", "TEXT", speaker_id="19", duration_s=4.0, language="en")
        for n in range(count)
    ]


def seconds(window, epoch):
    return sum(row.duration_s for row in window)


def steps(source, windowing, epoch=0, seed=1):
    plan = EpochPlan(rows_per_step=4, window=16, work=seconds, windowing=windowing)
    return list(plan.steps(source, seed=seed, epoch=epoch))


def test_without_targets_the_generator_is_left_as_it_is():
    rng, untouched = np.random.default_rng(0), np.random.default_rng(0)
    assert Windowing()(rows(5), rng) == [(row,) for row in rows(5)]
    assert rng.random() == untouched.random()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_windows_without_speech_are_added_at_their_share(share):
    windows = Windowing(no_speech=share)(rows(100), np.random.default_rng(0))
    added = [window for window in windows if isinstance(window[0], NoSpeech)]
    assert len(added) == pytest.approx(100 * share, abs=1)
    assert len(windows) == 100 + len(added)
    assert len({row.id for (row,) in added}) == len(added)
    assert {row.language for (row,) in added} == {"en"}
    assert windows[-len(added) :] != added


def test_a_small_share_comes_about_over_the_epochs():
    counts = [len(Windowing(no_speech=0.05)(rows(5), np.random.default_rng(n))) - 5 for n in range(400)]
    assert np.mean(counts) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("as_source", [list, iter])
@pytest.mark.parametrize("stitched", [False, True])
def test_every_row_comes_once_beside_what_is_added(as_source, stitched):
    windowing = Windowing(stitched=stitched, long_form=0.5, no_speech=0.2)
    planned = steps(as_source(rows(60)), windowing)
    heard = [row.id for step in planned for row in step.utterances if not isinstance(row, NoSpeech)]
    assert sorted(heard) == [row.id for row in rows(60)]
    assert planned == steps(as_source(rows(60)), windowing)
    assert planned != steps(as_source(rows(60)), windowing, epoch=1)


def test_windows_without_speech_weigh_in_the_steps():
    planned = steps(rows(64), Windowing(no_speech=0.5))
    assert len(planned) == 16
    assert [sum(step.work) for step in planned] == [
        sum(seconds(window, 0) for window in step.windows) for step in planned
    ]
    spread = np.std([sum(step.work) for step in planned]) / np.mean([sum(step.work) for step in planned])
    assert spread < 0.5


def test_processes_get_the_same_windows_as_one():
    for step in steps(rows(40), Windowing(long_form=1.0, no_speech=0.3)):
        dealt = [
            window
            for rank in range(2)
            for part in step.deal(rank=rank, world_size=2, micro_batches=2)
            if part.scored
            for window in part.windows
        ]
        assert sorted(window[0].id for window in dealt) == sorted(window[0].id for window in step.windows)
