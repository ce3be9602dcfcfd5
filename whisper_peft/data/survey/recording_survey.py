"""What the recordings of a corpus are and how good, gathered row by row in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from whisper_peft.data.survey.acoustics import Acoustics
from whisper_peft.data.survey.contents import ContentIndex
from whisper_peft.data.survey.findings import AudioFigures, Reason
from whisper_peft.data.survey.likeness import LikenessIndex, sound_index
from whisper_peft.data.survey.row_facts import RowFacts
from whisper_peft.data.survey.sketches import Sketch

CLIPPED_SHARE = 0.002
"""Recordings with more samples cut off than this share are named; clean speech has 0.0001."""

NOISY_SNR_DB = 5.0
"""Recordings with an estimated signal-to-noise ratio below this are named."""

LARGEST_OFFSET = 0.02
"""Recordings whose mean is further from zero than this, of full scale, are named."""

SILENT_SHARE = 0.8
"""Recordings with more silence than this share are named."""


def _log_sketch() -> Sketch:
    return Sketch(0.01, is_log=True)


@dataclass
class RecordingSurvey:
    """Counts of formats, and distributions of lengths and of what was heard."""

    contents: ContentIndex = field(default_factory=ContentIndex)
    alike: LikenessIndex = field(default_factory=sound_index)
    decoded: int = 0
    rates: Sketch = field(default_factory=_log_sketch)
    _durations: Sketch = field(default_factory=_log_sketch)
    _silence: Sketch = field(default_factory=lambda: Sketch(0.005))
    _clipping: Sketch = field(default_factory=lambda: Sketch(0.0002))
    _snr: Sketch = field(default_factory=lambda: Sketch(0.25))
    _formats: Counter[str] = field(default_factory=Counter)
    _sampling_rates: Counter[str] = field(default_factory=Counter)
    _channels: Counter[str] = field(default_factory=Counter)

    def add_header(self, row: RowFacts) -> None:
        """Count what a header says, of rows that cannot be used too."""
        if row.format is not None:
            self._formats[row.format.name] += 1
            self._sampling_rates[str(row.format.sampling_rate)] += 1
            self._channels[str(row.format.channels)] += 1

    def add(self, row: RowFacts) -> Iterator[Reason]:
        """Count a usable row, and yield what is wrong with its recording by itself."""
        if row.duration_s is not None:
            self._durations.add(row.duration_s)
        if row.acoustics is not None:
            yield from self._add_acoustics(row.acoustics)

    def figures(self, splits: Collection[int]) -> AudioFigures:
        """Return what was counted; repeats are those within each of the splits."""
        return AudioFigures(
            durations_s=self._durations.summary(),
            letters_per_second=self.rates.summary(),
            formats=dict(self._formats.most_common()),
            sampling_rates=dict(self._sampling_rates.most_common()),
            channels=dict(self._channels.most_common()),
            repeated=self.contents.repeated_rows(splits),
            silence_share=self._silence.summary(),
            clipping_share=self._clipping.summary(),
            snr_db=self._snr.summary(),
        )

    def _add_acoustics(self, heard: Acoustics) -> Iterator[Reason]:
        self.decoded += 1
        self._silence.add(heard.silence_share)
        self._clipping.add(heard.clipping_share)
        if heard.clipping_share > CLIPPED_SHARE:
            yield Reason("clipped", f"{heard.clipping_share:.1%} of the samples")
        if abs(heard.offset) > LARGEST_OFFSET:
            yield Reason("offset", f"{heard.offset:+.0%} of full scale")
        if heard.silence_share > SILENT_SHARE:
            yield Reason("mostly-silent", f"{heard.silence_share:.0%} of it")
        if heard.snr_db is not None:
            self._snr.add(heard.snr_db)
            if heard.snr_db < NOISY_SNR_DB:
                yield Reason("noisy", f"SNR about {heard.snr_db:.0f} dB")
