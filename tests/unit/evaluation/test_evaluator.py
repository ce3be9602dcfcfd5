"""Scores of a split: right figures, the split's order, one result whatever the batches and processes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from whisper_peft.errors import DataError, EvaluationError
from whisper_peft.evaluation import evaluator
from whisper_peft.evaluation.evaluator import EvaluationAbandoned, draw_evenly, evaluate_utterances
from whisper_peft.evaluation.generation import Generation
from whisper_peft.model.loading import Whisper
from whisper_peft.recipe.sections import EvalSection
from whisper_peft.types import EvalResult, Utterance, Waveform


def _utterances(rows: Sequence[dict[str, Any]], split: str) -> list[Utterance]:
    return [
        Utterance(row["file_name"], Path(row["file_name"]), row["text"], language=row["language"])
        for row in rows
        if row["split"] == split
    ]


def _hum(seconds: float, text: str = "hum", **fields: Any) -> Utterance:
    samples = np.full(round(16_000 * seconds), 0.1, np.float32)
    return Utterance(f"{text}-{seconds}", samples, text, sampling_rate=16_000, **fields)


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """Let the model answer with how many tenths of a second it heard; return the batches it was given."""
    batches: list[list[float]] = []

    def answer(whisper: Whisper, waveforms: Sequence[Waveform], **search: Any) -> list[Generation]:
        batches.append([len(waveform) / 16_000 for waveform in waveforms])
        return [Generation(f"heard {len(waveform) // 1600}", (), looping=False) for waveform in waveforms]

    monkeypatch.setattr(evaluator, "generate", answer)
    return batches


def _evaluate(whisper: Whisper, utterances: Sequence[Utterance], **fields: Any) -> EvalResult:
    section = EvalSection(**{"bootstrap_samples": 100, **fields})
    return evaluate_utterances(whisper, utterances, section=section, language=None, task="transcribe")


def test_the_english_test_prompts_score_as_they_always_did(
    tiny_en: Whisper, prompts_en: list[dict[str, Any]]
) -> None:
    """Frozen with greedy search and 30 s context in fp32: no word is wrong, 19 of 119 differ raw."""
    utterances = _utterances(prompts_en, "test")
    result = _evaluate(tiny_en, utterances)
    assert (result.wer, result.cer, result.normalizer) == (0.0, 0.0, "english")
    assert result.wer_raw == pytest.approx(19 / 119)
    assert [row.id for row in result.predictions] == [row.id for row in utterances]
    assert (result.utterances, result.language, result.looping, result.skipped) == (16, "en", 0, {})
    assert result.audio_seconds == pytest.approx(49.03, abs=0.01)
    assert result.rtfx > 0
    assert result.peak_memory_bytes > 1e8


def test_rows_come_back_in_the_order_of_the_split(tiny_en: Whisper, echo: list[list[float]]) -> None:
    seconds = [1.0, 3.0, 2.0, 5.0, 4.0]
    result = _evaluate(tiny_en, [_hum(length) for length in seconds], batch_size=2)
    assert [row.hypothesis for row in result.predictions] == [f"heard {10 * s:.0f}" for s in seconds]
    assert echo == [[5.0, 4.0], [3.0, 2.0], [1.0]]


def test_clips_that_do_not_fit_the_memory_together_score_the_same(
    tiny_en: Whisper, echo: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, heard = [_hum(length) for length in (1.0, 3.0, 2.0, 5.0, 4.0)], evaluator.generate
    expected = _evaluate(tiny_en, rows).predictions

    def short_of_memory(whisper: Whisper, waveforms: Sequence[Waveform], **search: Any) -> list[Generation]:
        if len(waveforms) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return heard(whisper, waveforms, **search)

    monkeypatch.setattr(evaluator, "generate", short_of_memory)
    assert _evaluate(tiny_en, rows).predictions == expected
    assert max(map(len, echo[1:])) == 2


def test_a_batch_of_short_speech_has_the_audio_seconds_of_a_full_one(
    tiny_en: Whisper, echo: list[list[float]]
) -> None:
    rows = [_hum(s) for s in (15.0, 14.8, 14.9, 3.0, 2.9)]
    _evaluate(tiny_en, rows, batch_size=1, audio_context="cut")
    assert echo == [[15.0, 14.9], [14.8, 3.0], [2.9]]
    echo.clear()
    _evaluate(tiny_en, rows, batch_size=2)
    assert echo == [[15.0, 14.9], [14.8, 3.0], [2.9]]


def test_unusable_recordings_are_counted_by_reason(tiny_en: Whisper, echo: list[list[float]]) -> None:
    nan = Utterance("nan", np.full(16_000, np.nan, np.float32), "text", sampling_rate=16_000)
    missing = Utterance("missing", Path("no/such/file.flac"), "text")
    result = _evaluate(tiny_en, [_hum(1.0), missing, nan, _hum(31.0), _hum(2.0)])
    assert result.skipped == {"missing": 1, "not-finite": 1, "too-long": 1}
    assert [row.duration_s for row in result.predictions] == [1.0, 2.0]


def test_a_split_without_usable_recordings_says_why(tiny_en: Whisper) -> None:
    with pytest.raises(EvaluationError, match=r"2 missing, 1 too-long"):
        _evaluate(tiny_en, [*[Utterance("a", Path("no/file.wav"), "text")] * 2, _hum(31.0)])
    with pytest.raises(EvaluationError, match="the split is empty"):
        _evaluate(tiny_en, [])


def test_rows_of_several_languages_share_the_normaliser_that_harms_none(
    base: Whisper, echo: list[list[float]]
) -> None:
    mixed = _evaluate(base, [_hum(1.0, language="French"), _hum(2.0, language="de")])
    assert (mixed.language, mixed.normalizer) == (None, "marks")
    assert [row.language for row in mixed.predictions] == ["fr", "de"]


def test_translations_are_scored_as_english(base: Whisper, echo: list[list[float]]) -> None:
    section = EvalSection(bootstrap_samples=100)
    result = evaluate_utterances(base, [_hum(1.0)], section=section, language="fr", task="translate")
    assert (result.language, result.normalizer) == ("fr", "english")


def test_each_row_is_asked_for_and_scored_in_its_own_task(
    base: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []

    def answer(whisper: Whisper, waveforms: Sequence[Waveform], **search: Any) -> list[Generation]:
        asked.append(search["task"])
        return [Generation("heard", (), looping=False) for _ in waveforms]

    monkeypatch.setattr(evaluator, "generate", answer)
    rows = [_hum(2.0, task="translate", language="fr"), _hum(1.0, language="fr")]
    assert _evaluate(base, rows).normalizer == "marks"
    assert [*asked[0]] == ["translate", "transcribe"]
    assert _evaluate(base, rows[:1]).normalizer == "english"


def test_a_row_without_language_stops_a_multilingual_evaluation(base: Whisper) -> None:
    with pytest.raises(DataError, match="no language is given"):
        _evaluate(base, [_hum(1.0)])


def test_progress_ends_at_the_number_of_rows(tiny_en: Whisper, echo: list[list[float]]) -> None:
    seen: list[int] = []
    rows = [_hum(1.0), Utterance("gone", Path("no/file.wav"), "text"), _hum(2.0)]
    section = EvalSection(batch_size=1, bootstrap_samples=100)
    evaluate_utterances(
        tiny_en, rows, section=section, language=None, task="transcribe", progress=seen.append
    )
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("length", [1, 4, 9, 10, 11, 40, 1000])
def test_a_limit_draws_evenly_over_the_split(length: int) -> None:
    rows = [_hum(0.1, text=str(place)) for place in range(length)]
    drawn = [int(row.text) for row in draw_evenly(iter(rows), 10)]
    assert drawn == sorted(set(drawn))
    assert len(drawn) == min(10, length)
    gaps = np.diff([*drawn, length])
    assert gaps.max() <= 2 * max(gaps.min(), length / 10)


def test_several_processes_give_the_result_of_one(
    tiny_en: Whisper, echo: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [_hum(1 + place / 10) for place in range(7)] + [Utterance("gone", Path("no/file.wav"), "text")]
    alone = _evaluate(tiny_en, rows, batch_size=2)
    together = _in_three_threads(tiny_en, rows, monkeypatch)
    assert [_comparable(result) for result in together] == [_comparable(alone)] * 3
    assert len({result.rtfx for result in together}) == 1


def test_an_evaluation_that_one_process_gives_up_is_given_up_by_all(
    tiny_en: Whisper, echo: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [_hum(1 + place / 10) for place in range(12)]
    counts: list[int] = []

    def give_up(done: int) -> None:
        counts.append(done)
        if threading.current_thread().name == "1":
            raise EvaluationAbandoned

    together = _in_three_threads(tiny_en, rows, monkeypatch, progress=give_up)
    assert [type(result) for result in together] == [EvaluationAbandoned] * 3
    assert len(counts) == 2 + 1 + 2


def _in_three_threads(
    whisper: Whisper,
    rows: Sequence[Utterance],
    monkeypatch: pytest.MonkeyPatch,
    progress: Callable[[int], None] | None = None,
) -> list[Any]:
    """Evaluate as three processes would, with a barrier in place of `torch.distributed`."""
    shares: dict[int, object] = {}
    results: dict[int, EvalResult | EvaluationAbandoned] = {}
    barrier = threading.Barrier(3, timeout=60)

    def gather(into: list[object], share: object) -> None:
        shares[int(threading.current_thread().name)] = share
        barrier.wait()
        into[:] = [shares[rank] for rank in range(3)]

    def work(rank: int) -> None:
        section = EvalSection(bootstrap_samples=100, batch_size=2)
        place = {"rank": rank, "world_size": 3}
        try:
            results[rank] = evaluate_utterances(
                whisper, rows, section=section, language=None, task="transcribe", progress=progress, **place
            )
        except EvaluationAbandoned as abandoned:
            results[rank] = abandoned

    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    threads = [threading.Thread(target=work, args=(rank,), name=str(rank)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[rank] for rank in range(3)]


def _comparable(result: EvalResult) -> dict[str, Any]:
    plain = result.to_dict()
    measured = ("rtfx", "peak_memory_bytes")
    return {name: plain[name] for name in plain if name not in measured} | {"rows": result.predictions}


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 16])
def test_tiny_en_scores_7_44_percent_on_librispeech(tiny_en: Whisper, shared: Path, batch_size: int) -> None:
    utterances = _librispeech(shared / "librispeech" / "LibriSpeech" / "heldout-clean")
    result = _evaluate(tiny_en, utterances, batch_size=batch_size, normalizer="english")
    assert result.utterances == 60
    assert f"{100 * result.wer:.2f}" == "7.44"


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 16])
def test_tiny_en_scores_29_79_percent_on_accented_speech(
    tiny_en: Whisper, shared: Path, batch_size: int
) -> None:
    folder = shared / "accented"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    utterances = _utterances([{**row, "file_name": folder / row["file_name"]} for row in rows], "test")
    result = _evaluate(tiny_en, utterances, batch_size=batch_size)
    assert (result.utterances, result.looping) == (120, 0)
    assert f"{100 * result.wer:.2f}" == "29.79"


@pytest.mark.slow
def test_base_scores_19_43_percent_on_the_french_prompts(
    base: Whisper, prompts_fr: list[dict[str, Any]]
) -> None:
    result = _evaluate(base, _utterances(prompts_fr, "test"))
    assert (result.utterances, result.normalizer, result.looping) == (49, "marks", 0)
    assert f"{100 * result.wer:.2f}" == "19.43"


def _librispeech(folder: Path) -> list[Utterance]:
    lines = [
        (transcript.parent, *line.split(" ", 1))
        for transcript in sorted(folder.rglob("*.trans.txt"))
        for line in transcript.read_text().splitlines()
    ]
    return [Utterance(name, parent / f"{name}.flac", text) for parent, name, text in lines]


PROCESS = """
import json, sys
from pathlib import Path
import torch
from whisper_peft.evaluation.evaluator import evaluate_utterances
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.sections import EvalSection, ModelSection
from whisper_peft.types import Utterance

