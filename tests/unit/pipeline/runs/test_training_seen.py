"""What a run folder tells of its training, whatever of it is still there."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from whisper_peft.cli import main
from whisper_peft.model.adapters.attaching import attach_adapter, save_adapter
from whisper_peft.model.checkpoints.companions import save_companions
from whisper_peft.model.loading import load_whisper
from whisper_peft.pipeline.runs.run_views import report
from whisper_peft.pipeline.runs.training_seen import training_seen
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import AdapterSection, Recipe
from whisper_peft.recipe.yaml_files import write_recipe
from whisper_peft.reporting.run_report import (
    AdapterRecord,
    RunRecord,
    RunReport,
    environment_meta,
    read_report,
    write_report,
)

LEARNED = "encoder.layers.1.self_attn.q_proj"
STARTED = {"model.precision": "fp32", "model.device": "cpu", "adapter.r": 2, "adapter.targets": "q_proj"}


@pytest.fixture
def recipe(prompts_en, tmp_path) -> Recipe:
    manifest = tmp_path / "rows.jsonl"
    rows = sorted(prompts_en, key=lambda row: row["duration_s"])[:8]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    sections = {
        "model": {"name": "openai/whisper-tiny.en"},
        "data": {"source": str(manifest), "train": "train", "eval": "test"},
        "augment": {"gain": {"p": 1.0}},
    }
    return apply_overrides(Recipe(), sections)


@pytest.fixture
def folder(tmp_path, recipe) -> Path:
    """Return a run folder with a log and a report, and without weights."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    write_recipe(recipe, folder / "recipe.yaml")
    run = RunRecord(name="a", folder=str(folder), command="a", started_at="2025-01-01")
    learned = AdapterRecord(method="lora", trainable="some")
    write_report(RunReport(run=run, adapter=learned, meta=environment_meta(42)), folder)
    return folder


def own_copy(tiny_en):
    return replace(tiny_en, model=copy.deepcopy(tiny_en.model))


def test_the_report_of_a_run_gets_all_that_its_folder_tells(tiny_en, folder):
    whisper = own_copy(tiny_en)
    attach_adapter(whisper, AdapterSection(r=2, targets=("q_proj",)), seed=0)
    for name, weight in whisper.model.named_parameters():
        if "lora_B" in name:
            weight.data.fill_(0.5)
    save_adapter(whisper, folder / "adapter")
    page = report(folder).read_text()
    found = read_report(folder)
    assert found.curves.training["loss"].values == (2.0, 1.0)
    assert len(found.adapter.updates.layers) == 12
    assert all(one.effective_rank == pytest.approx(1.0, abs=1e-3) for one in found.adapter.updates.layers)
    assert list(found.augmentation.effects) == ["gain"]
    assert page.count("<audio") == page.count("<img") == 2
    assert "<audio" not in report(folder, audio=False).read_text()
    assert read_report(folder) == found


def test_a_full_fine_tuning_is_compared_with_its_base(tiny_en, recipe, folder):
    whisper = own_copy(tiny_en)
    whisper.core.model.encoder.layers[1].fc2.weight.data *= 1.25
    whisper.core.save_pretrained(folder / "model")
    save_companions(whisper.companions, folder / "model")
    updates = training_seen(folder, recipe, read_report(folder)).blocks["adapter"].updates
    assert updates.measure == "weights"
    changed = {one.layer: one.relative for one in updates.layers if one.norm}
    assert changed == {"encoder.layers.1.fc2": pytest.approx(0.25, rel=1e-4)}


@pytest.mark.parametrize(("start", "quantize"), [("pissa", "none"), ("loftq", "nf4")])
def test_layers_that_learned_nothing_show_no_change_wherever_they_began(start, quantize, recipe, folder):
    made = apply_overrides(recipe, STARTED | {"model.quantize": quantize, "adapter.init_lora_weights": start})
    save_started(made, folder)
    updates = training_seen(folder, made, read_report(folder)).blocks["adapter"].updates
    norms = {one.layer: one.norm for one in updates.layers}
    assert norms.pop(LEARNED) > 0.1
    assert max(norms.values()) < 1e-4
    assert updates.shares["encoder self-attention"] == pytest.approx(1)


def test_a_start_that_is_not_found_again_is_said_and_no_share_is_shown(recipe, folder):
    fields = {"model.quantize": "nf4", "adapter.init_lora_weights": "loftq"}
    made = apply_overrides(recipe, STARTED | fields)
    save_started(made, folder)
    write_recipe(apply_overrides(made, {"model.name": "nobody/gone"}), folder / "recipe.yaml")
    page = report(folder).read_text()
    updates = read_report(folder).adapter.updates
    assert (updates.measure, updates.shares) == ("whole", {})
    assert page.count(">Size of the update including its start<") == 2
    assert "With loftq the update began in what rounding took away" in page
    assert "Share of the change" not in page
    assert "Where the model changed" not in page


def save_started(made: Recipe, folder: Path) -> None:
    """Save an adapter of which one layer has learned."""
    whisper = load_whisper(made.model)
    attach_adapter(whisper, made.adapter, seed=0)
    whisper.core.get_submodule(f"model.{LEARNED}").lora_B["default"].weight.data += 0.5
    save_adapter(whisper, folder / "adapter")


def test_weights_that_are_damaged_leave_a_sentence(recipe, folder):
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{")
    updates = training_seen(folder, recipe, read_report(folder)).blocks["adapter"].updates
    assert updates.layers == ()
    assert updates.notes[0].startswith("where the model changed is not told: ")


def test_a_run_without_weights_and_augmentation_has_its_curves_alone(recipe, folder):
    plain = recipe.model_copy(update={"augment": Recipe().augment})
    seen = training_seen(folder, plain, read_report(folder))
    assert set(seen.blocks) == {"curves", "adapter"}
    assert seen.blocks["adapter"].updates is None
    assert seen.sounds == {}


def test_the_command_shows_a_run_and_takes_flags(folder, capsys, tmp_path):
    heard = tmp_path / "heard"
    main(args=["augmentations", str(folder), "--augment.speed.p", "1", "--output-dir", str(heard)])
    said = capsys.readouterr().out
    assert "gain" in said
    assert " times as fast" in said
    assert said.strip().endswith(str(heard / "augmentations.html"))
    assert (heard / "augmentations.json").is_file()


def test_the_command_without_a_recipe_is_one_clear_error(capsys):
    with pytest.raises(SystemExit) as ended:
        main(args=["augmentations"])
    assert ended.value.code == 2
    assert "augmentations was given no recipe" in capsys.readouterr().err
