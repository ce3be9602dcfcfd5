"""What one row tells by itself: from its header alone, or decoded. Runs in threads, keeps no recording."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile

from whisper_peft.data.audio.decoding import decode_as_recorded
from whisper_peft.data.checking import check_row
from whisper_peft.data.survey.acoustics import Acoustics, measure_acoustics
from whisper_peft.data.survey.findings import ACTIONS, UNREADABLE, Reason
from whisper_peft.errors import AudioError
from whisper_peft.recipe.sections import DataSection
from whisper_peft.types import Utterance


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """What a header says: container and coding, samples per second, channels."""

    name: str
    sampling_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class RowFacts:
    """A row without its recording.

    Attributes:
        split: Its number among those that are looked at.
        audio: Path of the recording, or the row's id where it has none.
        recording: 16 bytes that rows of the same recording share; empty where it cannot be read.
        acoustics: None where nothing was decoded.
        refusal: Why nothing can be learned from the row.
    """

    id: str
    split: int
    audio: str
    text: str
    speaker_id: str | None
    language: str | None
    duration_s: float | None
    start_s: float
    end_s: float | None
    recording: bytes
    format: AudioFormat | None = None
    acoustics: Acoustics | None = None
    refusal: Reason | None = None


def known_facts(utterance: Utterance, split: int) -> RowFacts:
    """Return what is known of a row without opening its recording.

    Example:
        >>> known_facts(Utterance("a", Path("a.wav"), "hum", duration_s=2.0), 0).duration_s
        2.0
    """
    audio = utterance.audio
    return RowFacts(
        id=_encodable(utterance.id),
        split=split,
        audio=_encodable(str(audio.absolute()) if isinstance(audio, Path) else utterance.id),
        text=utterance.text,
        speaker_id=utterance.speaker_id,
        language=utterance.language,
        duration_s=utterance.duration_s,
        start_s=utterance.start_s,
        end_s=utterance.end_s,
        recording=_recording_digest(utterance),
    )


def examine_row(utterance: Utterance, split: int, *, section: DataSection, decodes: bool) -> RowFacts:
    """Look at a row's header, and hear its recording where `decodes`.

    Example:
        >>> row = Utterance("a", np.zeros(1600), "hum", sampling_rate=16_000)
        >>> examine_row(row, 0, section=DataSection(), decodes=True).refusal
        Reason(name='silent', detail='every sample is zero, though there is a transcript')
    """
    checked, refused = check_row(utterance, section=section, label_length=lambda row: 0)
    facts = replace(known_facts(checked, split), format=audio_format(utterance))
    if refused is not None:
        return replace(facts, refusal=Reason(refused, _detail(refused, checked.duration_s)))
    if not decodes:
        return facts
    acoustics, refusal = _heard(checked, section)
    if acoustics is None:
        return replace(facts, refusal=refusal)
    return replace(
        facts,
        duration_s=acoustics.duration_s,
        recording=acoustics.digest,
        acoustics=acoustics,
        refusal=refusal,
    )


def audio_format(utterance: Utterance) -> AudioFormat | None:
    """Return what the header says; None where libsndfile cannot read it.

    Example:
        >>> audio_format(Utterance("a", np.zeros((2, 1600)), "", sampling_rate=8_000))
        AudioFormat(name='array float64', sampling_rate=8000, channels=2)
    """
    audio = utterance.audio
    if isinstance(audio, np.ndarray):
        channels = 1 if audio.ndim == 1 else min(audio.shape)
        return AudioFormat(f"array {audio.dtype}", utterance.sampling_rate or 0, channels)
    try:
        info = soundfile.info(io.BytesIO(audio) if isinstance(audio, bytes) else str(audio))
    except (soundfile.LibsndfileError, TypeError, OSError, ValueError):
        return None
    return AudioFormat(f"{info.format} {info.subtype}", info.samplerate, info.channels)


def _encodable(name: str) -> str:
    """Return a name as text: names of files may hold bytes that are no UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _heard(utterance: Utterance, section: DataSection) -> tuple[Acoustics | None, Reason | None]:
    try:
        acoustics = measure_acoustics(*decode_as_recorded(utterance))
    except AudioError as error:
        return None, Reason(error.reason, error.why)
    if acoustics.duration_s > section.max_duration_s:
        return acoustics, Reason("too-long", _detail("too-long", acoustics.duration_s))
    return acoustics, None


def _detail(reason: str, duration_s: float | None) -> str:
    if duration_s is not None and reason.startswith("too-"):
        return f"{duration_s:.2f} s"
    return ACTIONS.get(reason, UNREADABLE)[1]


def _recording_digest(utterance: Utterance) -> bytes:
    """Return what tells recordings apart undecoded: the path or the bytes as they lie, and the times."""
    audio = utterance.audio
    content = (
        bytes(audio.absolute())
        if isinstance(audio, Path)
        else audio
        if isinstance(audio, bytes)
        else audio.tobytes()
    )
    digest = hashlib.blake2b(content, digest_size=16)
    digest.update(f"{utterance.start_s} {utterance.end_s}".encode())
    return digest.digest()
