"""Whatever a model writes, no word of a reference changes."""

from hypothesis import given
from hypothesis import strategies as st

from whisper_peft.data.text.restoration import restore_text, word_key, written_words

WORDS = st.sampled_from(
    ["I", "I'M", "THE", "DOGS'", "WELL-KNOWN", "TWENTY", "ÉTÉ", "ẞ", "İ", "42", "-", "U.S.", "ΣΑΣ"]
)
SAID = st.lists(WORDS, max_size=8).map(" ".join)
WRITTEN = st.lists(
    st.tuples(WORDS, st.sampled_from(["", ".", ",", "?!", '"', "…"]), st.booleans()), max_size=8
).map(lambda words: " ".join((word.title() if title else word.lower()) + mark for word, mark, title in words))


@given(SAID, WRITTEN)
def test_every_word_of_the_reference_stays(reference, transcript):
    restored = restore_text(reference, transcript)
    assert [*map(word_key, written_words(restored))] == [*map(word_key, written_words(reference))]


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_text_at_all_breaks_it(reference, transcript):
    restored = restore_text(reference, transcript)
    assert len(written_words(restored)) == len(written_words(reference))
