"""What differs between two folders of one export, in words that lead to the file and the field."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whisper_peft.deploy.export_record import RECORD_FILE

LIBRARY_FIELDS = frozenset({"transformers_version", "peft_version"})
"""Fields that tell who wrote a file, and nothing of the model."""

TOKENIZER_FILES = frozenset(
    {"tokenizer.json", "vocab.json", "vocabulary.json", "merges.txt", "added_tokens.json"}
)
"""Files that say which text a token is."""

BLOCK = 1 << 20
"""Bytes that are compared at once."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in an export that is not as it should be.

    Attributes:
        where: A tensor, or a file and the field in it.
        what: What is wrong there.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where} {self.what}"


def file_faults(
    expected: Path,
    found: Path,
    *,
    weights_differ: bool,
    read_fields: Callable[[Path], Mapping[str, Any]] | None,
) -> list[Fault]:
    """Return the differences of two folders, file by file.

    Args:
        expected: What belongs there.
        found: What lies there; its `export.json` is passed by.
        weights_differ: Whether differing tensors have been told, so that their file need not be.
        read_fields: Reads what binary files hold beside weights.
    """
    here, there = _files(found), _files(expected)
    faults = [Fault(name, "is missing") for name in sorted(there.keys() - here.keys())]
    faults += [Fault(name, "does not belong there") for name in sorted(here.keys() - there.keys())]
    binary: list[Fault] = []
    for name in sorted(here.keys() & there.keys()):
        if (place := _first_difference(there[name], here[name])) is None:
            continue
        if name.endswith(".json"):
            faults += _json_faults(name, there[name], here[name])
        elif name.endswith((".txt", ".md")):
            faults.append(Fault(name, _kind(name, "is another text")))
        else:
            binary.append(Fault(name, f"differs beside its weights, first at byte {place:,}"))
    if binary:
        told = list(_field_faults(expected, found, read_fields)) if read_fields else []
        faults += told or ([] if weights_differ else binary)
    return faults


def _files(folder: Path) -> dict[str, Path]:
    names = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path for name, path in names.items() if name != RECORD_FILE}


def _first_difference(a: Path, b: Path) -> int | None:
    """Return the first byte that differs; None where the files are equal."""
    place = 0
    with a.open("rb") as one, b.open("rb") as other:
        while True:
            here, there = one.read(BLOCK), other.read(BLOCK)
            if here != there:
                pairs = enumerate(zip(here, there, strict=False))
                return place + next((i for i, (x, y) in pairs if x != y), min(len(here), len(there)))
            if not here:
                return None
            place += len(here)


def _field_faults(
    expected: Path, found: Path, read_fields: Callable[[Path], Mapping[str, Any]]
) -> Iterator[Fault]:
    try:
        here = read_fields(found)
    except Exception:  # damaged bytes break any parser; the file itself is told then
        return
    yield from _mapping_faults("", read_fields(expected), here)


def _json_faults(name: str, expected: Path, found: Path) -> Iterator[Fault]:
    there = json.loads(expected.read_text(encoding="utf-8"))
    try:
        here = json.loads(found.read_text(encoding="utf-8"))
    except ValueError as error:
        yield Fault(name, f"is damaged: {error}")
        return
    if name.rsplit("/", 1)[-1] in TOKENIZER_FILES:
        if here != there:
            yield Fault(name, _tokenizer_difference(there, here))
    elif isinstance(there, dict) and isinstance(here, dict):
        yield from _mapping_faults(f"{name}: ", there, here)
    elif here != there:
        yield Fault(name, "holds something else")


def _tokenizer_difference(there: Any, here: Any) -> str:
    tokens, found = _tokens(there), _tokens(here)
    if len(tokens) != len(found):
        return f"is of another model: it names {len(found):,} tokens instead of {len(tokens):,}"
    other = sum(tokens[token] != found.get(token) for token in tokens)
    return _kind("tokenizer", f"gives {other:,} of {len(tokens):,} tokens another number or text")


def _tokens(content: Any) -> dict[str, Any]:
    """Return the numbers of the tokens that any of the tokenizer's files gives."""
    if isinstance(content, list):
        return {f"{token} at {index}": index for index, token in enumerate(content)}
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        added = {str(token.get("content")): token.get("id") for token in content.get("added_tokens", [])}
        return {**content["model"].get("vocab", {}), **added}
    return content if isinstance(content, dict) else {}


def _kind(name: str, what: str) -> str:
    is_tokenizer = name == "tokenizer" or name.rsplit("/", 1)[-1] in TOKENIZER_FILES
    return f"is of another model, or was changed: it {what.removeprefix('is ')}" if is_tokenizer else what


def _mapping_faults(prefix: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[Fault]:
    for field in sorted((there.keys() | here.keys()) - LIBRARY_FIELDS):
        if field not in here:
            yield Fault(f"{prefix}{field}", "is missing")
        elif field not in there:
            yield Fault(f"{prefix}{field}", f"does not belong there: {_short(here[field])}")
        elif here[field] != there[field]:
            yield Fault(f"{prefix}{field}", _value_difference(there[field], here[field]))


def _value_difference(there: Any, here: Any) -> str:
    if isinstance(there, list) and isinstance(here, list):
        expected, found = set(map(repr, there)), set(map(repr, here))
        lacking = [item for item in there if repr(item) not in found]
        more = [item for item in here if repr(item) not in expected]
        said = [f"lacks {_short(lacking)}"] * bool(lacking) + [f"has {_short(more)} too many"] * bool(more)
        return " and ".join(said) or "is in another order"
    return f"is {_short(here)} instead of {_short(there)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
