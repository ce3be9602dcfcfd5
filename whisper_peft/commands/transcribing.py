"""`transcribe`: recordings written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.words import recorded_recipe
from whisper_peft.errors import AudioError, DataError, first_of
from whisper_peft.flags import parse_command
from whisper_peft.recipe.overrides import apply_overrides, tree_of
from whisper_peft.recipe.sections import ModelSection, Section
from whisper_peft.terminal import show


class TranscribeFields(Section):
    """The section that transcribing reads."""

    model: ModelSection = ModelSection()


@dataclass(frozen=True)
class Transcribe:
    """Write down recordings of any length."""

    run_or_model: Annotated[Positional[str], arg(metavar="RUN_OR_MODEL")]
    """A run folder, an adapter folder, a model folder or file, or a model's name."""
    audio: Annotated[Positional[tuple[Path, ...]], arg(metavar="AUDIO ...")]
    """Recordings, or folders of them."""
    prompt: str | None = None
    """Text that comes before, for style and spelling."""
    hotwords: tuple[str, ...] = ()
    """Words to expect, such as names."""
    previous_text: bool = False
    """Tell each window of a recording over 30 s what was written before it, as openai-whisper does."""
    audio_context: Literal["full", "cut", "auto"] = "auto"
    """full: 30 s. cut: as long as the speech, for models tuned so. auto: cut where that did no harm."""
    output_dir: Path | None = None
    """Folder for the files of --formats. None: the current folder."""
    formats: tuple[Literal["txt", "srt", "vtt", "json"], ...] = ()
    """Files to write for each recording. None given: txt into --output-dir, and no file without it."""
    fields: Annotated[TranscribeFields, arg(name="")] = field(default_factory=TranscribeFields)


def run_transcribe(words: list[str]) -> None:
    """Write down recordings of any length, as text or as txt, srt, vtt and json files."""
    recipe = recorded_recipe(words)
    default = Transcribe(MISSING, MISSING, fields=TranscribeFields(model=recipe.model))
    command, overrides = parse_command(default, words, prog="whisper-peft transcribe")
    apply_overrides(recipe, overrides)
    several = len(command.audio) > 1 or any(path.is_dir() for path in command.audio)
    refused: list[AudioError] = []
    transcripts = whisper_peft.transcribe(
        command.run_or_model,
        command.audio,
        prompt=command.prompt,
        hotwords=command.hotwords,
        previous_text=command.previous_text,
        audio_context=command.audio_context,
        output_dir=command.output_dir,
        formats=command.formats,
        on_finished=lambda one: show(f"{one.file}: {one.text}" if several else one.text),
        on_refused=refused.append,
        **tree_of(overrides),
    )
    if refused:
        total = len(transcripts) + len(refused)
        raise DataError(f"{len(refused)} of {total} recordings could not be transcribed", first_of(refused))
