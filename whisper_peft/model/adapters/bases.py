"""Which Whisper an adapter belongs to, where its folder does not say, or names a folder that is gone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftConfig
from torch import Tensor

from whisper_peft.errors import AdapterError, ModelError
from whisper_peft.model.adapters.repairs import MODEL_PREFIX
from whisper_peft.model.blueprint import PUBLISHED
from whisper_peft.model.checkpoints.finding import HUB_NAMES, hub_name, size_of
from whisper_peft.model.checkpoints.hub import cached_folder
from whisper_peft.model.checkpoints.installed_weights import installed_wheel
from whisper_peft.model.checkpoints.vocabulary import WhisperVocabulary

CARD, MELS = "README.md", "preprocessor_config.json"
TOKENS = ("tokenizer.json", "added_tokens.json")


@dataclass(frozen=True)
class AdaptedShape:
    """What a LoRA's matrices tell of the model around it; 0 layers where a half of it is not adapted."""

    width: int
    encoder_layers: int
    decoder_layers: int

    def fits(self, size: str, *, exactly: bool) -> bool:
        """Tell whether a published size has this width, and as many layers, or at least so many."""
        width, encoder, decoder = PUBLISHED[size][:3]
        pairs = [(self.encoder_layers, encoder), (self.decoder_layers, decoder)]
        return width == self.width and all(
            there == here if exactly and there else there <= here for there, here in pairs
        )

    def __str__(self) -> str:
        layers = f"{self.encoder_layers} encoder and {self.decoder_layers} decoder layers adapted"
        return f"width {self.width}, {layers}"


def find_base(folder: Path, config: PeftConfig, state: Mapping[str, Tensor]) -> tuple[str, str | None]:
    """Return the name of an adapter's base model, and a sentence where it had to be recognised.

    A name in the configuration is taken as it is, unless it is a path that does not exist. Then the last part
    of that path, the model card's base, and the tokenizer and feature extractor saved beside the adapter are
    asked, and held against the shapes. What is left open is settled by which candidate is on this machine.

    Args:
        folder: The adapter's folder.
        config: Its configuration.
        state: Its tensors under PEFT's names.

    Raises:
        AdapterError: If no published size has these shapes, or several have and nothing tells them apart.
    """
    recorded = config.base_model_name_or_path
    if recorded and not _is_dead_path(recorded):
        return recorded, None
    gone = f"its base {recorded} is not there" if recorded else "it names no base"
    shape = adapted_shape(state)
    sizes = [size for size in PUBLISHED if shape.fits(size, exactly=True)]
    sizes = sizes or [size for size in PUBLISHED if shape.fits(size, exactly=False)]
    if not sizes:
        why = f"{gone}, and no published Whisper has its shapes ({shape})"
        raise AdapterError(f"the base model of {folder} is not known", why, _NAME_IT)
    for told, reason in _hints(folder, recorded, sizes):
        if told:
            sizes = told
        if len(told) == 1:
            return _found(folder, sizes[0], f"{gone}; recognised as {HUB_NAMES[sizes[0]]} by {reason}")
    return _settled(folder, sizes, gone, shape)


_NAME_IT = "name it: --model.name NAME (model={'name': ...} in Python)"


def _found(folder: Path, size: str, sentence: str) -> tuple[str, str]:
    return HUB_NAMES[size], f"{folder}: {sentence}"


def _settled(folder: Path, sizes: list[str], gone: str, shape: AdaptedShape) -> tuple[str, str]:
    """Take the only candidate, or the only one on this machine."""
    names = ", ".join(HUB_NAMES[size] for size in sizes)
    if len(sizes) == 1:
        return _found(folder, sizes[0], f"{gone}; recognised as {names} by its shapes ({shape})")
    here = [size for size in sizes if _is_here(size)]
    if len(here) != 1:
        why = f"{gone}, and {names} all have its shapes ({shape})"
        raise AdapterError(f"the base model of {folder} is not known", why, _NAME_IT)
    taken = (
        f"{gone}; of {names}, which have its shapes, {HUB_NAMES[here[0]]} is on this machine and was taken"
    )
    return _found(folder, here[0], f"{taken}: if it is another, {_NAME_IT}")


