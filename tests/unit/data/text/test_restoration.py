"""Restored text has the words of the reference and the case and punctuation of the transcript."""

import pytest

from whisper_peft.data.text.restoration import restore_text, word_key


@pytest.mark.parametrize(
    ("reference", "transcript", "restored"),
    [
        ("WELL BOB IT'S LONDON", "Well, Bob. It's London!", "Well, Bob. It's London!"),
        ("MISTER SMITH OWES TWENTY", "Mr. Smith owes 20.", "Mister Smith owes twenty."),
        ("THE COLOUR OF PARIS", "The color of Paris.", "The colour of Paris."),
        ("WELL IT BEGAN THE MAN", "Well, it begun. The man", "Well, it began the man"),
        ("AND THE MAN SAW I AM", "The man saw I am", "And the man saw I am"),
        ("HE SAID YES SIR", 'He said "Yes" Sir.', 'He said "Yes" Sir.'),
        ("IT ENDED IT BEGAN", "It ended. It begun.", "It ended. It began."),
        ("ONE TWO THREE", "Thank you for watching!", "One two three"),
        ("ONE TWO THREE", "", "One two three"),
        ("", "Thank you.", ""),
        ("HERE  COME\tSPACES", "Here come spaces.", "Here come spaces."),
        ("ÇA VA ÉLODIE", "Ça va, Élodie ?", "Ça va, Élodie ?"),
    ],
)
def test_words_stay_and_their_form_is_taken_where_both_agree(reference, transcript, restored):
    assert restore_text(reference, transcript) == restored


def test_a_word_that_was_left_out_in_front_moves_the_sentence_start():
    assert restore_text("SO WHERE IS PARIS", "where is Paris?") == "So where is Paris?"
    assert restore_text("WHERE IS PARIS", "so where is Paris?") == "Where is Paris?"


def test_numbers_and_abbreviations_are_never_taken_for_words():
    for spoken, written in (("TWENTY", "20"), ("MISTER", "Mr."), ("PERCENT", "%"), ("US", "U.S.")):
        assert word_key(spoken) != word_key(written)


def test_apostrophes_and_hyphens_are_of_the_word():
    assert restore_text("THE DOGS' WELL-KNOWN TRICK", "The dogs wellknown trick.") == (
        "The dogs' well-known trick."
    )
