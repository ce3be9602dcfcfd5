import hashlib

from whisper_peft.data.survey.contents import ContentIndex


def digest(content):
    return hashlib.blake2b(str(content).encode(), digest_size=16).digest()


def test_repeats_within_a_split_and_shared_rows_between_splits_are_told_apart():
    index = ContentIndex()
    for content, split in [("a", 0), ("b", 0), ("a", 1), ("a", 1), ("c", 1), ("b", 0)]:
        index.add(digest(content), content, split)
    assert index.repeated_rows([0, 1]) == 2
    assert index.repeated_rows([1]) == 1
    assert index.shared_rows(0, 1) == 1
    assert index.shared_rows(1, 0) == 2


def test_a_full_index_estimates_what_a_whole_one_counts():
    whole, small = ContentIndex(), ContentIndex(most=1_000)
    for place in range(40_000):
        for index in (whole, small):
            index.add(digest(place % 30_000), str(place), split=int(place >= 20_000))
    assert small.halvings == 5
    assert len(small._first) <= 1_000
    assert whole.repeated_rows([0, 1]) == 0
    assert whole.shared_rows(0, 1) == 10_000
    assert 0.8 < small.shared_rows(0, 1) / 10_000 < 1.2


def test_the_first_row_of_a_content_is_named_with_its_note():
    index = ContentIndex()
    index.add(digest("a"), "naïve 🎧", 0, note=b"yes")
    assert index.add(digest("a"), "later", 1) == ("naïve 🎧", 0, b"yes")
