"""Each kind of target, token by token: timestamps, previous text, silence, a scored prefix; and the masks."""

import dataclasses

import pytest

from whisper_peft.data.targets.labels import IGNORED, MAX_PREVIOUS_TOKENS, Labeller, TargetKind
from whisper_peft.data.targets.neighbours import with_previous_text
from whisper_peft.data.targets.no_speech import NoSpeech
from whisper_peft.data.targets.timestamps import place
from whisper_peft.recipe.sections import TargetSection
from whisper_peft.types import MAX_LABEL_TOKENS, Segment, Utterance

TIMED = TargetKind(timestamps=True)
TOLD = TargetKind(previous_text=True)
BOTH = TargetKind(timestamps=True, previous_text=True)


@pytest.fixture
def french(base):
    return Labeller(base.tokenizer, multilingual=True, language="fr")


@pytest.fixture
def english_only(tiny_en):
    return Labeller(tiny_en.tokenizer, multilingual=False, language=None)


def scoring_prefix(labeller):
    section = TargetSection(learn_prefix=True)
    return Labeller(
        labeller.tokenizer, multilingual=labeller.multilingual, language=labeller.language, targets=section
    )


def row(text="Oui.", **fields):
    return Utterance("a", b"", text, **fields)


def written(labeller, target):
    """Return what is read and what is scored, in words; a masked position is empty."""
    name = labeller.tokenizer.convert_ids_to_tokens
    read = " ".join(name(list(target.decoder_input_ids)))
    scored = " ".join("_" if label == IGNORED else name(label) for label in target.labels)
    return read, scored


GOLDEN = {
    "plain": (
        TargetKind(),
        "<|startoftranscript|> <|fr|> <|transcribe|> <|notimestamps|> ĠOui .",
        "_ _ _ ĠOui . <|endoftext|>",
    ),
    "timestamps": (
        TIMED,
        "<|startoftranscript|> <|fr|> <|transcribe|> <|0.00|> ĠOui . <|1.24|>",
        "_ _ <|0.00|> ĠOui . <|1.24|> <|endoftext|>",
    ),
    "previous text": (
        TOLD,
        "<|startofprev|> ĠNon . <|startoftranscript|> <|fr|> <|transcribe|> <|notimestamps|> ĠOui .",
        "_ _ _ _ _ _ ĠOui . <|endoftext|>",
    ),
    "both": (
        BOTH,
        "<|startofprev|> ĠNon . <|startoftranscript|> <|fr|> <|transcribe|> <|0.00|> ĠOui . <|1.24|>",
        "_ _ _ _ _ <|0.00|> ĠOui . <|1.24|> <|endoftext|>",
    ),
}


@pytest.mark.parametrize("kind", GOLDEN)
def test_multilingual_targets_token_by_token(french, kind):
    asked, read, scored = GOLDEN[kind]
    target = french.window(place([row(previous_text="Non.")], [1.234]), asked)
    assert written(french, target) == (read, scored)


ENGLISH = {
    "plain": (
        TargetKind(),
        "<|startoftranscript|> <|notimestamps|> ĠYes .",
        "_ ĠYes . <|endoftext|>",
    ),
    "timestamps": (
        TIMED,
        "<|startoftranscript|> <|0.00|> ĠYes . <|1.24|>",
        "<|0.00|> ĠYes . <|1.24|> <|endoftext|>",
    ),
    "previous text": (
        TOLD,
        "<|startofprev|> ĠNo . <|startoftranscript|> <|notimestamps|> ĠYes .",
        "_ _ _ _ ĠYes . <|endoftext|>",
    ),
}


@pytest.mark.parametrize("kind", ENGLISH)
def test_english_only_targets_token_by_token(english_only, kind):
    asked, read, scored = ENGLISH[kind]
    target = english_only.window(place([row("Yes.", previous_text="No.")], [1.234]), asked)
    assert written(english_only, target) == (read, scored)


