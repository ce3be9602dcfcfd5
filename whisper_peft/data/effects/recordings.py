"""Folders of noise recordings and impulse responses: checked at once, read when first needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

from whisper_peft.data.audio.decoding import decode, header_duration_s
from whisper_peft.errors import AudioError, DataError, RecipeError
from whisper_peft.types import Utterance, Waveform

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aif", ".aiff", ".au", ".caf", ".w64"}
)

_CONTAINER_SUFFIXES = frozenset({".aac", ".amr", ".mka", ".mkv", ".mov", ".mp4", ".webm", ".wma"})
"""Those that need ffmpeg; people keep speech in them, but hardly noise."""

CACHE_BYTES = 128 * 1024 * 1024
"""Decoded recordings that one process holds: 35 minutes at 16 kHz in float32."""

Reader = Callable[[Path], Waveform]


def is_recording(file: Path) -> bool:
    """Tell whether a file is a recording, by its suffix.

    Example:
        >>> is_recording(Path("talk.WAV")), is_recording(Path("talk.txt"))
        (True, False)
    """
    return file.suffix.lower() in AUDIO_SUFFIXES | _CONTAINER_SUFFIXES


@dataclass
class RecordingFolder:
    """Recordings of a folder, as waveforms at 16 kHz; those used last stay in memory.

    Args:
        setting: The recipe's field that names the folder, for messages.
        paths: The recordings.
        read: Decodes one of them.
        cache_bytes: Most memory to hold decoded recordings in.
    """

    setting: str
    paths: tuple[Path, ...]
    read: Reader
    cache_bytes: int = CACHE_BYTES
    _held: OrderedDict[Path, Waveform] = field(default_factory=OrderedDict, repr=False)
    _held_bytes: int = 0

    def draw(self, rng: np.random.Generator) -> Waveform:
        """Return one of the recordings at random. It is shared: never write into it."""
        return self[self.draw_path(rng)]

    def draw_path(self, rng: np.random.Generator) -> Path:
        """Return the path of one of the recordings at random."""
        return self.paths[rng.integers(len(self.paths))]

    def __getitem__(self, path: Path) -> Waveform:
        """Return a recording of the folder, decoding it at most once while it is held."""
        if path not in self._held:
            self._hold(path, self._decoded(path))
        self._held.move_to_end(path)
        return self._held[path]

    def _decoded(self, path: Path) -> Waveform:
        try:
            return self.read(path)
        except AudioError as error:
            raise _unusable(self.setting, error) from error

    def _hold(self, path: Path, waveform: Waveform) -> None:
        self._held[path] = waveform
        self._held_bytes += waveform.nbytes
        while self._held_bytes > self.cache_bytes and len(self._held) > 1:
            self._held_bytes -= self._held.popitem(last=False)[1].nbytes


def open_recordings(folder: Path | None, setting: str, read: Reader) -> RecordingFolder:
    """Find the recordings of a folder and check that each header can be read.

    Args:
        folder: Searched with its subfolders.
        setting: The recipe's field that names it, such as `augment.noise.source`.
        read: `read_mixed_down` or `read_first_channel`.

    Raises:
        RecipeError: If no folder is given.
        DataError: If it does not exist, holds no recordings, or one of them cannot be used.
    """
    if folder is None:
        raise RecipeError(
            f"{setting} is not set", f"{setting.rpartition('.')[0]}.p is above 0", f"give {setting} a folder"
        )
    if not folder.is_dir():
        raise DataError(f"{setting} is {folder}", "there is no such folder", "check the path")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not paths:
        raise DataError(
            f"{setting} is {folder}", "it holds no recordings", "put wav, flac, ogg or mp3 files into it"
        )
    for path in paths:
        try:
            header_duration_s(path)
        except AudioError as error:
            raise _unusable(setting, error) from error
    return RecordingFolder(setting, tuple(paths), read)


def read_mixed_down(path: Path) -> Waveform:
    """Return a recording with its channels averaged."""
    return decode(Utterance(path.name, path, text="")).waveform


def read_first_channel(path: Path) -> Waveform:
    """Return a recording's first channel.

    The channels of an impulse response are microphones apart; their mean would be a comb filter.
    """
    try:
        samples, sampling_rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(str(path), error.error_string, "save it as wav or flac") from error
    return decode(Utterance(path.name, samples[:, 0], text="", sampling_rate=sampling_rate)).waveform


def _unusable(setting: str, error: AudioError) -> DataError:
    return DataError(f"{setting}: {error.what}", error.why, error.todo or "remove it from the folder")
