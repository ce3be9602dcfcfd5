"""A source: long recordings, and beside each an XML file that says who spoke when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

from whisper_peft import Utterance
from whisper_peft.errors import DataError
from whisper_peft.recipe.sections import DataSection


class Sittings:
    """The speeches of one split, from the first one at each pass, in the same order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __iter__(self) -> Iterator[Utterance]:
        """Yield a speech at a time; its recording is decoded later, by the workers."""
        for file in sorted(self.folder.glob("*.xml")):
            for number, speech in enumerate(ElementTree.parse(file).iter("speech")):
                yield Utterance(
                    f"{file.stem}-{number:04d}",
                    file.with_suffix(".flac"),
                    speech.text or "",
                    speaker_id=speech.get("speaker"),
                    start_s=float(speech.attrib["from"]),
                    end_s=float(speech.attrib["to"]),
                )


def open_sittings(section: DataSection) -> Mapping[str, Sittings]:
    """Return the splits of `parliament:FOLDER`, which are its folders."""
    folder = Path(section.source.partition(":")[2])
    splits = sorted({file.parent for file in folder.glob("*/*.xml")})
    if not splits:
        why = "no folder in it holds .xml files"
        raise DataError(f"{folder} has no sittings", why, "give parliament:FOLDER")
    return {split.name: Sittings(split) for split in splits}