def test_a_scored_prefix_is_all_but_the_start_and_what_came_before(french, english_only):
    placed = place([row(previous_text="Non.")], [1.234])
    for kind, scored in (
        (TargetKind(), "<|fr|> <|transcribe|> <|notimestamps|> ĠOui . <|endoftext|>"),
        (TIMED, "<|fr|> <|transcribe|> <|0.00|> ĠOui . <|1.24|> <|endoftext|>"),
        (TOLD, "_ _ _ <|fr|> <|transcribe|> <|notimestamps|> ĠOui . <|endoftext|>"),
    ):
        labeller = scoring_prefix(french)
        assert written(labeller, labeller.window(placed, kind))[1] == scored
    labeller = scoring_prefix(english_only)
    assert written(labeller, labeller(row("Yes.")))[1] == "<|notimestamps|> ĠYes . <|endoftext|>"


def test_stitched_utterances_keep_their_own_times_and_segments(french):
    said = (Segment(0.2, 1.0, "Oui."), Segment(1.5, 2.1, "Non."))
    rows = [row("Bonjour."), row("Oui. Non.", segments=said)]
    target = french.window(place(rows, [3.0, 2.5]), TIMED)
    text = french.tokenizer.decode(target.labels[2:-1], decode_with_timestamps=True)
    assert text == "<|0.00|> Bonjour.<|3.00|><|3.20|> Oui.<|4.00|><|4.50|> Non.<|5.10|>"


def test_whispers_own_tokenizer_reads_the_timestamps_back(french):
    said = (Segment(0.2, 1.0, "Oui."), Segment(1.5, 2.1, "Non."))
    target = french.window(place([row("Oui. Non.", segments=said)], [2.5]), TIMED)
    offsets = french.tokenizer.decode(target.labels[2:-1], output_offsets=True)["offsets"]
    read = [(one["text"].strip(), *one["timestamp"]) for one in offsets]
    assert read == [("Oui.", pytest.approx(0.2), pytest.approx(1.0)), ("Non.", pytest.approx(1.5), 2.1)]


def test_task_and_language_of_the_row_stand_in_every_kind(french):
    other = row(language="de", task="translate", previous_text="Non.")
    for kind in (TargetKind(), TIMED, TOLD, BOTH):
        read, _ = written(french, french.window(place([other], [1.0]), kind))
        assert "<|startoftranscript|> <|de|> <|translate|>" in read


def test_previous_text_is_cut_from_the_left_to_half_of_the_positions(english_only):
    told = row("Yes.", previous_text=" ".join(f"word{n}" for n in range(400)))
    read = english_only.window(place([told], [1.0]), TOLD).decoder_input_ids
    assert read.index(english_only.prefix(told)[0]) == MAX_PREVIOUS_TOKENS + 1 == 224
    assert english_only.tokenizer.decode(read[1 : MAX_PREVIOUS_TOKENS + 1]).endswith("word399")


@pytest.mark.parametrize("words", [3, 250, 400, 440, 446])
def test_previous_text_takes_no_more_than_the_decoder_has_room_for(english_only, words):
    told = row("yes " * words, previous_text="no " * 300)
    target = english_only.window(place([told], [1.0]), TOLD)
    assert len(target.labels) == len(target.decoder_input_ids) <= MAX_LABEL_TOKENS
    assert target.labels[-words - 1 :] == english_only(told).labels[-words - 1 :]


SAID_BEFORE = (Segment(0.2, 1.0, "Yes."), Segment(1.5, 4.1, "no doubt"))


def test_the_text_before_has_its_times_where_the_window_has_and_only_there(french):
    told = row(previous_text="Yes. no doubt", previous_segments=SAID_BEFORE)
    timed, _ = written(french, french.window(place([told], [1.234]), BOTH))
    before = "<|startofprev|> <|0.20|> ĠYes . <|1.00|> <|1.50|> Ġno Ġdoubt <|4.10|>"
    assert timed == f"{before} <|startoftranscript|> <|fr|> <|transcribe|> <|0.00|> ĠOui . <|1.24|>"
    plain, _ = written(french, french.window(place([told], [1.234]), TOLD))
    assert plain.startswith("<|startofprev|> ĠYes . Ġno Ġdoubt <|startoftranscript|>")


