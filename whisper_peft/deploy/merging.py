"""Fold an adapter into its base, and prove on real clips that the result is the same model.

Nothing is folded into int8 or nf4 weights, which would round the update away: the base is the original one in
float, or the rounded weights written out in float, beside which the adapter has learned. What is
compared is the folder as it was written, read back from disk. Models are loaded one after the other: memory
holds one at a time.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from whisper_peft.data.targets.labels import Labeller
from whisper_peft.deploy.dequantized_base import as_trained, is_exact_as_trained, write_dequantized_base
from whisper_peft.deploy.merge_record import write_merge_record
from whisper_peft.errors import MergeError, StorageError
from whisper_peft.evaluation.generation import generate_transcripts
from whisper_peft.model.adapters.attaching import adapter_model
from whisper_peft.model.adapters.scales import scaled
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.library_noise import no_loading_bar
from whisper_peft.model.loading import Whisper, load_run_or_model, load_whisper
from whisper_peft.model.log_mel import LogMel
from whisper_peft.recipe.sections import MergeBase, MergeSection, ModelSection
from whisper_peft.types import MAX_LABEL_TOKENS, MergeResult, Utterance


@dataclass(frozen=True)
class Witness:
    """What a model says about the comparison clips: logits at every target position, and transcripts.

    Each tensor has shape `(tokens, vocabulary)`, fp32, on the CPU.
    """

    logits: tuple[Tensor, ...]
    transcripts: tuple[str, ...]


@dataclass(frozen=True)
class TrainedWitness:
    """What a quantised model says as it was trained; `is_exact` where it then computed in float."""

    witness: Witness
    is_exact: bool


def merge_adapter(
    run: Path,
    section: ModelSection,
    *,
    clips: Sequence[Utterance],
    output_dir: Path,
    how: MergeSection,
) -> MergeResult:
    """Write the merged model to `output_dir` and compare it with the adapter model.

    Args:
        run: Run or adapter folder.
        section: The model that was trained; its quantisation is compared too, where there is one.
        clips: Decoded utterances with text to compare on.
        output_dir: Folder to write: safetensors and every tokenizer and generation file.
        how: Into which base, at which scale, and the largest accepted difference of any logit. With a
            dequantised base that holds for the difference from the model as it was trained too, wherever
            that computed in float.

    Raises:
        MergeError: If there is no adapter or clip, nothing was quantised that could be dequantised, or the
            difference is past the tolerance; nothing is kept.
        StorageError: If the folder is in use or cannot be written.
    """
    if not clips:
        raise MergeError("there is no clip to compare on", "", "give data.eval a split with rows")
    refuse_unquantized(how.base, section)
    _refuse_used(output_dir)
    _try_to_write(output_dir)
    whole = section.model_copy(update={"quantize": "none", "precision": "fp32"})
    partial, rounded = _hidden("partial", output_dir), _hidden("base", output_dir)
    try:
        trained = None
        if how.base == "dequantized":
            trained = _dequantize(run, section, clips, rounded, how.scale)
            whole = whole.model_copy(update={"name": str(rounded)})
            gc.collect()
        expected = _fold(run, whole, section, clips, partial, how.scale)
        gc.collect()
        found = witness(load_whisper(whole.model_copy(update={"name": str(partial)})), clips, section)
        gc.collect()
        result = compare(expected, found, clips, output_dir, how.max_logit_difference)
        if section.quantize != "none":
            trained = trained or _witness_trained(
                load_run_or_model(str(run), section), clips, section, how.scale
            )
            result = _against_trained(result, trained, found, binding=how.base == "dequantized")
        with _writing(output_dir):
            write_merge_record(partial, run)
            partial.replace(output_dir)
    finally:
        for folder in (partial, rounded):
            shutil.rmtree(folder, ignore_errors=True)
    return replace(result, base=how.base, scale=how.scale)


def refuse_unquantized(base: MergeBase, section: ModelSection) -> None:
    """Refuse to dequantise what was never quantised.

    Raises:
        MergeError: With what to choose instead.
    """
    if base == "dequantized" and section.quantize == "none":
        raise MergeError(
            "merge.base is dequantized and model.quantize is none",
            "the adapter has learned beside the original weights",
            "use --base float (merge.base float in a recipe)",
        )


def _hidden(kind: str, output_dir: Path) -> Path:
    return output_dir.with_name(f".{kind}-{output_dir.name}")


@contextmanager
def _writing(output_dir: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"the merged model cannot be written to {output_dir}",
            str(error),
            "free some space, or give another --output-dir",
        ) from error


def _refuse_used(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if folder.exists():
        raise StorageError(
            f"the folder {folder} is in use",
            "a merge never overwrites",
            "give another --output-dir or delete it",
        )


def _try_to_write(folder: Path) -> None:
    """Make the folder and remove it again, before anything is loaded."""
    try:
        folder.mkdir(parents=True)
        folder.rmdir()
    except OSError as error:
        raise StorageError(
            f"the folder {folder} cannot be made",
            error.strerror or str(error),
            "give another --output-dir",
        ) from error


def _dequantize(
    run: Path, section: ModelSection, clips: Sequence[Utterance], folder: Path, scale: float
) -> TrainedWitness:
    """Write the base as the run saw it, and return what the trained model, which is used up, said before."""
    tuned = _load_adapted(run, section)
    trained = _witness_trained(tuned, clips, section, scale)
    shutil.rmtree(folder, ignore_errors=True)
    with _writing(folder):
        write_dequantized_base(tuned, folder)
    return trained


def _witness_trained(
    tuned: Whisper, clips: Sequence[Utterance], section: ModelSection, scale: float
) -> TrainedWitness:
    with scaled(tuned, scale), as_trained(tuned):
        return TrainedWitness(witness(tuned, clips, section), is_exact_as_trained(tuned))


def _load_adapted(run: Path, section: ModelSection) -> Whisper:
    tuned = load_run_or_model(str(run), section)
    if tuned.model is tuned.core:
        raise MergeError(
            f"{run} has no adapter", "a fully fine-tuned model is whole already", "use it as it is"
        )
    return tuned


def _fold(
    run: Path,
    whole: ModelSection,
    section: ModelSection,
    clips: Sequence[Utterance],
    folder: Path,
    scale: float,
) -> Witness:
    """Write the merged model, and return what the adapter model, which is used up, said before."""
    tuned = _load_adapted(run, whole)
    with scaled(tuned, scale):
        expected = witness(tuned, clips, section)
        with _writing(folder):
            _write_merged(tuned, folder)
    return expected


def _write_merged(tuned: Whisper, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with no_loading_bar():
        adapter_model(tuned).merge_and_unload().save_pretrained(folder)
    save_companions(tuned.companions, folder)


def witness(whisper: Whisper, clips: Sequence[Utterance], section: ModelSection) -> Witness:
    """Return a model's logits and transcripts of the clips, at 30 s context."""
    labeller = Labeller(
        whisper.tokenizer, multilingual=whisper.is_multilingual, language=section.language, task=section.task
    )
    logits = tuple(_logits(whisper, clip, labeller) for clip in clips)
    languages = [clip.language or section.language for clip in clips]
    transcripts = generate_transcripts(
        whisper, [clip.waveform for clip in clips], language=languages, task=section.task
    )
    return Witness(logits, tuple(transcripts))


