"""Whether a run keeps encoder states, where, and how many bytes of them."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from whisper_peft.data.batches.audio_contexts import WINDOW_FRAMES, AudioContexts
from whisper_peft.errors import RecipeError
from whisper_peft.measuring import free_memory_bytes
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import AugmentSection, Recipe, TrainSection
from whisper_peft.training.encoder_cache import EncoderCache, stored_dtype
from whisper_peft.training.plan import TrainingPlan
from whisper_peft.training.state_stores import DiskStore, MemoryStore
from whisper_peft.types import FRAMES_PER_SECOND, WINDOW_S, Utterance

GIB = 2**30

FREE_SHARE = 0.5
"""Share of the free memory or disk that kept states may take unasked."""

STATES_FOLDER = "encoder-states"
"""Folder of states kept on disk, in the run folder; it is removed when training ends."""


@dataclass(frozen=True)
class CacheChoice:
    """The cache of a run, None without, and what the user is told of it, None if nothing."""

    cache: EncoderCache | None
    sentence: str | None


def refuse_unfit_cache(recipe: Recipe) -> None:
    """Refuse a cache that was asked for and could find nothing, as far as the recipe alone tells.

    Raises:
        RecipeError: With what changes between the epochs.
    """
    wanted = recipe.train.encoder_cache
    change = _change_between_epochs(recipe)
    if wanted in ("memory", "disk") and change is not None:
        raise RecipeError(
            f"train.encoder_cache is {wanted}, and {change}",
            "so the encoder hears nothing a second time",
            "use --train.encoder-cache auto, or leave that out",
        )


def choose_cache(
    recipe: Recipe, whisper: Whisper, plan: TrainingPlan, *, rank: int, world_size: int, folder: Path
) -> CacheChoice:
    """Return the cache of a run, or why there is none.

    Whether states are rounded as a cache keeps them hangs on the recipe and the rows alone: a run that is
    resumed where less memory is free ends at the same weights.

    Args:
        recipe: What to do.
        whisper: The model with its adapter attached.
        plan: Tells the rows and the number of epochs.
        rank: Number of this process.
        world_size: Number of processes, each with a cache of the rows that it met and a share of the budget.
        folder: Run folder.

    Raises:
        RecipeError: If a cache is asked for and cannot find anything.
        StorageError: If its file cannot be made.
    """
    section = recipe.train
    refuse_unfit_cache(recipe)
    change = _change_between_steps(whisper)
    if section.encoder_cache in ("memory", "disk") and change is not None:
        raise RecipeError(
            f"train.encoder_cache is {section.encoder_cache}, and the encoder {change}",
            "its states change with every step",
            "use --adapter.targets decoder-only, or --train.encoder-cache auto",
        )
    if section.encoder_cache == "off" or change is not None:
        return CacheChoice(None, None)
    if section.encoder_cache == "auto":
        against = _reason_against(recipe, plan)
        if against is not None:
            return CacheChoice(None, f"encoder states are not kept for later epochs: {against}")
    return _cache(section, whisper, plan, rank, world_size, folder)


def _change_between_steps(whisper: Whisper) -> str | None:
    """Say why the same speech has other states in the next step, None if it does not."""
    config = whisper.config
    if any(weight.requires_grad for weight in whisper.core.get_encoder().parameters()):
        return "learns"
    return "has dropout" if config.dropout or config.attention_dropout or config.activation_dropout else None


def _change_between_epochs(recipe: Recipe) -> str | None:
    """Say what lets an utterance sound otherwise in the next epoch, None if nothing does."""
    drawn = _drawn(recipe.augment)
    if drawn is not None:
        return f"augment.{drawn} changes the speech from epoch to epoch"
    section = recipe.train
    if section.audio_context == "packed":
        return "train.audio_context packed stitches other windows in each epoch"
    if recipe.targets.long_form:
        return "targets.long_form joins other utterances in each epoch"
    if section.audio_context == "cut" and 0 < section.full_context_share < 1:
        return "train.full_context_share draws another context in each epoch"
    if section.audio_context == "cut" and section.context_padding_s and not section.full_context_share:
        return "train.context_padding_s draws another context in each epoch"
    return None


def _drawn(section: AugmentSection) -> str | None:
    parts = {name: getattr(section, name) for name in AugmentSection.model_fields}
    return next((name for name, part in parts.items() if (part if name == "custom" else part.p)), None)


def _reason_against(recipe: Recipe, plan: TrainingPlan) -> str | None:
    """Say why a cache that nobody asked for is not made; nothing here hangs on the machine."""
    if plan.every_row is None or plan.steps_per_epoch is None:
        return "the size of a stream is not known; --train.encoder-cache memory keeps what fits the budget"
    if plan.total_steps <= plan.steps_per_epoch:
        return "there are none"
    return _change_between_epochs(recipe)


def _cache(
    section: TrainSection, whisper: Whisper, plan: TrainingPlan, rank: int, world_size: int, folder: Path
) -> CacheChoice:
    dtype, kind = stored_dtype(whisper.precision.compute_dtype), section.encoder_cache
    needed = corpus_bytes(plan.every_row, plan.contexts, whisper.config.d_model, dtype)
    place = _states_folder(section, folder)
    budget = _budget(section, place) // world_size
    fits = needed is not None and needed <= budget
    told = _Told(needed, budget, world_size)
    if kind == "disk":
        store = DiskStore(
            place / f"process-{rank}.states",
            budget_bytes=budget,
            identity=_identity(whisper, plan.contexts),
            dtype=dtype,
            width=whisper.config.d_model,
        )
        return CacheChoice(EncoderCache(store, dtype), told.kept(f"on disk, in {place}"))
    if kind == "auto" and not fits:
        return CacheChoice(EncoderCache(MemoryStore(0), dtype), told.too_large())
    return CacheChoice(EncoderCache(MemoryStore(budget), dtype), told.kept("in memory"))


@dataclass(frozen=True)
class _Told:
    """Puts the bytes that are needed and allowed in sentences."""

    needed: int | None
    budget: int
    processes: int

    def kept(self, where: str) -> str:
        if self.needed is None:
            return f"encoder states are kept {where}, up to {self._allowed()}"
        share = "all" if self.needed <= self.budget else f"{self.budget / self.needed:.0%}"
        size = f"{self.needed / GIB:.2f} GiB, {share} of them within {self._allowed()}"
        return f"encoder states are kept for later epochs {where}: {size}"

    def too_large(self) -> str:
        size = f"{(self.needed or 0) / GIB:.2f} GiB are more than {self._allowed()}"
        other = "--train.encoder-cache disk or memory keeps what fits"
        return f"encoder states are not kept for later epochs: {size}; {other}"

    def _allowed(self) -> str:
        each = " for each process" if self.processes > 1 else ""
        return f"{self.budget / GIB:.2f} GiB{each}"


def corpus_bytes(
    rows: object, contexts: AudioContexts, width: int, dtype: torch.dtype = torch.float16
) -> int | None:
    """Return the bytes of all rows' encoder states, by the lengths in their headers; None for a stream.

    Example:
        >>> rows = [Utterance("a", b"", "text", duration_s=3.0), Utterance("b", b"", "text")]
        >>> corpus_bytes(rows, AudioContexts.of(TrainSection(), seed=0), width=384)
        1267200
    """
    if not isinstance(rows, Sequence):
        return None
    positions = sum(_frames(row, contexts) // 2 for row in rows)
    return positions * width * dtype.itemsize


def _frames(row: Utterance, contexts: AudioContexts) -> int:
    seconds = min(row.duration_s or WINDOW_S, WINDOW_S)
    real_frames = min(math.ceil(seconds * FRAMES_PER_SECOND), WINDOW_FRAMES)
    return contexts.frames(row.id, epoch=0, real_frames=real_frames)


def _states_folder(section: TrainSection, folder: Path) -> Path:
    """Return a folder of this run's own, also where several share one."""
    if section.encoder_cache_folder is None:
        return folder / STATES_FOLDER
    own = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    return section.encoder_cache_folder / f"{STATES_FOLDER}-{own}"


def _budget(section: TrainSection, place: Path) -> int:
    if section.encoder_cache_gib is not None:
        return int(section.encoder_cache_gib * GIB)
    if section.encoder_cache != "disk":
        return int(FREE_SHARE * free_memory_bytes())
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    return int(FREE_SHARE * shutil.disk_usage(there).free)


def _identity(whisper: Whisper, contexts: AudioContexts) -> bytes:
    """Digest what a state depends on beside its recording, down to its last bit."""
    digest = hashlib.blake2b(digest_size=32)
    for name, value in sorted(whisper.core.get_encoder().state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    threads = torch.get_num_threads()
    settings = (torch.__version__, whisper.precision.name, whisper.quantize, whisper.device.type, threads)
    digest.update(repr((*settings, contexts.full, contexts.full_share)).encode())
    return digest.digest()
