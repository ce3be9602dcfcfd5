"""Runs an exported folder in its own runtime, and sets what it says beside what the model said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from whisper_peft.data.batches.audio_contexts import context_frames
from whisper_peft.deploy.export_values import ExportFormat, Reference
from whisper_peft.deploy.runtime_values import RuntimeAnswer, RuntimeRequest
from whisper_peft.deploy.runtimes import RUNTIMES, require
from whisper_peft.errors import ExportError
from whisper_peft.evaluation.normalizers import get_normalizer
from whisper_peft.evaluation.scoring import Scores, paired_interval, score
from whisper_peft.export_types import DifferingTranscript, ParityRow
from whisper_peft.model.adapters.folders import find_adapter_folder
from whisper_peft.types import SAMPLING_RATE

START_TIMEOUT_S = 600.0
"""What loading may take, also from a slow disk."""

CLIP_TIMEOUT_S = 120.0
"""What a clip may take: a window of 30 s in a large model on one old core."""

ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",  # all of them on the CPU, where every runtime can
    "GGML_NO_BACKTRACE": "1",  # ggml would attach a debugger to a process that aborts
}


def measure(
    folder: Path,
    form: ExportFormat,
    quantization: str,
    reference: Reference,
    *,
    threads: int = 1,
    short_context: bool = False,
) -> ParityRow:
    """Run a folder in its runtime, in a process of its own, on the clips of a reference.

    Args:
        folder: What was written.
        form: The format it is in.
        quantization: One of the format's.
        reference: Clips, and what the model says about them.
        threads: Threads of the runtime.
        short_context: Whether the encoder hears each clip alone; transcripts are compared with those at 30 s
            all the same.

    Raises:
        ExportError: If the runtime is not installed, cannot hear clips alone, crashes or takes too long.
    """
    found = run_runtime(
        form.runtime, folder / form.model_folder, reference, threads=threads, short_context=short_context
    )
    return _row(found, reference, form.name, quantization, folder, short_context=short_context)


def measure_model(
    run_or_model: str, reference: Reference, *, threads: int = 1, short_context: bool = False
) -> ParityRow:
    """Run the model that is exported in a process of its own, as the exports are.

    The size of a run is that of its adapter.

    Args:
        run_or_model: A run, adapter folder or model.
        reference: Clips, and what the model says about them.
        threads: Threads to compute with.
        short_context: Whether the encoder hears each clip alone.
    """
    folder = Path(run_or_model)
    found = run_runtime("whisper_peft", folder, reference, threads=threads, short_context=short_context)
    row = _row(found, reference, "model", "float32", folder, short_context=short_context)
    adapter = find_adapter_folder(folder / "adapter")
    return row if adapter is None else replace(row, size_bytes=_size(adapter))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def run_runtime(
    runtime: str,
    folder: Path,
    reference: Reference,
    *,
    threads: int,
    short_context: bool = False,
    start_timeout_s: float = START_TIMEOUT_S,
) -> tuple[RuntimeAnswer, float | None]:
    """Return what a runtime said, and the largest difference of a logit; None where it shows none.

    Args:
        runtime: Its name.
        folder: What was written for it.
        reference: Clips, and what the model says about them.
        threads: Threads to compute with.
        short_context: Whether the encoder hears each clip alone.
        start_timeout_s: What loading may take.

    Raises:
        ExportError: If the runtime is not installed, cannot hear clips alone, crashes or takes too long.
    """
    kind = RUNTIMES[runtime]
    for library in kind.libraries:
        require(library, install=kind.install)
    if short_context and not kind.hears_short:
        raise ExportError(
            f"{runtime} always hears 30 s", "it has no audio context to set", "give ggml or onnx for that"
        )
    with TemporaryDirectory(prefix="whisper-peft-") as scratch:
        request = _write_request(reference, Path(scratch), threads=threads, short_context=short_context)
        answer = _run(runtime, folder, Path(scratch), request, start_timeout_s)
        return answer, _logit_difference(answer, reference) if not short_context else None


def _write_request(
    reference: Reference, scratch: Path, *, threads: int, short_context: bool
) -> RuntimeRequest:
    paths = [scratch / f"{place}.npy" for place in range(len(reference.clips))]
    for path, clip in zip(paths, reference.clips, strict=True):
        np.save(path, clip.waveform)
    return RuntimeRequest(
        clips=tuple(map(str, paths)),
        language=reference.language,
        task=reference.task,
        threads=threads,
        audio_frames=tuple(map(context_frames, _seconds(reference))) if short_context else (),
        decoder_input_ids=() if short_context else reference.decoder_input_ids,
    )


def _seconds(reference: Reference) -> list[float]:
    return [len(clip.waveform) / SAMPLING_RATE for clip in reference.clips]


def _run(
    runtime: str, folder: Path, scratch: Path, request: RuntimeRequest, start_timeout_s: float
) -> RuntimeAnswer:
    asked, answered = scratch / "request.json", scratch / "answer.json"
    asked.write_text(json.dumps(request.to_dict()), encoding="utf-8")
    module = "whisper_peft.deploy.runtimes"
    command = [sys.executable, "-m", module, runtime, str(folder), str(asked), str(answered)]
    limit = start_timeout_s + CLIP_TIMEOUT_S * len(request.clips)
    threads = {"OMP_NUM_THREADS": str(request.threads)}
    try:
        ended = subprocess.run(
            command, env=os.environ | ENVIRONMENT | threads, timeout=limit, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise ExportError(
            f"{runtime} did not answer within {limit:.0f} s", "it was stopped", "give fewer clips"
        ) from None
    if ended.returncode:
        raise _failure(runtime, folder, ended.returncode, ended.stderr.decode(errors="replace"))
    return RuntimeAnswer.from_dict(json.loads(answered.read_text(encoding="utf-8")))


def _failure(runtime: str, folder: Path, code: int, said: str) -> ExportError:
    """Return the error of a process that failed: killed by a signal, or with what it said last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    ended = f"crashed ({signal.Signals(-code).name})" if code < 0 else "failed"
    return ExportError(f"{runtime} {ended} on {folder}", last, "the export was not accepted: do not ship it")


