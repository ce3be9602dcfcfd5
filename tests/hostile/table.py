"""Every hostile input with what comes of it, as a page of the reference: `python -m tests.hostile.table`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.hostile.inputs import Hostile, hostile_inputs

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "hostile-inputs.md"

_TITLES = {
    "recording": "Recordings",
    "row": "Rows of a manifest, whose recording is whole",
    "corpus": "Manifests, folders, archives and shards",
}

_INTRODUCTION = """# Hostile inputs

What comes of recordings, rows and corpora that are damaged, lie about themselves, or reach where they
should not. Each is written beside two good rows by code in `tests/hostile/`, from real speech, and read as
a run does. A test holds every line of this page: no crash, no hang, the good rows come out to the bit, and
what cannot be used is counted under the reason given here. `fine` means that the row itself is used: its
text to the letter, and its samples to the bit where the coding is lossless. Where two words are given, the
second holds on a machine without ffmpeg.

A run stops where more than `data.max_skipped_share` of the rows cannot be used, with the counts and the
first ids of each reason.

Nothing can be told of bits flipped in an mp3, or in the samples of a wav: neither carries a checksum. A
flac is compared with the digest of what was encoded, an Ogg page with its checksum, and the header of each
with what follows it.
"""


def page() -> str:
    """Return the page in Markdown."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    yield _INTRODUCTION
    yield f"{len(hostile_inputs())} inputs."
    for group, title in _TITLES.items():
        yield f"\n## {title}\n"
        yield "| input | what it is | outcome |"
        yield "|---|---|---|"
        yield from (_row(one) for one in hostile_inputs() if one.group == group)
    yield ""


def _row(one: Hostile) -> str:
    return f"| `{one.name}` | {one.what.replace('|', chr(92) + '|')} | {one.outcome} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