torch.distributed.init_process_group("gloo")
rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
rows = [Utterance(name, Path(name), text) for name, text in json.loads(Path(sys.argv[1]).read_text())]
result = evaluate_utterances(
    load_whisper(ModelSection(name="openai/whisper-tiny.en", precision="fp32", device="cpu")),
    rows,
    section=EvalSection(bootstrap_samples=100),
    language=None,
    task="transcribe",
    rank=rank,
    world_size=world_size,
)
plain = result.to_dict() | {"rows": [row.to_dict() for row in result.predictions]}
Path(sys.argv[2], f"{rank}.json").write_text(json.dumps(plain))
"""


@pytest.mark.slow
def test_two_processes_under_torchrun_give_the_result_of_one(
    tiny_en: Whisper, prompts_en: list[dict[str, Any]], tmp_path: Path
) -> None:
    utterances = _utterances(prompts_en, "test")[:5]
    (tmp_path / "rows.json").write_text(json.dumps([(row.id, row.text) for row in utterances]))
    (tmp_path / "process.py").write_text(PROCESS)
    script = [str(tmp_path / "process.py"), str(tmp_path / "rows.json"), str(tmp_path)]
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        "--master_port",
        "29517",
    ]
    subprocess.run([*launcher, *script], check=True, capture_output=True, timeout=300)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    alone = _evaluate(tiny_en, utterances)
    assert first["rows"] == [row.to_dict() for row in alone.predictions]
    assert first["wer_interval"] == list(alone.wer_interval)
