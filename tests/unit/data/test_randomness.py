"""Generators that depend on the utterance only."""

from itertools import pairwise

from whisper_peft.data.randomness import named_rng, utterance_rng


def test_draws_are_frozen_for_every_machine_and_version():
    assert utterance_rng(42, 0, "1234-5678-0001").integers(1_000_000, size=3).tolist() == [
        151326,
        346212,
        831932,
    ]


def test_seed_epoch_and_id_each_change_the_draws():
    draws = {utterance_rng(*key).random() for key in [(1, 0, "a"), (2, 0, "a"), (1, 1, "a"), (1, 0, "b")]}
    assert len(draws) == 4


def test_fields_do_not_run_into_each_other():
    assert utterance_rng(1, 23, "4").random() != utterance_rng(12, 3, "4").random()
    assert utterance_rng(1, 2, "3 4").random() != utterance_rng(1, 23, " 4").random()
    assert named_rng(b"a", "bc").random() != named_rng(b"ab", "c").random()


def test_neighbouring_utterances_draw_independently():
    draws = [utterance_rng(0, 0, str(number)).random() for number in range(4000)]
    assert abs(sum(draws) / 4000 - 0.5) < 0.02
    assert abs(sum(a * b for a, b in pairwise(draws)) / 3999 - 0.25) < 0.02
