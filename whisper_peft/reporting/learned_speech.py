"""What was learned, in words: how a corpus writes, and the case that its text was put in."""

from __future__ import annotations

from whisper_peft.data.text.text_style import CASE_SENTENCES
from whisper_peft.reporting.run_report import DataRecord, MixedRecord


def learned_text(record: DataRecord | MixedRecord) -> str | None:
    """Say how the transcripts are written, and how they were learned where that is known.

    Example:
        >>> learned_text(DataRecord(source="LIBRI", text_style="capitals", text_case="sentence"))
        'capitals, learned in sentence case'
    """
    if record.text_style is None or record.text_case is None:
        return record.text_style
    return f"{record.text_style}, learned {CASE_SENTENCES[record.text_case]}"
