"""One task for each side from one recipe: the same model folder, rows, adapter and settings."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import soundfile
from transformers import WhisperConfig

from whisper_peft.benchmarking.sides import Learning, Lora, Row, SideTask
from whisper_peft.benchmarking.useful_flops import Size
from whisper_peft.data.audio.decoding import decode
from whisper_peft.data.targets.labels import WRITTEN_WITHOUT_SPACES, Labeller, language_code, recase
from whisper_peft.errors import AudioError, BenchmarkError
from whisper_peft.evaluation.evaluator import draw_evenly
from whisper_peft.model.adapters.targets import target_modules
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.library_noise import no_loading_bar
from whisper_peft.model.loading import Whisper, load_whisper
from whisper_peft.model.precision import choose_device, choose_precision
from whisper_peft.pipeline.runs.speech import Speech, open_speech
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import AugmentSection, Recipe, TargetSection
from whisper_peft.recipe.yaml_files import write_recipe
from whisper_peft.training.optimization import ADAM_EPSILON, SCHEDULES, warmup_steps
from whisper_peft.types import SAMPLING_RATE, WINDOW_S, Utterance

TaskKind = Literal["train", "evaluate"]


@dataclass(frozen=True)
class Preparation:
    """What both sides start from.

    Attributes:
        recipe: What both run, in whole epochs and without augmentation.
        ours: The recipe with what is set for our side alone.
        reference: The recipe with what is set for the reference alone.
        folder: Where tasks, results and adapters go.
        model: Folder of the base model in Hugging Face's format.
        config: The model's configuration.
        lora: The adapter.
        train: Rows to learn from.
        eval: Rows to score.
        sizes: How long each training row is.
        sentences: What was found, and what was left out to be fair.
    """

    recipe: Recipe
    ours: Recipe
    reference: Recipe
    folder: Path
    model: Path
    config: WhisperConfig
    lora: Lora
    train: tuple[Row, ...]
    eval: tuple[Row, ...]
    sizes: tuple[Size, ...]
    sentences: tuple[str, ...]

    def task(self, side: Literal["ours", "reference"], what: TaskKind, output_dir: Path) -> SideTask:
        """Return what a side has to do."""
        recipe = self.ours if side == "ours" else self.reference
        device = choose_device(recipe.model.device)
        return SideTask(
            what=what,
            model=str(self.model),
            rows=self.train if what == "train" else self.eval,
            precision=choose_precision(recipe.model, device).name,
            device=device.type,
            lora=self.lora,
            learning=learning(recipe, len(self.train)),
            recipe=str(self.folder / f"{side}.yaml"),
            output_dir=str(output_dir),
            batch_size=recipe.eval.batch_size,
            num_beams=recipe.eval.num_beams,
            audio_context="cut" if side == "ours" else "full",
        )


def prepare(
    recipe: Recipe,
    *,
    ours: Mapping[str, Any],
    reference: Mapping[str, Any],
    folder: Path,
    trains: bool = True,
) -> Preparation:
    """Open the speech, save the model where both sides load it, and write down what each has to do.

    Args:
        recipe: What to compare on.
        ours: Fields that only our side has otherwise, by dotted names.
        reference: Fields that only the reference has otherwise.
        folder: Where everything goes.
        trains: Whether both will train; else they may listen with the adapter of `adapter.init`.

    Raises:
        BenchmarkError: If the recipe asks for what the reference cannot do.
        DataError: If there is nothing to learn from.
        ModelError: If there is no such model.
    """
    plain = _without_what_only_ours_has(recipe)
    for overrides in (ours, reference):
        _refuse_unlike(apply_overrides(plain, overrides), trains=trains)
    speech = open_speech(plain)
    if speech.train.is_stream:
        raise BenchmarkError(
            f"data.source {plain.data.source} is a stream",
            "both sides read the same rows, the reference by their paths",
            "give local speech: a folder, a tar or a manifest",
        )
    if speech.text_case == "restore":  # which auto may come to
        plain = _in_sentence_case(plain)
        speech = open_speech(plain)
    whisper = load_whisper(plain.model.model_copy(update={"precision": "fp32", "device": "cpu"}))
    found = speech.check(whisper)
    kept = found.check.kept if found.check else ()
    rows, epochs = whole_epochs(kept, plain)
    whole = plain.train.model_copy(update={"max_steps": None, "epochs": float(epochs)})
    plain = plain.model_copy(update={"train": whole})
    sides = {"ours": apply_overrides(plain, ours), "reference": apply_overrides(plain, reference)}
    model = _save_model(whisper, folder / "model")
    _write_recipes(sides, model, folder)
    labeller = _labeller(whisper, plain, speech)
    train = [_row(row, labeller, folder / "speech") for row in rows]
    work = f"both learn from {len(train)} utterances, {epochs} whole epoch{'s' if epochs > 1 else ''}"
    return Preparation(
        recipe=plain,
        ours=sides["ours"],
        reference=sides["reference"],
        folder=folder,
        model=model,
        config=whisper.config,
        lora=_lora(whisper, plain),
        train=tuple(train),
        eval=tuple(_scorable(speech, labeller, folder / "speech", plain.eval.max_utterances)),
        sizes=tuple(_size(row, labeller) for row in train),
        sentences=(*speech.sentences(), *([work] if trains else []), *_left_out(recipe, plain)),
    )


def _without_what_only_ours_has(recipe: Recipe) -> Recipe:
    plain = recipe.model_copy(update={"augment": AugmentSection(), "targets": TargetSection()})
    return _in_sentence_case(plain) if recipe.data.text_case == "restore" else plain


def _in_sentence_case(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"text_case": "sentence"})})


def _left_out(recipe: Recipe, plain: Recipe) -> Iterator[str]:
    """Say what the recipe asks for and the reference has not."""
    if recipe.data.text_case != plain.data.text_case:
        yield "text is not restored: both sides learn it in sentence case"
    for what, is_so in (
        ("augmentation is", recipe.augment != plain.augment),
        ("targets are", recipe.targets != plain.targets),
        ("adapter.scale is", recipe.adapter.scale != 1),
    ):
        if is_so:
            yield f"{what} left out: the reference has none"


def _write_recipes(sides: Mapping[str, Recipe], model: Path, folder: Path) -> None:
    """Write each side's recipe, on the model and the speech that both read."""
    for name, side in sides.items():
        named = side.model.model_copy(update={"name": str(model)})
        source = side.data.model_copy(update={"source": str(folder / "speech")})
        write_recipe(side.model_copy(update={"model": named, "data": source}), folder / f"{name}.yaml")


