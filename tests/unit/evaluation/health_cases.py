"""Pairs of transcripts, sounds and windows, as health is judged by them."""

from __future__ import annotations

from dataclasses import replace

from whisper_peft.evaluation.health.evidence import (
    ExpectedTimestamp,
    JoinedUtterance,
    Pair,
    Sound,
    TimedWindow,
)
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import align_words
from whisper_peft.types import Prediction

NORMALIZE = get_normalizer("english")

NAMES = "Ann Bob Carol Dave Eve Frank Grace Heidi Ivan Judy Nina Oscar Peggy Quinn Rupert Sybil Trent Uma"
THINGS = "apples books chairs desks eggs flags globes hats inks jars keys lamps mugs nuts oars pens rugs saws"

SENTENCES = [
    f"Please ask {name} for {count} {thing}, and bring them to room {count + 90}."
    for count, (name, thing) in enumerate(zip(NAMES.split() * 2, THINGS.split() * 2, strict=True), 11)
]
"""Sentences with case, marks and numbers."""


def predict(reference, hypothesis, name, **fields):
    (counts,) = align_words([NORMALIZE(reference)], [NORMALIZE(hypothesis)])
    return Prediction(
        id=name,
        reference=reference,
        hypothesis=hypothesis,
        duration_s=4.0,
        wer=counts.rate,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        hits=counts.hits,
        **{"language": "en", **fields},
    )


def pair(before=str, after=str, references=SENTENCES, **fields):
    """Return a pair of which both sides are made from the references by functions."""
    sides = [
        tuple(predict(text, write(text), str(place)) for place, text in enumerate(references))
        for write in (before, after)
    ]
    return replace(Pair("speech", *sides, "english"), **fields)


def half_deaf(text):
    return " ".join(text.split()[::2])


def slightly_deaf(text):
    return text.replace("bring", "brings") if "a" in text.split()[2] else text


def lower(text):
    return text.lower().replace(".", "").replace(",", "")


def sounds(*texts, passes=True):
    """Return three clips for each text."""
    kinds = ("silence", "noise", "music", "silence")
    return [Sound(kind, text, passes, 0.5) for kind, text in zip(kinds, texts, strict=True)] * 3


def joined(errors):
    return [JoinedUtterance(str(place), errors, 12) for place in range(12)]


def windows(*formed, distance=0.1, stamps=4, expected=(0.8, 0.2)):
    held = (ExpectedTimestamp(*expected),) * 2
    return [TimedWindow(stamps, one, (distance, distance), held) for one in formed]
