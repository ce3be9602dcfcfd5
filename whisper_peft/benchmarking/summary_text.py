"""A comparison as a few tables of aligned text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from whisper_peft.benchmarking.comparison import (
    AdapterScores,
    BenchmarkResult,
    LogMelComparison,
    Spread,
    TrainingComparison,
    TranscriptionComparison,
    fit_steps,
)
from whisper_peft.reporting.figures import count, memory, number, percent, points, share

HEADING = ("", "reference", "ours", "ratio")


def benchmark_text(result: BenchmarkResult) -> str:
    """Return everything that was compared: each number with its lowest and highest round."""
    parts: list[str] = []
    if result.train is not None:
        parts += [_table("training", _training_rows(result.train)), *_training_lines(result.train)]
    if result.evaluate is not None:
        parts += [_table("transcribing", _transcription_rows(result.evaluate))]
    if result.log_mel is not None:
        parts += [_log_mel_line(result.log_mel)]
    return "\n".join(parts)


def _training_rows(train: TrainingComparison) -> Iterator[tuple[str, ...]]:
    first = (train.reference[0], train.ours[0])
    yield "utterances", *(count(run.utterances) for run in first)
    yield "target tokens", *(count(run.target_tokens) for run in first)
    yield "scored prefix tokens", *(count(run.prefix_tokens) for run in first)
    yield "optimiser steps", *(count(run.steps) for run in first)
    yield "mean rows a step", *(number(run.rows_per_step) for run in first)
    yield "precision", *(train.precisions[side] for side in train.sides)
    yield "workers", *(str(run.workers) for run in first)
    speeds = [_rounds(train.speed(side)) for side in train.sides]
    yield "audio-seconds per second", *speeds, _rounds(train.speed_ratio)
    if first[0].epochs > 1:
        speeds = [_rounds(train.last_epoch_speed(side)) for side in train.sides]
        yield "the last epoch alone", *speeds, _rounds(train.last_epoch_ratio)
    yield (
        "peak memory above start",
        *(memory(train.memory(side).max) for side in train.sides),
        share(train.memory_ratio.max),
    )
    yield "data wait", *(share(train.data_wait(side).median) for side in train.sides)
    yield "useful FLOPs of peak", *(share(train.useful_share(side).median) for side in train.sides)
    yield "matmul peak, GFLOP/s", *(number(train.peaks[side] / 1e9) for side in train.sides)
    for context, scores in train.scores.items():
        yield _score_row(f"WER, {context} context", scores)


def _score_row(label: str, scores: AdapterScores) -> tuple[str, ...]:
    low, high = scores.interval
    difference = f"{points(scores.difference)} ({points(low)} to {points(high)})"
    return label, percent(scores.reference_wer), percent(scores.ours_wer), difference


def _training_lines(train: TrainingComparison) -> Iterator[str]:
    fit = fit_steps(train.ours)
    if fit is not None:
        line = f"{number(fit.intercept_s)} s + {number(fit.slope)} s for each audio second"
        yield f"our step takes {line} (r2 {fit.r2:.3f})"


def _transcription_rows(evaluate: TranscriptionComparison) -> Iterator[tuple[str, ...]]:
    yield "audio context", "full", "cut"
    speeds = [_rounds(evaluate.speed(side)) for side in evaluate.sides]
    yield "audio-seconds per second", *speeds, _rounds(evaluate.speed_ratio)
    yield _score_row("WER", evaluate.scores)


def _log_mel_line(log_mel: LogMelComparison) -> str:
    ratio = f"{_rounds(log_mel.speed_ratio)} times the feature extractor's speed on {log_mel.clips} clips"
    difference = f"at most {log_mel.max_difference:.1e} apart on real frames"
    return f"log-mel: {ratio}, {difference}, {log_mel.max_difference_padded:.1e} on the padded window"


def _rounds(values: Spread) -> str:
    """Print the median, and the range where rounds differ."""
    if values.min == values.max:
        return number(values.median)
    return f"{number(values.median)} ({number(values.min)} to {number(values.max)})"


def _table(title: str, rows: Iterable[Sequence[str]]) -> str:
    cells = [(title, *HEADING[1:]), *([*row, *[""] * (4 - len(row))] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = ("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)
