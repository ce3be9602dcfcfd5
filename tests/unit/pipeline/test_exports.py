"""`export` and `verify` from the outside: what lies there afterwards, what is told, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import whisper_peft
from whisper_peft.cli import main
from whisper_peft.deploy import exporting
from whisper_peft.errors import RefusedExportError
from whisper_peft.export_types import DifferingTranscript, ParityRow
from whisper_peft.pipeline import exports

MODEL = "openai/whisper-tiny.en"
SPEECH = {"source": str(Path(__file__).parents[2] / "data" / "prompts" / "en"), "eval": "test"}
ROW = ParityRow(
    "model", "float32", "whisper-peft", "1", "", 1, 0.1, 1, 10.0, 0.10, 1.0, (), None, None, 0.0, (0.0, 0.0)
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a way to say what runtimes measure; the model itself has a WER of 10 %."""

    def say(**fields: dict[str, Any]) -> None:
        def measure(folder: Path, form: Any, quantization: str, *asked: Any, **settings: Any) -> ParityRow:
            context = "short" if settings["short_context"] else "30 s"
            told = fields.get(form.name, {})
            return replace(ROW, format=form.name, quantization=quantization, context=context, **told)

        monkeypatch.setattr(exporting, "measure", measure)

    def itself(*asked: Any, short_context: bool, **settings: Any) -> ParityRow:
        return replace(ROW, context="short" if short_context else "30 s")

    monkeypatch.setattr(exports, "measure_model", itself)
    return say


def words(folder: Path, *more: str) -> list[str]:
    speech = ["--data.source", SPEECH["source"], "--data.eval", SPEECH["eval"], "--clips", "2"]
    return ["export", MODEL, *speech, "--output-dir", str(folder), *more]


def test_an_export_leaves_a_folder_for_each_format_and_one_table(
    measured: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured()
    formats = ["--format", "huggingface", "openai", "--quantize", "float32", "float16"]
    main(args=words(tmp_path / "out", *formats))
    made = {path.name for path in (tmp_path / "out").iterdir()}
    folders = {"huggingface-float32", "huggingface-float16", "openai-float32", "openai-float16"}
    assert made == folders | {"parity.json", "parity.md", "parity.html"}
    table = json.loads((tmp_path / "out" / "parity.json").read_text(encoding="utf-8"))
    assert [row["format"] for row in table["rows"]] == ["model", *["huggingface"] * 2, *["openai"] * 2]
    assert table["clips"] == 2
    assert "| openai | float16 | 30 s |" in capsys.readouterr().out


def test_a_refused_export_ends_with_2_and_leaves_the_others_whole(
    measured: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(openai={"equal": 0.5, "differing": (DifferingTranscript("clip", "said so", "said otherwise"),)})
    with pytest.raises(SystemExit) as ended:
        main(args=words(tmp_path / "out", "--format", "openai", "huggingface"))
    assert ended.value.code == 2
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {
        "refused-openai-float16",
        "huggingface-float32",
    }
    said = capsys.readouterr()
    assert "1 of 2 exports were refused" in said.err
    assert "said otherwise" in said.out
    assert "openai float16 was refused" in (tmp_path / "out" / "parity.md").read_text(encoding="utf-8")


def test_a_model_that_was_scored_at_short_context_is_measured_at_it_wherever_that_can_be(
    measured: Callable[..., None], tmp_path: Path, tiny_en: Any
) -> None:
    measured()
    tiny_en.core.save_pretrained(tmp_path / "merged")
    (tmp_path / "merged" / "audio_context.json").write_text('{"full": 0.1, "cut": 0.1}', encoding="utf-8")
    result = whisper_peft.export(
        tmp_path / "merged", output_dir=tmp_path / "out", format=["ggml", "huggingface"], data=SPEECH, clips=1
    )
    rows = [(row.format, row.context) for row in result.table.rows]
    both = [("ggml", "30 s"), ("ggml", "short")]
    assert rows == [("model", "30 s"), ("model", "short"), *both, ("huggingface", "30 s")]


def test_a_model_without_speech_and_a_folder_in_use_are_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(args=["export", MODEL, "--output-dir", str(tmp_path / "out")])
    assert ended.value.code == 2
    assert "names no speech to compare on" in capsys.readouterr().err
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SystemExit):
        main(args=words(tmp_path))
    assert "never overwrites" in capsys.readouterr().err


def test_verify_tells_a_sound_export_and_a_changed_one(
    measured: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured()
    main(args=words(tmp_path / "out"))
    main(args=["verify", str(tmp_path / "out"), "--against", MODEL])
    assert "are as they should be" in capsys.readouterr().out
    config = tmp_path / "out" / "huggingface-float32" / "generation_config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["suppress_tokens"].remove(1)
    config.write_text(json.dumps(settings), encoding="utf-8")
    for against in ([], ["--against", MODEL]):
        with pytest.raises(SystemExit) as ended:
            main(args=["verify", str(tmp_path / "out"), *against])
        assert ended.value.code == 2
    assert "suppress_tokens lacks [1]" in capsys.readouterr().out


def test_an_export_among_several_whose_record_is_gone_is_not_passed_by(
    measured: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured()
    main(args=words(tmp_path / "out", "--format", "openai", "huggingface"))
    (tmp_path / "out" / "openai-float16" / "export.json").unlink()
    with pytest.raises(SystemExit) as ended:
        main(args=["verify", str(tmp_path / "out"), "--against", MODEL])
    assert ended.value.code == 2
    assert "openai-float16 has no export.json" in capsys.readouterr().err


@pytest.mark.slow
def test_every_format_says_what_the_model_says_on_real_clips(tmp_path: Path) -> None:
    every = ["huggingface", "ctranslate2", "ggml", "onnx", "openai", "vllm"]
    result = whisper_peft.export(MODEL, output_dir=tmp_path / "out", format=every, data=SPEECH, clips=3)
    assert [row.differing for row in result.table.rows] == [()] * 7
    assert not result.refused


def test_what_was_measured_before_a_ctrl_c_is_in_the_table(
    measured: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured()

    def stop(made: Any) -> None:
        raise KeyboardInterrupt

    formats = ["huggingface", "openai"]
    with pytest.raises(KeyboardInterrupt):
        whisper_peft.export(
            MODEL, output_dir=tmp_path / "out", format=formats, data=SPEECH, clips=1, on_exported=stop
        )
    table = json.loads((tmp_path / "out" / "parity.json").read_text(encoding="utf-8"))
    assert [row["format"] for row in table["rows"]] == ["model", "huggingface"]


def test_python_gets_the_result_of_a_refusal(measured: Callable[..., None], tmp_path: Path) -> None:
    measured(ggml={"equal": 0.9})
    with pytest.raises(RefusedExportError) as refused:
        whisper_peft.export(MODEL, output_dir=tmp_path / "out", format="ggml", data=SPEECH, clips=1)
    assert refused.value.result.exported == ()
    assert "90.0 %" in refused.value.result.refused[0]
