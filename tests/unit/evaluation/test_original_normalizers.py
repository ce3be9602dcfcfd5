"""Our english and basic normalisers write what openai-whisper's write, string by string."""

import json
import random

import pytest

from whisper_peft.evaluation.normalizers import get_normalizer

originals = pytest.importorskip("whisper.normalizers", reason="openai-whisper is not installed")

WORDS = (
    "one two twenty five hundred thousand point oh double triple dollars cents percent half and zero first "
    "third 1960s 20 3.5 $5 £20 €3 mr mrs dr st can't won't it's ma'am 10,000 1,5 o'clock a million [noise] "
    "(uh) um colour analyse don't 7th minus plus & % é ñ ß œ straße İ ½ ² … — « » 2nd 50c nine-eleven"
)


@pytest.fixture(scope="module")
def strings(root):
    """5000 strings: real transcripts, and numbers, titles and signs thrown together."""
    lines = [
        json.loads(line)["text"]
        for language in ("en", "fr")
        for line in (root / "tests/data/prompts" / language / "metadata.jsonl").read_text().splitlines()
    ]
    rng, written = random.Random(0), WORDS.split()
    spoken = [word for line in lines for word in line.split()]
    drawn = (
        " ".join(rng.choice(written if rng.random() < 0.6 else spoken) for _ in range(rng.randint(1, 12)))
        for _ in range(5000 - len(lines))
    )
    return [*lines, *drawn]


# openai-whisper leaves its spelling map open
@pytest.mark.filterwarnings("ignore:.*english.json:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("name", "original"), [("english", "EnglishTextNormalizer"), ("basic", "BasicTextNormalizer")]
)
def test_5000_strings_are_written_as_openai_writes_them(strings, name, original):
    ours, theirs = get_normalizer(name), getattr(originals, original)()
    differing = [text for text in strings if ours(text).strip() != theirs(text).strip()]
    assert len(strings) == 5000
    assert differing == []