def whole_epochs(rows: Sequence[Utterance], recipe: Recipe) -> tuple[tuple[Utterance, ...], int]:
    """Return the rows and the whole epochs over them that take about as many steps as the recipe.

    The sides shuffle otherwise, so only whole epochs teach them the same. Fewer steps than an epoch has take
    as many rows, drawn evenly.
    """
    section = recipe.train
    per_step = section.batch_size * section.gradient_accumulation_steps
    if section.max_steps is None:
        return tuple(rows), max(1, round(section.epochs))
    wanted = section.max_steps * per_step
    if wanted <= len(rows):
        return tuple(draw_evenly(rows, wanted)), 1
    return tuple(rows), max(1, round(wanted / len(rows)))


def learning(recipe: Recipe, rows: int) -> Learning:
    """Return the recipe's way of learning in transformers' words."""
    section = recipe.train
    per_step = section.batch_size * section.gradient_accumulation_steps
    steps = round(section.epochs) * math.ceil(rows / per_step)
    return Learning(
        batch_size=section.batch_size,
        gradient_accumulation_steps=section.gradient_accumulation_steps,
        epochs=round(section.epochs),
        learning_rate=section.learning_rate,
        lr_scheduler_type=SCHEDULES[section.schedule],
        warmup_steps=warmup_steps(section, steps),
        weight_decay=section.weight_decay,
        max_grad_norm=section.max_grad_norm,
        adam_epsilon=ADAM_EPSILON,
        gradient_checkpointing=section.gradient_checkpointing,
        workers=section.workers or 0,
        seed=section.seed,
    )


