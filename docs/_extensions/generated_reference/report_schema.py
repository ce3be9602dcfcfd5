"""The blocks of `report.json`, from the classes that write it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel
from sphinx.pycode import ModuleAnalyzer

from generated_reference.tables import markdown_table, type_words
from whisper_peft.reporting.run_report import RunReport


def report_schema() -> str:
    """Return a heading, a sentence and a table for each block, in the order in which they are met."""
    return "\n\n".join(part for block in _blocks(RunReport, []) for part in _described(block))


def _blocks(block: type, met: list[type]) -> list[type]:
    """Return a block and all that its fields hold, each once."""
    met.append(block)
    for kind in _fields(block).values():
        for inner in _classes_in(kind):
            if inner not in met:
                _blocks(inner, met)
    return met


def _fields(block: type) -> dict[str, Any]:
    """Return the types of what a block writes, by name."""
    if issubclass(block, BaseModel):
        return {name: field.annotation for name, field in block.model_fields.items()}
    hints = get_type_hints(block)
    assert dataclasses.is_dataclass(block)
    return {field.name: hints[field.name] for field in dataclasses.fields(block)}


def _classes_in(kind: Any) -> Iterator[type]:
    """Yield the blocks that a type holds, such as the two of `A | dict[str, B]`."""
    if isinstance(kind, type) and (dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel)):
        yield kind
    for inner in get_args(kind):
        yield from _classes_in(inner)


def _described(block: type) -> Iterator[str]:
    summary, documents = (block.__doc__ or "").strip(), _field_documents(block)
    yield f"## {block.__name__}"
    yield _plain(summary)
    header = ["key", "type", "what it is"] if documents else ["key", "type"]
    rows = [[f"`{name}`", _linked(kind), documents.get(name, "")] for name, kind in _fields(block).items()]
    yield markdown_table(header, [row[: len(header)] for row in rows])


def _plain(docstring: str) -> str:
    """Return a docstring's sentences, without its sections and without the indentation of the code."""
    sentences = docstring.partition("\n\n    Example:")[0].partition("\n\n    Attributes:")[0]
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in sentences.split("\n\n"))


def _field_documents(block: type) -> dict[str, str]:
    """Return what is written below the fields of a class, those that it inherits included."""
    documents: dict[str, str] = {}
    for owner in reversed(block.__mro__[:-1]):
        if owner.__module__.startswith("whisper_peft"):
            found = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs()
            documents |= {
                name: " ".join(lines) for (of, name), lines in found.items() if of == owner.__name__
            }
    return documents


def _linked(kind: Any) -> str:
    """Return a type in words, blocks being links to where they are described."""
    words = type_words(kind)
    for block in _classes_in(kind):
        words = words.replace(f"`{block.__name__}`", f"[{block.__name__}](#{block.__name__.lower()})")
    return words