@torch.no_grad()
def _logits(whisper: Whisper, clip: Utterance, labeller: Labeller) -> Tensor:
    core = whisper.core.eval()
    log_mel = LogMel(whisper.num_mel_bins).to(whisper.device)
    features = log_mel(torch.from_numpy(clip.waveform)[None].to(whisper.device), frames=3000)
    # a transcript longer than the decoder has positions is compared as far as they go
    tokens = labeller(clip).decoder_input_ids[:MAX_LABEL_TOKENS]
    read = torch.tensor([tokens], device=whisper.device)
    with whisper.precision.autocast(whisper.device):
        features = features.to(whisper.precision.weights_dtype)
        output = core(input_features=features, decoder_input_ids=read)
    logits: Tensor = output.logits
    return logits[0].float().cpu()


def compare(
    expected: Witness, found: Witness, clips: Sequence[Utterance], folder: Path, tolerance: float
) -> MergeResult:
    """Return how far two models are apart on the clips.

    Raises:
        MergeError: If a logit differs by more than the tolerance.
    """
    difference = logit_difference(expected, found)
    pairs = zip(clips, expected.transcripts, found.transcripts, strict=True)
    differing = tuple(clip.id for clip, a, b in pairs if a != b)
    if not difference <= tolerance:
        raise MergeError(
            f"the merged model's logits differ by up to {difference:.4g} from the adapter model's",
            f"the tolerance is {tolerance:g} (merge.max_logit_difference); the merged folder was not kept",
            "the adapter itself is unharmed; raise the tolerance only if the transcripts satisfy you",
        )
    return MergeResult(
        folder=str(folder),
        max_logit_difference=difference,
        transcripts_equal=not differing,
        clips=len(clips),
        differing=differing,
        tolerance=tolerance,
    )


def logit_difference(a: Witness, b: Witness) -> float:
    """Return the largest absolute difference of any logit."""
    return max(float((one - other).abs().max()) for one, other in zip(a.logits, b.logits, strict=True))


def _against_trained(
    result: MergeResult, trained: TrainedWitness, merged: Witness, *, binding: bool
) -> MergeResult:
    """Add the comparison with the model as it was trained; refuse it where the two should be equal."""
    said = trained.witness
    difference = logit_difference(said, merged)
    if binding and trained.is_exact and not difference <= result.tolerance:
        raise MergeError(
            f"the merged model's logits differ by up to {difference:.4g} from the model's as it was trained",
            f"the tolerance is {result.tolerance:g} (merge.max_logit_difference); nothing was kept",
            "merge with --base float, which leaves the quantised weights on purpose",
        )
    equal = [one == other for one, other in zip(said.transcripts, merged.transcripts, strict=True)]
    return replace(
        result,
        quantized_max_logit_difference=difference,
        quantized_transcripts_equal=sum(equal) / len(equal),
    )