@pytest.mark.parametrize("segments", [(), SAID_BEFORE])
def test_a_timed_window_is_told_what_the_window_before_was_taught_to_write(english_only, segments):
    first, second = with_previous_text(
        Utterance(f"19-198-000{n}", b"", "Yes. no doubt", speaker_id="19", duration_s=4.5, segments=segments)
        for n in range(2)
    )
    taught = english_only.window(place([first], [4.5]), TIMED).labels
    told = english_only.window(place([second], [4.5]), BOTH).decoder_input_ids
    assert told[1 : len(taught)] == taught[:-1]
    assert english_only.tokenizer.convert_ids_to_tokens(told[len(taught)]) == "<|startoftranscript|>"


def test_the_text_before_is_never_scored_with_its_times(english_only):
    told = row("Yes.", previous_text="Yes. no doubt", previous_segments=SAID_BEFORE)
    for kind in (TOLD, BOTH):
        scored = [label for label in english_only.window(place([told], [1.0]), kind).labels if label >= 0]
        alone = TargetKind(timestamps=kind.timestamps)
        assert scored == [one for one in english_only.window(place([told], [1.0]), alone).labels if one >= 0]


def test_timed_text_before_is_cut_from_the_left_to_half_of_the_positions(english_only):
    words = [f"word{n}" for n in range(400)]
    said = tuple(Segment(0.06 * n, 0.06 * n + 0.04, word) for n, word in enumerate(words))
    told = row("Yes.", previous_text=" ".join(words), previous_segments=said)
    read = english_only.window(place([told], [1.0]), BOTH).decoder_input_ids
    assert read.index(english_only.prefix(told, timestamps=True)[0]) == MAX_PREVIOUS_TOKENS + 1
    last = english_only.tokenizer.decode(read[: MAX_PREVIOUS_TOKENS + 1], decode_with_timestamps=True)
    assert last.endswith("<|23.94|> word399<|23.98|>")


def test_previous_text_is_written_as_the_text_is(tiny_en):
    labeller = Labeller(tiny_en.tokenizer, multilingual=False, language=None, text_case="sentence")
    target = labeller.window(place([row("YES", previous_text="NO DOUBT")], [1.0]), TOLD)
    assert labeller.tokenizer.decode(target.decoder_input_ids) == (
        "<|startofprev|> No doubt<|startoftranscript|><|notimestamps|> Yes"
    )
    timed = row("YES", previous_text="NO DOUBT", previous_segments=(Segment(0.0, 1.0, "NO DOUBT"),))
    target = labeller.window(place([timed], [1.0]), BOTH)
    assert labeller.tokenizer.decode(target.decoder_input_ids, decode_with_timestamps=True).startswith(
        "<|startofprev|><|0.00|> No doubt<|1.00|><|startoftranscript|>"
    )


def test_the_longest_kind_of_target_counts_in_the_row_check(french):
    timed = Labeller(
        french.tokenizer, multilingual=True, language="fr", targets=TargetSection(timestamps=0.1)
    )
    one = row(segments=(Segment(0, 1, "Oui."),), duration_s=2.0)
    assert timed.length(one) == french.length(one) + 1
    assert timed.length(one) == len(french.window(place([one], [2.0]), TIMED).labels)


def test_nobody_speaking_is_written_as_nothing(french, english_only):
    silent = NoSpeech("n", b"", "", language="fr")
    assert written(french, french(silent)) == (
        "<|startoftranscript|> <|fr|> <|transcribe|> <|notimestamps|>",
        "_ _ _ <|endoftext|>",
    )
    timed = french.window(place([silent], [3.0]), TIMED)
    assert written(french, timed)[1] == "_ _ <|0.00|> <|endoftext|>"
    english = dataclasses.replace(silent, language=None)
    assert written(english_only, english_only(english))[1] == "_ <|endoftext|>"
