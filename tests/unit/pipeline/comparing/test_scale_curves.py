"""A curve over scales: what is scored at which scale, and which scale it speaks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import whisper_peft
from whisper_peft.cli import main
from whisper_peft.errors import AdapterError, RecipeError
from whisper_peft.model.adapters.attaching import attach_adapter, save_adapter
from whisper_peft.model.loading import load_whisper
from whisper_peft.recipe.sections import AdapterSection, ModelSection
from whisper_peft.reporting.values.scale_curve_values import ScaleCurve, ScalePoint, write_scale_plot

NAME = "openai/whisper-tiny.en"


def point(scale: float, wer: float, kept: float | None = None) -> ScalePoint:
    around = None if kept is None else (kept - 0.01, kept + 0.01)
    return ScalePoint(scale, wer, (wer - 0.01, wer + 0.01), kept, around)


def curve(*points: ScalePoint, **fields: Any) -> ScaleCurve:
    kept = "en" if points[0].retention_wer is not None else None
    return ScaleCurve("run", "fr", 49, kept, 16 if kept else 0, points, **fields)


def test_the_lowest_wer_is_recommended_among_scales_that_retain() -> None:
    made = curve(point(0, 0.20, 0.10), point(0.5, 0.14, 0.104), point(0.7, 0.13, 0.105), point(1, 0.125, 0.2))
    assert made.best().scale == 0.7
    said = made.recommendation()
    assert said.startswith("Use a scale of 0.7: WER 13.00 % on fr (base 20.00 %, whole adapter 12.50 %)")
    assert "and WER 10.50 % on en (base 10.00 %, whole adapter 20.00 %)" in said
    assert "at most 0.5 points above the base's" in said
    assert said.endswith("; 0.5, 1 lie within its 95 % interval.")
    assert curve(*made.points, tolerance=0.1).best().scale == 1


def test_the_base_is_recommended_where_every_scale_forgets_or_harms() -> None:
    assert curve(point(0, 0.2, 0.1), point(0.5, 0.1, 0.2), point(1, 0.05, 0.3)).best().scale == 0
    assert curve(point(0, 0.2), point(1, 0.3)).best().scale == 0


def test_of_equal_scales_the_smaller_is_recommended() -> None:
    assert curve(point(0, 0.2, 0.1), point(0.5, 0.1, 0.1), point(1, 0.1, 0.1)).best().scale == 0.5


def test_table_json_and_plot_show_every_point(tmp_path: Path) -> None:
    made = curve(point(0, 0.2, 0.1), point(1, 0.12, 0.2))
    lines = made.text().splitlines()
    assert lines[0].split("  ")[0] == "scale"
    assert lines[2].startswith("1      12.00 % (11.00 % to 13.00 %)")
    plain = json.loads(json.dumps(made.to_dict()))
    assert (plain["recommended_scale"], len(plain["points"])) == (0, 2)
    assert write_scale_plot(made, tmp_path / "new" / "curve.png").read_bytes().startswith(b"\x89PNG")
    write_scale_plot(curve(point(0, 0.2), point(1, 0.3)), tmp_path / "one.png")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an adapter of tiny.en that makes it say nonsense."""
    whisper = load_whisper(ModelSection(name=NAME, device="cpu"))
    attach_adapter(whisper, AdapterSection(r=4, targets="decoder-only"), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in whisper.model.named_parameters():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    folder = tmp_path_factory.mktemp("adapter")
    save_adapter(whisper, folder)
    return folder


@pytest.fixture(scope="module")
def rows(prompts_en: list[dict[str, Any]]) -> list[dict[str, Any]]:
    short = sorted(prompts_en, key=lambda row: float(row["duration_s"]))[:3]
    return [{"audio": row["file_name"], "text": row["text"]} for row in short]


def test_each_scale_is_scored_as_evaluate_scores_it(adapter: Path, rows: list[dict[str, Any]]) -> None:
    data = {"source": rows, "eval": "all"}
    made = whisper_peft.scale_curve(
        adapter, scales=(1, 0), data=data, retention={"source": rows[:2], "eval": "all", "name": "kept"}
    )
    base = whisper_peft.evaluate(NAME, data=data)
    whole = whisper_peft.evaluate(adapter, data=data)
    assert [point.scale for point in made.points] == [0, 1]
    assert [point.wer for point in made.points] == [base.wer, whole.wer]
    assert base.wer < whole.wer
    assert (made.utterances, made.retention, made.retention_utterances) == (3, "kept", 2)
    assert made.points[0].retention_wer == whisper_peft.evaluate(NAME, data={**data, "source": rows[:2]}).wer
    assert made.best().scale == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scales": (0.5, -1)}, "scale -1 was asked for"),
        ({"scales": ()}, "no scale was asked for"),
        ({"tolerance": 2}, "tolerance is 2"),
        ({"retention": {"source": "a", "evl": "b"}}, r"retention: evl .*"),
    ],
)
def test_an_unfit_request_is_refused_before_anything_is_loaded(
    fields: dict[str, Any], words: str, rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(RecipeError, match=words):
        whisper_peft.scale_curve("none", data={"source": rows, "eval": "all"}, **fields)


def test_a_model_without_an_adapter_has_no_curve(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(AdapterError, match="has no adapter"):
        whisper_peft.scale_curve(NAME, data={"source": rows, "eval": "all"})


def test_the_words_of_the_command_line_reach_the_function(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}

    def stand_in(run: str, **given: Any) -> ScaleCurve:
        seen.update(given, run=run)
        return curve(point(0, 0.2, 0.1), point(1, 0.12, 0.1))

    monkeypatch.setattr(whisper_peft, "scale_curve", stand_in)
    words = (
        "adapters scale-curve RUN --scales 0 1 --data.eval test --retention.source EN --retention.language en"
    )
    files = ["--json", str(tmp_path / "c.json"), "--plot", str(tmp_path / "c.png")]
    main(args=[*words.split(), *files])
    assert (seen["run"], seen["scales"], seen["data"]) == ("RUN", (0.0, 1.0), {"eval": "test"})
    assert seen["retention"] == {"source": "EN", "language": "en"}
    assert "Use a scale of 1" in capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text())["recommended_scale"] == 1
    assert (tmp_path / "c.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("adapters combin a", "did you mean combine?"),
        ("adapters scale-curve RUN --retention.language en", "--retention has no source"),
        ("adapters combine a b", "--output-dir"),
        ("adapters show", "ADAPTER"),
        ("adapters average none --output-dir out", "none is no run folder"),
        ("adapters extract none --output-dir out", "--base NAME"),
    ],
)
def test_a_users_mistake_is_one_message(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(args=words.split())
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
