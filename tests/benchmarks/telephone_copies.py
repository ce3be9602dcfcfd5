"""Speech as it is heard over a telephone line, to score a model on: a copy of one split.

    python tests/benchmarks/telephone_copies.py LIBRI heldout-clean runs/phone

LIBRI is a LibriSpeech folder. Its rows go through mu-law, A-law and GSM in turn; what is written is a
`data.source` with the split `test`.
"""

from __future__ import annotations

import argparse
import json
from itertools import cycle
from pathlib import Path

import soundfile

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.effects.telephone import telephone
from whisper_peft.data.sources.opening import open_splits
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import SAMPLING_RATE

LINES = ("mu-law", "a-law", "gsm")


def write_copies(source: Path, split: str, folder: Path) -> int:
    """Write recordings and `metadata.jsonl`, and return how many there are."""
    (folder / "test").mkdir(parents=True, exist_ok=True)
    rows = next(found for found in open_splits(DataSection(source=source)) if found.split == split)
    lines = []
    for place, (utterance, codec) in enumerate(zip(rows, cycle(LINES), strict=False)):
        name = f"test/{place:05d}-{codec}.flac"
        heard = telephone(decode(utterance).waveform, codec)
        soundfile.write(folder / name, heard, SAMPLING_RATE, subtype="PCM_16")
        lines.append({"file_name": name, "text": utterance.text, "split": "test", "codec": codec})
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
    return len(lines)


def main() -> None:
    """Copy, and say how many."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("split")
    parser.add_argument("folder", type=Path)
    words = parser.parse_args()
    print(f"{write_copies(words.source, words.split, words.folder)} rows in {words.folder}")


if __name__ == "__main__":
    main()
