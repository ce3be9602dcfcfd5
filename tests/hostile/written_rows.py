"""Rows of a manifest whose recording is fine, and whose writing is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.hostile.recordings import FINE

SPEECH = "speech.flac"
"""The recording that they name: the first prompt."""


@dataclass(frozen=True)
class Row:
    """A line of a `metadata.jsonl`.

    Attributes:
        name: What it is called in tests and tables.
        what: What is wrong with it.
        outcome: The reason it is counted under, or `FINE`.
        line: The bytes of the line.
        text: What has to come out where it is fine.
    """

    name: str
    what: str
    outcome: str
    line: bytes
    text: str = ""


def rows() -> tuple[Row, ...]:
    """Return all of them."""
    groups = (_kept_texts, _refused_texts, _refused_rows, _kept_rows)
    return tuple(row for group in groups for row in group())


def _of(text: Any, **columns: Any) -> bytes:
    return json.dumps({"file_name": SPEECH, "text": text, **columns}).encode()


def _kept_texts() -> Iterator[Row]:
    odd = {
        "text-rtl": ("مرحبا بالعالم، كيف حالكم؟ \u200f!", "right-to-left text"),
        "text-bidi": ("safe \u202egnp.exe\u202c text", "text that overrides its direction"),
        "text-combining": ("E\u0301te\u0301 \u1e9b\u0323 क़ \u0e01\u0e33", "combining marks, not normalised"),
        "text-zalgo": ("Z" + "\u0301\u0316\u0334" * 20 + "algo", "60 combining marks on a letter"),
        "text-emoji": (
            "Hello \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1eb\U0001f1f7",
            "emoji with joiners",
        ),
        "text-nul": ("before\0after", "a NUL in the text"),
        "text-controls": ("a\x07b\x1b[31mred\x1b[0m\x7f\x08c", "control characters, also of terminals"),
        "text-newlines": ("two\nlines\r\nand\ttabs\u2028and more", "newlines and tabs in the text"),
        "text-bom": ("a\ufeffb\u200bc", "a BOM and a zero-width space in the text"),
        "text-html": ('<script>alert("x")</script><img src=x onerror=alert(1)> & </td>', "HTML in the text"),
        "text-template": ("{{ 7 * 7 }} {% raw %} ${HOME} %s %(x)s {0}", "templates and formats in the text"),
        "text-markdown": ("| a | b |\n|---|---|\n```\n# [x](javascript:alert(1))", "markdown in the text"),
        "text-number": (42, "a number instead of a text"),
        "text-digits": ("9" * 300, "300 digits"),
    }
    for name, (text, what) in odd.items():
        yield Row(name, what, FINE, _of(text), str(text))


def _refused_texts() -> Iterator[Row]:
    empty = {
        "text-empty": ("", "an empty text"),
        "text-blank": (" \t\u3000\n", "a text of white space"),
        "text-null": (None, "null instead of a text"),
        "text-list": (["a", "b"], "a list instead of a text"),
        "text-nan": (float("nan"), "NaN instead of a text"),
    }
    for name, (text, what) in empty.items():
        yield Row(name, what, "empty-text", _of(text))
    yield Row("text-absent", "a row without its text", "empty-text", b'{"file_name": "speech.flac"}')
    for token in ("<|endoftext|>", "<|fr|>", "<|0.00|>"):
        what = f"Whisper's own token {token} in the text"
        yield Row(f"text-{token.strip('<|>')}", what, "special-token", _of(f"words {token} words"))
    yield Row("text-3000", "a text of 3000 characters", "label-too-long", _of("words on " * 333 + "and"))
    yield Row("text-10-mb", "a text of 10 MB", "label-too-long", _of("word " * 2_000_000))
    yield Row("text-10-mb-word", "a word of 10 MB", "label-too-long", _of("a" * 10_000_000))
    half = b'{"file_name": "speech.flac", "text": "half \\ud83d a character"}'
    yield Row("text-surrogate", "half a character (a lone surrogate)", "not-utf8", half)


def _refused_rows() -> Iterator[Row]:
    bad = {
        "json-cut": (_of("cut")[:-5], "a line cut in the middle"),
        "json-list": (b'["speech.flac", "words"]', "a list instead of a row"),
        "json-number": (b"42", "a number instead of a row"),
        "json-deep": (b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "100,000 nested lists"),
        "json-huge-int": (
            b'{"file_name": "speech.flac", "text": ' + b"9" * 10_000 + b"}",
            "a number of 10,000 digits",
        ),
        "json-single-quotes": (b"{'file_name': 'speech.flac', 'text': 'words'}", "a row in Python's quotes"),
        "json-two-rows": (_of("one") + _of("two"), "two rows in a line"),
        "json-empty": (b"{}", "a row without columns"),
        "audio-null": (b'{"file_name": null, "text": "words"}', "null instead of a path"),
        "audio-number": (b'{"file_name": 7, "text": "words"}', "a number instead of a path"),
        "audio-object": (
            b'{"file_name": {"path": "../../etc/passwd"}, "text": "words"}',
            "an object instead of a path",
        ),
        "audio-absent": (b'{"text": "words"}', "a row without its path"),
    }
    for name, (line, what) in bad.items():
        yield Row(name, what, "malformed-row", line)
    latin = '{"file_name": "speech.flac", "text": "été"}'.encode("latin-1")
    yield Row("json-latin-1", "a line in latin-1", "not-utf8", latin)
    for name, times, what in (
        ("times-backward", {"start": 2, "end": 1}, "a stretch that ends before it begins"),
        ("times-negative", {"start": -1, "end": 1}, "a stretch from before the recording"),
        ("times-late", {"start": 100, "end": 101}, "a stretch behind the recording's end"),
        ("times-over", {"start": 1, "end": 60}, "a stretch that outlasts the recording"),
        ("times-nan", {"start": float("nan"), "end": float("-inf")}, "a stretch to minus infinity"),
        ("times-words", {"start": "one", "end": "two"}, "times in words"),
        ("times-vast", {"start": 1e300, "end": 1e301}, "a stretch at 1e300 s"),
    ):
        yield Row(name, what, "bad-times", _of("words", **times))


def _kept_rows() -> Iterator[Row]:
    yield Row("id-html", "HTML in the id", FINE, _of("Words.", id='<b onclick="x">&amp;'), "Words.")
    yield Row("id-path", "a path as the id", FINE, _of("Words.", id="../../../tmp/x"), "Words.")
    yield Row("id-nul", "a NUL and newlines in the id", FINE, _of("Words.", id="a\0b\r\nc"), "Words.")
    yield Row("id-long", "an id of 100,000 characters", FINE, _of("Words.", id="i" * 100_000), "Words.")
    yield Row(
        "extra-columns",
        "a thousand columns more",
        FINE,
        _of("Words.", **{f"c{n}": n for n in range(1000)}),
        "Words.",
    )
    yield Row(
        "key-twice",
        "a column twice in a row",
        FINE,
        b'{"text": "No.", "file_name": "speech.flac", "text": "Yes."}',
        "Yes.",
    )
