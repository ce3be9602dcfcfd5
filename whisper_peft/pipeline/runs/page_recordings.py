"""Recordings for a run's page: heard again from its sources, compressed, the most telling ones first."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.sources.opening import open_split
from whisper_peft.data.survey.clips import encode_small_clip
from whisper_peft.errors import AudioError, WhisperPeftError
from whisper_peft.measuring import usable_cores
from whisper_peft.recipe.sections import DataSection
from whisper_peft.reporting.json_lines import read_predictions
from whisper_peft.reporting.pages.recordings import (
    AUDIO_BUDGET_BYTES,
    Clip,
    Recordings,
    spectrogram_picture,
)
from whisper_peft.reporting.pages.suspects import MOST_SHOWN, read_suspects
from whisper_peft.reporting.pages.utterances import MOST_LISTED
from whisper_peft.reporting.ranking import by_errors
from whisper_peft.types import Prediction, Utterance

BYTES_PER_SECOND = 4000
"""What a second of speech takes compressed, about: which recordings are opened at all is told by it."""


def page_recordings(folder: Path, section: DataSection) -> Recordings:
    """Return the recordings that a run's page plays, from one more pass over what was scored.

    A source that has gone, and a row whose text is no longer the same, leave a page without them.

    Args:
        folder: The run folder.
        section: Where the speech lies.
    """
    predictions = read_predictions(folder)
    latest = predictions.after or predictions.before
    wanted = _wanted(latest)
    texts = {one.id: one.reference for one in wanted.values()}
    names = {one.id: name for name, one in wanted.items()}
    suspects = {row.id: row.text for row in read_suspects(folder)[:MOST_SHOWN]}
    try:
        heard = _clips(open_split(section, "eval"), texts, pictured=True) if texts else {}
        doubted = _clips(open_split(section, "train"), suspects) if suspects else {}
    except (WhisperPeftError, OSError) as error:
        return Recordings(notes=(f"The recordings cannot be played here: {error}",))
    scored = {names[utterance_id]: clip for utterance_id, clip in heard.items()}
    missing = len(latest) - len(scored)
    note = f"{missing} have no recording here: a page holds at most {AUDIO_BUDGET_BYTES >> 20} MiB of them."
    return Recordings(scored, doubted, notes=(note,) if missing else ())


def _wanted(scored: Mapping[str, Prediction]) -> dict[str, Prediction]:
    """Return the utterances to be heard, those with the most word errors first, as far as the budget goes."""
    room = AUDIO_BUDGET_BYTES / BYTES_PER_SECOND
    wanted = {}
    for name in by_errors(scored)[:MOST_LISTED]:
        room -= scored[name].duration_s
        if room >= 0:
            wanted[name] = scored[name]
    return wanted


def _clips(
    source: Iterable[Utterance], texts: Mapping[str, str], *, pictured: bool = False
) -> dict[str, Clip]:
    """Return recordings of a source by id; encoding leaves Python's lock to other threads.

    Args:
        source: The rows.
        texts: Of wanted rows, by id.
        pictured: Whether they get a picture too.
    """

    def clip(row: Utterance) -> Clip | None:
        try:
            waveform = decode(row).waveform
        except AudioError:
            return None
        picture = spectrogram_picture(waveform) if pictured else None
        return Clip(encode_small_clip(waveform), picture)

    found_rows = (row for row in source if texts.get(row.id) == row.text)
    rows = list(itertools.islice(found_rows, len(texts)))  # a stream is read no further
    with ThreadPoolExecutor(usable_cores()) as pool:
        heard = zip(rows, pool.map(clip, rows), strict=True)
        return {row.id: found for row, found in heard if found is not None}
