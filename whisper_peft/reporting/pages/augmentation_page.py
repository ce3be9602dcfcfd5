"""`augmentations.html` and `augmentations.json`: augmented speech on a page of its own."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from whisper_peft.reporting import figures
from whisper_peft.reporting.pages.run_page import Figures
from whisper_peft.reporting.run_report import write_text
from whisper_peft.reporting.values.augmentation_values import AugmentationRecord, SoundClips

AUGMENTATIONS_FILE = "augmentations.json"
AUGMENTATIONS_PAGE = "augmentations.html"


def write_augmentation_page(record: AugmentationRecord, clips: SoundClips, folder: Path) -> Path:
    """Write both files into a folder; return the page.

    Raises:
        StorageError: If the folder is full or not writable.
    """
    plain = json.dumps(record.to_dict(), indent=2, ensure_ascii=False)
    write_text(folder / AUGMENTATIONS_FILE, plain + "\n")
    return write_text(folder / AUGMENTATIONS_PAGE, render_augmentations(record, clips))


def render_augmentations(record: AugmentationRecord, clips: SoundClips) -> str:
    """Return the page as HTML; every text in it is escaped.

    Example:
        >>> "<h1>Augmentations</h1>" in render_augmentations(AugmentationRecord(42, 0), {})
        True
    """
    templates = Environment(
        loader=PackageLoader("whisper_peft.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("augmentations.html").render(
        record=record, sounds=clips, figure=Figures(record.to_dict()), form=figures
    )
