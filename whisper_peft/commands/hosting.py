"""`serve`: a run behind OpenAI's audio API."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro import MISSING
from tyro.conf import Positional, arg

import whisper_peft
from whisper_peft.commands.transcribing import TranscribeFields
from whisper_peft.commands.words import recorded_recipe
from whisper_peft.errors import ServingError
from whisper_peft.flags import parse_command
from whisper_peft.recipe.overrides import apply_overrides, tree_of

KEY_VARIABLE = "WHISPER_PEFT_API_KEY"
"""Holds the API key where no file is named. A flag would show it to everybody who lists processes."""


@dataclass(frozen=True)
class Serve:
    """Serve a run with OpenAI's audio API, until SIGTERM or Ctrl-C."""

    run_or_model: Annotated[Positional[str], arg(metavar="RUN_OR_MODEL")]
    """A run folder, an adapter folder, a CTranslate2 folder, a model folder or file, or a model's name."""
    adapter: tuple[str, ...] = ()
    """Further runs or adapters on the same base, each as NAME=PATH."""
    host: str = "127.0.0.1"
    """Address to listen on. Any but loopback needs an API key."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    api_key_file: Path | None = None
    """File with the API key. None: WHISPER_PEFT_API_KEY, and no key where that is not set."""
    engine: Literal["auto", "transformers", "ctranslate2"] = "auto"
    """auto: ctranslate2 for a folder with a model.bin where it is installed, else transformers."""
    audio_context: Literal["full", "cut", "auto"] = "auto"
    """full: 30 s. cut: as long as the speech, for models tuned so. auto: cut where that did no harm."""
    page: Literal["auto", "yes", "no"] = "auto"
    """Whether to mount the page at /ui. auto: if Gradio is installed."""
    max_upload_mib: float = 25
    """Largest upload in MiB."""
    max_duration_s: float = 1800
    """Longest recording in seconds."""
    max_requests: int = 64
    """Requests served at a time, waiting ones included; further ones are told to come again."""
    max_batch_size: int = 16
    """Clips heard together at most."""
    timeout_s: float = 600
    """Longest time from a request to its answer."""
    fields: Annotated[TranscribeFields, arg(name="")] = field(default_factory=TranscribeFields)


def run_serve(words: list[str]) -> None:
    """Serve a run with OpenAI's audio API: transcripts, subtitles, word times, streams, many adapters."""
    recipe = recorded_recipe(words)
    default = Serve(MISSING, fields=TranscribeFields(model=recipe.model))
    command, overrides = parse_command(default, _joined(words), prog="whisper-peft serve")
    apply_overrides(recipe, overrides)
    whisper_peft.serve(
        command.run_or_model,
        adapters=_named_paths(command.adapter),
        host=command.host,
        port=command.port,
        api_key=_api_key(command.api_key_file),
        engine=command.engine,
        audio_context=command.audio_context,
        page=None if command.page == "auto" else command.page == "yes",
        limits={
            "max_upload_bytes": command.max_upload_mib * (1 << 20),
            "max_duration_s": command.max_duration_s,
            "max_requests": command.max_requests,
            "max_batch_size": command.max_batch_size,
            "timeout_s": command.timeout_s,
        },
        on_listening=_say_where,
        **tree_of(overrides),
    )


def _joined(words: list[str]) -> list[str]:
    """Gather the values of repeated `--adapter`, of which only the last would count."""
    rest, named = list[str](), list[str]()
    place = 0
    while place < len(words):
        word, place = words[place], place + 1
        if word.startswith("--adapter="):
            named.append(word.partition("=")[2])
        elif word != "--adapter":
            rest.append(word)
        else:
            while place < len(words) and not words[place].startswith("-"):
                named, place = [*named, words[place]], place + 1
    return [*rest, "--adapter", *named] if named else rest


def _named_paths(words: tuple[str, ...]) -> dict[str, str]:
    """Read NAME=PATH words."""
    found: dict[str, str] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not name or not path:
            raise ServingError(f"--adapter {word}", "it names no model and folder", "write it as NAME=PATH")
        if name in found:
            raise ServingError(
                f"--adapter {name} is given twice", "each model has its own name", "rename one"
            )
        found[name] = path
    return found


def _api_key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"--api-key-file {file} cannot be read", str(error), "check the path") from error
    if not key:
        raise ServingError(f"--api-key-file {file} is empty", "there would be no key", "write one into it")
    return key


def _say_where(address: str, models: tuple[str, ...]) -> None:
    print(
        f"{', '.join(models)} at {address}/v1; Ctrl-C stops when all requests are answered", file=sys.stderr
    )
