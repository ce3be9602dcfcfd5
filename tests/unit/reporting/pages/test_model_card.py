from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from whisper_peft.errors import RecipeError
from whisper_peft.reporting.pages.model_card import write_model_card
from whisper_peft.reporting.run_report import read_report

RECIPE = "recipe.yaml"


def card(folder: Path) -> str:
    return write_model_card(read_report(folder).to_dict(), folder).read_text(encoding="utf-8")


def front_matter(text: str) -> dict[str, Any]:
    head = text.removeprefix("---\n").split("\n---\n")[0]
    loaded: dict[str, Any] = yaml.safe_load(head)
    return loaded


def code(text: str, language: str) -> list[str]:
    return [part.split("\n```")[0] for part in text.split(f"```{language}\n")[1:]]


def test_front_matter_holds_what_the_hub_reads(run_folder: Path) -> None:
    head = front_matter(card(run_folder))
    after = read_report(run_folder).evaluation.after
    assert head["base_model"] == "openai/whisper-base"
    assert (head["library_name"], head["language"]) == ("peft", "fr")
    assert head["metrics"] == ["wer", "cer"]
    (result,) = head["model-index"][0]["results"]
    assert result["dataset"]["split"] == "test"
    assert result["metrics"][0]["value"] == round(after.wer * 100, 2)
    assert result["metrics"][1]["value"] == round(after.cer * 100, 2)


def test_table_equals_the_report(run_folder: Path) -> None:
    evaluation = read_report(run_folder).evaluation
    row = next(line for line in card(run_folder).splitlines() if line.startswith("| Word error rate"))
    before, after = (f"{result.wer * 100:.2f} %" for result in (evaluation.before, evaluation.after))
    assert row == f"| Word error rate (WER) | {before} | {after} |"


def test_code_of_the_card_is_python(run_folder: Path) -> None:
    snippets = code(card(run_folder), "python")
    assert len(snippets) == 3
    for snippet in snippets:
        compile(snippet, "README.md", "exec")
    assert '"language": "fr"' in snippets[0]
    assert 'from_pretrained("openai/whisper-base")' in snippets[1]


def test_other_runtimes_get_files_in_the_language_of_the_run(run_folder: Path) -> None:
    text = card(run_folder)
    exported = "whisper-peft export . --format ctranslate2 ggml --output-dir exports"
    whisper_cpp = "whisper-cli -m exports/ggml-f16/ggml-model.bin -l fr speech.wav"
    assert code(text, "bash") == ["whisper-peft transcribe . speech.flac", exported, whisper_cpp]
    faster_whisper = code(text, "python")[2]
    assert 'WhisperModel("exports/ctranslate2-float16"' in faster_whisper
    assert 'model.transcribe("speech.flac", language="fr")' in faster_whisper


def test_english_only_checkpoints_and_translations_are_told_to_other_runtimes(run_folder: Path) -> None:
    (run_folder / RECIPE).write_text("name: en\nmodel: {name: openai/whisper-tiny.en}\n")
    assert 'model.transcribe("speech.flac")' in card(run_folder)
    assert "ggml-model.bin speech.wav" in card(run_folder)
    translating = "{name: openai/whisper-base, language: fr, task: translate}"
    (run_folder / RECIPE).write_text(f"name: fr\nmodel: {translating}\n")
    assert 'language="fr", task="translate")' in card(run_folder)
    assert "-l fr -tr speech.wav" in card(run_folder)


@pytest.mark.parametrize("fields", ["{method: ia3}", "{use_dora: true, init_lora_weights: eva}"])
def test_the_method_is_called_by_its_name(run_folder: Path, fields: str) -> None:
    (run_folder / RECIPE).write_text(f"name: x\nadapter: {fields}\n")
    assert {"{method: ia3}": "by IA3."}.get(fields, "by DoRA, EVA.") in card(run_folder)


def test_english_only_checkpoint_gets_no_language(run_folder: Path) -> None:
    (run_folder / RECIPE).write_text("name: en\nmodel: {name: openai/whisper-tiny.en}\n")
    text = card(run_folder)
    assert "generate_kwargs={}" in text
    assert front_matter(text)["language"] == "en"


@pytest.mark.parametrize("name", ["{folder}", "run/base"])
def test_local_base_is_not_called_a_hub_model(
    run_folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_folder.parent)
    (run_folder / "base").mkdir()
    (run_folder / RECIPE).write_text(f"name: local\nmodel: {{name: {name.format(folder=run_folder)}}}\n")
    assert "base_model" not in front_matter(card(run_folder))


def test_full_fine_tuning_has_no_adapter_to_load(run_folder: Path) -> None:
    (run_folder / RECIPE).write_text("name: full\nadapter: {method: full}\n")
    text = card(run_folder)
    assert "PeftModel" not in text
    assert 'model="model"' in text
    assert front_matter(text)["library_name"] == "transformers"


def test_markup_in_texts_is_escaped(make_run: Callable[..., Path], run_folder: Path) -> None:
    evil = "x\n---\n# <script>alert(1)</script> [a](b) | `c` *d* ```"
    report = read_report(run_folder)
    folder = make_run(
        run=report.run.model_copy(update={"name": evil}),
        data=report.data.model_copy(update={"source": evil, "text_style": evil}),
    )
    (folder / RECIPE).write_text(json.dumps({"name": "x", "model": {"name": evil, "language": "fr"}}))
    text = card(folder)
    body = text.split("\n---\n", 1)[1]
    assert "<script>" not in body.replace("\\<script\\>", "").replace(json.dumps(evil), "")
    assert "\n---" not in body
    assert front_matter(text)["model-index"][0]["name"] == evil
    assert "base_model" not in front_matter(text)
    for snippet in code(text, "python"):
        compile(snippet, "README.md", "exec")


def test_only_measured_things_are_told(make_run: Callable[..., Path]) -> None:
    text = card(make_run(train=None, evaluation=None, merge=None, data=None, adapter=None))
    assert "model-index" not in front_matter(text)
    assert "## Results" not in text
    assert "Training did not end." in text
    assert "merged" not in text
    assert "None" not in text


def test_missing_recipe_is_one_clear_error(run_folder: Path) -> None:
    (run_folder / RECIPE).unlink()
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        card(run_folder)