def _refuse_unlike(recipe: Recipe, *, trains: bool) -> None:
    adapter = recipe.adapter
    unlike = {
        f"adapter.method is {adapter.method}": adapter.method != "lora",
        f"adapter.init_lora_weights is {adapter.init_lora_weights}": adapter.init_lora_weights != "zero",
        "adapter.config is given": adapter.config is not None,
        "adapter.init is given": trains and adapter.init is not None,
        f"model.quantize is {recipe.model.quantize}": recipe.model.quantize != "none",
        f"train.optimizer is {recipe.train.optimizer}": recipe.train.optimizer != "adamw",
    }
    for what, is_so in unlike.items():
        if is_so:
            raise BenchmarkError(what, "the reference trains a fresh LoRA on float weights", "leave it out")
    if recipe.data.mix:
        raise BenchmarkError("data.mix is given", "both sides learn from one source", "leave it out")


def _save_model(whisper: Whisper, folder: Path) -> Path:
    with no_loading_bar():
        whisper.core.save_pretrained(folder)
    save_companions(whisper.companions, folder)
    return folder.resolve()


def _labeller(whisper: Whisper, recipe: Recipe, speech: Speech) -> Labeller:
    return Labeller(
        whisper.tokenizer,
        multilingual=whisper.is_multilingual,
        language=recipe.model.language,
        task=recipe.model.task,
        text_case=speech.text_case,
    )


def _lora(whisper: Whisper, recipe: Recipe) -> Lora:
    section = recipe.adapter
    targets = target_modules(section.targets, whisper.core)
    return Lora(
        r=section.r,
        lora_alpha=section.lora_alpha,
        lora_dropout=section.lora_dropout,
        target_modules=targets if isinstance(targets, str) else tuple(targets),
        use_rslora=section.use_rslora,
        use_dora=section.use_dora,
    )


def _row(utterance: Utterance, labeller: Labeller, folder: Path) -> Row:
    language = None
    if labeller.multilingual:
        own = language_code(utterance.language) if utterance.language else None
        language = own or labeller.language
    text = recase(utterance.text.strip(), labeller.text_case)
    return Row(
        id=utterance.id,
        path=str(_file(utterance, folder).resolve()),
        text=text if language in WRITTEN_WITHOUT_SPACES else f" {text}",
        duration_s=utterance.duration_s or 0.0,
        language=language,
        task=utterance.task or labeller.task,
    )


def _file(utterance: Utterance, folder: Path) -> Path:
    """Return a file that both sides read: the recording's own, or one written here.

    What lies in a tar, a table or memory has none, and what soundfile cannot read only our side would decode.
    """
    audio = utterance.audio
    if isinstance(audio, Path) and audio.suffix[1:].upper() in soundfile.available_formats():
        return audio
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{len(list(folder.iterdir())):06d}.flac"
    soundfile.write(path, decode(utterance).waveform, SAMPLING_RATE)
    return path


def _size(row: Row, labeller: Labeller) -> Size:
    utterance = Utterance(row.id, Path(row.path), row.text, language=row.language, task=row.task)
    target = labeller(utterance)
    prefix = len(labeller.prefix(utterance))
    return Size(row.duration_s, len(target.decoder_input_ids), len(target.labels) - prefix + 1)


def _scorable(speech: Speech, labeller: Labeller, folder: Path, most: int | None) -> Sequence[Row]:
    """Return the rows of the scored split that can be decoded and fit the window; texts as they are."""
    rows: list[Row] = []
    for utterance in speech.eval:
        try:
            decoded = decode(utterance)
        except AudioError:
            continue
        duration_s = len(decoded.waveform) / SAMPLING_RATE
        if duration_s <= WINDOW_S and utterance.text.strip():
            timed = dataclasses.replace(utterance, duration_s=duration_s)
            rows.append(dataclasses.replace(_row(timed, labeller, folder), text=utterance.text))
        if len(rows) == most:
            break
    return rows