def adapted_shape(state: Mapping[str, Tensor]) -> AdaptedShape:
    """Return what LoRA's matrices tell of the model that they belong to.

    Raises:
        AdapterError: If none of them is of a layer whose width tells the model's.

    Example:
        >>> import torch
        >>> name = "base_model.model.model.encoder.layers.3.self_attn.q_proj.lora_A.weight"
        >>> adapted_shape({name: torch.zeros(8, 384)})
        AdaptedShape(width=384, encoder_layers=4, decoder_layers=0)
    """
    layers, widths = {"encoder": 0, "decoder": 0}, set()
    pattern = rf"{MODEL_PREFIX}model\.(encoder|decoder)\.layers\.(\d+)\.(.+)\.lora_([AB])(\.weight)?"
    for name, tensor in state.items():
        if not (match := re.fullmatch(pattern, name)) or tensor.dim() != 2:
            continue
        layers[match[1]] = max(layers[match[1]], int(match[2]) + 1)
        # fc1 leads from the model's width to the feed-forward one, and fc2 back
        if (match[3], match[4]) not in (("fc1", "B"), ("fc2", "A")):
            widths.add(tensor.shape[1 if match[4] == "A" else 0])
    if len(widths) != 1:
        why = f"its matrices are {sorted(widths)} wide" if widths else "it has no LoRA matrices in blocks"
        raise AdapterError("the base model of the adapter cannot be recognised", why, _NAME_IT)
    return AdaptedShape(widths.pop(), layers["encoder"], layers["decoder"])


def _is_dead_path(name: str) -> bool:
    """Tell a path that does not exist from a name on the Hub, which has one slash at most."""
    looks_local = name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1
    return looks_local and not Path(name).expanduser().exists()


def _hints(folder: Path, recorded: str | None, sizes: list[str]) -> Iterator[tuple[list[str], str]]:
    """Yield which of the sizes each trace in the folder leaves, and what trace that is."""
    if recorded and (size := size_of(re.split(r"[/\\]", recorded.rstrip("/\\"))[-1])):
        yield [one for one in sizes if one == size], f"the end of that path ({size})"
    if (name := _card_base(folder)) and (size := size_of(hub_name(name))):
        yield [one for one in sizes if one == size], f"its model card ({name})"
    if vocabulary := _vocab_size(folder):
        sizes = [one for one in sizes if PUBLISHED[one][3] == vocabulary]
        yield sizes, f"the tokenizer beside it ({vocabulary:,} tokens)"
    if mels := _read_json(folder / MELS).get("feature_size"):
        yield [one for one in sizes if PUBLISHED[one][4] == mels], f"its {mels} mel bins"


def _card_base(folder: Path) -> str | None:
    """Return `base_model` of the model card's front matter."""
    card = folder / CARD
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    found = re.search(r"^base_model:\s*(?:-\s+)?[\"']?([^\s\"']+)", text, re.MULTILINE)
    return found[1] if found else None


def _vocab_size(folder: Path) -> int | None:
    """Return the vocabulary of a tokenizer saved in the folder, by the place of one special token."""
    sizes = {WhisperVocabulary(size).no_timestamps: size for _, _, _, size, *_ in PUBLISHED.values()}
    for content in map(_read_json, map(folder.joinpath, TOKENS)):
        added = content.get("added_tokens", content)
        ids = {item["content"]: item["id"] for item in added} if isinstance(added, list) else added
        if size := sizes.get(ids.get("<|notimestamps|>", -1)):
            return size
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a trace that is missing or damaged tells nothing
        return {}
    return content if isinstance(content, dict) else {}


def _is_here(size: str) -> bool:
    try:
        return cached_folder(HUB_NAMES[size]) is not None or installed_wheel(size) is not None
    except ModelError:
        return False
