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
    yield from mapping_faults("", read_fields(expected), here)


def _json_faults(name: str, expected: Path, found: Path) -> Iterator[Fault]:
    there = _parsed(expected)
    try:
        here = _parsed(found)
    except ValueError as error:
        yield Fault(name, f"is damaged: {error}")
        return
    if name.rsplit("/", 1)[-1] in TOKENIZER_FILES:
        if not _same(here, there):
            yield Fault(name, _tokenizer_difference(there, here))
    elif isinstance(there, dict) and isinstance(here, dict):
        yield from mapping_faults(f"{name}: ", there, here)
    elif not _same(here, there):
        yield Fault(name, "holds something else")


def _parsed(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_each_once)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; one that names a field twice means this to one parser and that to another."""
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"it names {name} twice")
        content[name] = value
    return content


def _same(a: Any, b: Any) -> bool:
    """Compare values as they are written: 1, 1.0 and true are equal in Python, and not to every reader."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


def _tokenizer_difference(there: Any, here: Any) -> str:
    try:
        tokens, found = _tokens(there), _tokens(here)
    except (AttributeError, TypeError):
        return "is of another model, or was changed: it is no tokenizer"
    if len(tokens) != len(found):
        return f"is of another model: it names {len(found):,} tokens instead of {len(tokens):,}"
    other = sum(tokens[token] != found.get(token) for token in tokens)
    told = f"gives {other:,} of {len(tokens):,} tokens another number or text"
    return _kind("tokenizer", told if other else "joins or reads its tokens otherwise")


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


def mapping_faults(prefix: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield the fields that differ from what belongs there.

    Args:
        prefix: What stands before the name of each field.
        there: What belongs there.
        here: What was found.

    Example:
        >>> [str(fault) for fault in mapping_faults("config.json: ", {"heads": [1, 2]}, {"heads": [1]})]
        ['config.json: heads lacks [2]']
    """
    for field in sorted((there.keys() | here.keys()) - LIBRARY_FIELDS):
        if field not in here:
            yield Fault(f"{prefix}{field}", "is missing")
        elif field not in there:
            yield Fault(f"{prefix}{field}", f"does not belong there: {_short(here[field])}")
        elif not _same(here[field], there[field]):
            yield Fault(f"{prefix}{field}", _value_difference(there[field], here[field]))


def _value_difference(there: Any, here: Any) -> str:
    if isinstance(there, dict) and isinstance(here, dict):
        other = [name for name in there.keys() | here.keys() if not _same(there.get(name), here.get(name))]
        return f"differs in {len(other):,} of {len(there):,}: {_short(sorted(other))}"
    if isinstance(there, list) and isinstance(here, list):
        expected, found = set(map(repr, there)), set(map(repr, here))
        lacking = [item for item in there if repr(item) not in found]
        more = [item for item in here if repr(item) not in expected]
        said = [f"lacks {_short(lacking)}"] * bool(lacking) + [f"has {_short(more)} too many"] * bool(more)
        return " and ".join(said) or "is in another order"
    return "is missing" if here is None else f"is {_short(here)} instead of {_short(there)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
