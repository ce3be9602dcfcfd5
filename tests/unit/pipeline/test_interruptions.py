"""Ctrl-C and SIGTERM in every stage of a run, and what --resume makes of it."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from whisper_peft import Utterance, finetune
from whisper_peft.cli import main
from whisper_peft.evaluation import evaluator
from whisper_peft.pipeline.runs.stored_scores import difference_interval
from whisper_peft.types import EvalResult, Prediction

ADAPTER = Path("adapter") / "adapter_model.safetensors"


@pytest.fixture
def sections(prompts_en):
    rows = [
        Utterance(str(n), Path(row["file_name"]), row["text"], duration_s=row["duration_s"])
        for n, row in enumerate(sorted(prompts_en, key=lambda row: row["duration_s"])[:6])
    ]
    test = [replace(row, id="an id that repeats") for row in rows[4:]]
    return {
        "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
        "data": {"source": {"train": rows[:4], "dev": rows[4:], "test": test}, "dev": "dev", "eval": "test"},
        "adapter": {"r": 4, "targets": "attention"},
        "train": {"max_steps": 3, "batch_size": 2, "learning_rate": 1e-3, "workers": 0},
        "eval": {"steps": 2, "batch_size": 1, "short_context": False, "health": "off"},
        "merge": {"enabled": False},
    }


@pytest.fixture(autouse=True)
def ctrl_c():
    """Let Ctrl-C do what it does at a terminal: shells start programs in the background with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press(monkeypatch, batch, number=signal.SIGINT):
    """Press Ctrl-C in a batch of the evaluations to come, and return the list of those that were begun."""
    begun, transcribe = [], evaluator._transcribe

    def counted(*args):
        begun.append(len(begun) + 1)
        if len(begun) == batch:
            signal.raise_signal(number)
        return transcribe(*args)

    monkeypatch.setattr(evaluator, "_transcribe", counted)
    return begun


@pytest.mark.slow
def test_a_run_that_is_stopped_in_each_of_its_evaluations_ends_as_if_it_never_was(
    sections, tmp_path, monkeypatch
):
    whole = finetune("lora-librispeech", **sections, output_dir=tmp_path / "whole")
    folder = tmp_path / "run"
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    with monkeypatch.context() as patch:
        begun = press(patch, 1, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt, match=r"before training.*--resume --output-dir"):
            finetune("lora-librispeech", **sections, output_dir=folder)
        assert begun == [1]

    with monkeypatch.context() as patch:
        begun = press(patch, 3)
        assert finetune("lora-librispeech", **sections, output_dir=folder, resume=True).interrupted
        assert begun == [1, 2, 3]

    with monkeypatch.context() as patch:
        begun = press(patch, 6)
        with pytest.raises(KeyboardInterrupt, match=r"after training.*--resume --output-dir"):
            finetune("lora-librispeech", **sections, output_dir=folder, resume=True)
        assert begun == [1, 2, 3, 4, 5, 6]
        assert (folder / ADAPTER).read_bytes() == (whole.folder / ADAPTER).read_bytes()

    with monkeypatch.context() as patch:
        begun = press(patch, 0)
        resumed = finetune("lora-librispeech", **sections, output_dir=folder, resume=True)
        assert begun == [1, 2]
    assert resumed.report["train"]["best_step"] == whole.report["train"]["best_step"]
    assert resumed.report["evaluation"]["after"]["wer"] == whole.report["evaluation"]["after"]["wer"]
    assert (folder / ADAPTER).read_bytes() == (whole.folder / ADAPTER).read_bytes()
    difference = resumed.report["evaluation"]["difference_interval"]
    assert difference == whole.report["evaluation"]["difference_interval"]
    assert scored_steps(folder) == scored_steps(whole.folder) == [2, 3]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def scored_steps(folder):
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row["step"] for row in rows if "eval_wer" in row]


def test_the_difference_counts_every_utterance_of_an_id_that_repeats():
    def scored(*errors):
        rows = [Prediction("same", "a b", "", 1.0, n / 2, n, 0, 0, 2 - n) for n in errors]
        rates = dict.fromkeys(("wer", "cer", "wer_raw", "cer_raw"), 0.5)
        counts = dict.fromkeys(("substitutions", "deletions", "insertions", "hits", "peak_memory_bytes"), 1)
        names = {"normalizer": "english", "language": "en", "audio_context": "full"}
        scores = {**rates, **counts, **names, "wer_interval": (0.5, 0.5), "utterances": 2, "rtfx": 1.0}
        return EvalResult(**scores, predictions=tuple(rows))

    low, high = difference_interval(scored(2, 0), scored(0, 0), 200)
    assert (low, high) == (-1.0, 0.0)


def test_the_command_line_says_where_a_stopped_run_stands(monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt("stopped before training")

    monkeypatch.setattr("whisper_peft.cli._run_verb", stop)
    with pytest.raises(SystemExit) as ended:
        main(args=["finetune", "lora-librispeech"])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "stopped before training\n"