def _logit_difference(answer: RuntimeAnswer, reference: Reference) -> float | None:
    if answer.logits is None or not reference.logits:
        return None
    with np.load(answer.logits) as found:
        pairs = zip(found.values(), reference.logits, strict=True)
        return max(float(np.abs(logits - expected.numpy()).max()) for logits, expected in pairs)


def _row(
    found: tuple[RuntimeAnswer, float | None],
    reference: Reference,
    format: str,
    quantization: str,
    folder: Path,
    *,
    short_context: bool,
) -> ParityRow:
    answer, logits = found
    differing = differing_transcripts(reference, answer.transcripts)
    expected, heard = (scores(reference, said) for said in (reference.transcripts, answer.transcripts))
    change = paired_interval([row.words for row in expected.rows], [row.words for row in heard.rows])
    return ParityRow(
        format=format,
        quantization=quantization,
        runtime=answer.runtime,
        runtime_version=answer.version,
        folder=str(folder),
        size_bytes=_size(folder),
        load_s=answer.load_s,
        peak_memory_bytes=answer.peak_memory_bytes,
        rtfx=sum(_seconds(reference)) / answer.seconds,
        wer=heard.wer,
        equal=1 - len(differing) / len(reference.clips),
        differing=differing,
        max_logit_difference=logits,
        weights_identical=None,
        wer_change=change.difference,
        wer_change_interval=change.interval,
        context="short" if short_context else "30 s",
    )


def differing_transcripts(
    reference: Reference, transcripts: Sequence[str]
) -> tuple[DifferingTranscript, ...]:
    """Return the clips that are written otherwise than the model writes them, character for character."""
    rows = zip(reference.clips, reference.transcripts, transcripts, strict=True)
    return tuple(
        DifferingTranscript(clip.id, expected, found) for clip, expected, found in rows if expected != found
    )


def scores(reference: Reference, transcripts: Sequence[str]) -> Scores:
    """Score transcripts against what was said in the clips, by the reference's normaliser."""
    language = "en" if reference.task == "translate" else reference.language or "en"
    normalize = get_normalizer(reference.normalizer, language)
    return score([clip.text for clip in reference.clips], transcripts, normalizer=normalize)
