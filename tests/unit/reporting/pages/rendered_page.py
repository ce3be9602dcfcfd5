"""The page of a run, rendered and taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from whisper_peft.reporting.json_lines import read_curves
from whisper_peft.reporting.pages.run_page import write_page
from whisper_peft.reporting.run_report import read_report, write_report

VOID = {"meta", "img", "input"}


@dataclass
class Figure:
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """Elements and visible text of a page; refuses elements that do not close."""

    source: str
    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag == "data":
            self.figures.append(Figure(attributes))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "data":
            self.figures[-1].text += data
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def value(self, path: str) -> str:
        return next(
            one.attributes["value"] for one in self.figures if one.attributes.get("data-path") == path
        )


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if children is None:
        return {path: value}
    found: dict[str, Any] = {}
    for name, child in children:
        found |= leaves(child, f"{path}.{name}" if path else str(name))
    return found


def printed_number(text: str) -> float:
    """Read a printed figure back into the unit of the report."""
    number, _, unit = text.replace(",", "").partition(" ")
    scales = {"%": 0.01, "points": 0.01, "GiB": 2**30, "MiB": 2**20, "s": 1, "": 1}
    if unit in scales:
        return float(number) * scales[unit]
    minutes = re.fullmatch(r"(\d+) min (\d+) s", text)
    assert minutes, text
    return 60 * int(minutes[1]) + int(minutes[2])


def render(folder: Path) -> Page:
    return Page(write_page(folder).read_text(encoding="utf-8"))


def read_log_again(folder: Path) -> None:
    """Put the curves of a log that has changed into the report."""
    write_report(read_report(folder).model_copy(update={"curves": read_curves(folder)}), folder)
