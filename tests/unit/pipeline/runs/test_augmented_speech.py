"""Augmented speech on a page: what is shown, within its budget, from a recipe and from a run folder."""

import json
import re

import numpy as np
import pytest
import soundfile

import whisper_peft
from whisper_peft import Utterance
from whisper_peft.errors import DataError, RecipeError
from whisper_peft.pipeline.runs.augmented_speech import augmented_speech, run_augmentations
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import Recipe

EVERY = ("speed", "pitch", "reverb", "noise", "telephone", "gain", "spec_augment")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    soundfile.write(folder / "hum.wav", rng.normal(0, 0.2, 8000) * np.exp(-np.arange(8000) / 900), 16_000)
    return folder


@pytest.fixture(scope="module")
def recipe(prompts_en, recordings):
    rows = sorted(prompts_en, key=lambda row: row["duration_s"])[:6]
    speech = [
        {"audio": row["file_name"], "text": row["text"], "id": f"<b>{place}</b>", "split": "train"}
        for place, row in enumerate(rows)
    ]
    augment = {name: {"p": 1.0} for name in EVERY}
    augment["noise"]["source"] = augment["reverb"]["source"] = recordings
    sections = {"data": {"source": speech}, "augment": augment, "model": {"name": "openai/whisper-tiny.en"}}
    return apply_overrides(Recipe(), sections)


def test_every_augmentation_is_heard_and_seen(recipe, tmp_path):
    found = whisper_peft.show_augmentations(recipe, output_dir=tmp_path)
    assert tuple(found.effects) == EVERY
    assert all((one.p, one.happened) == (1.0, 5) for one in found.effects.values())
    (example,) = found.examples
    assert [sound.name for sound in example.sounds] == [
        "dry",
        *EVERY[:-1],
        "together",
        "log_mel",
        "spec_augment",
    ]
    page = (tmp_path / "augmentations.html").read_text()
    assert page.count("<audio") == 8
    assert page.count("<img") == 10
    assert "hum.wav at an SNR of" in page
    assert "<b>0</b>" not in page
    assert json.loads((tmp_path / "augmentations.json").read_text())["rows"] == 5


def test_every_figure_of_the_page_equals_its_json(recipe, tmp_path):
    whisper_peft.show_augmentations(recipe, output_dir=tmp_path)
    plain = json.loads((tmp_path / "augmentations.json").read_text())
    figures = re.findall(
        r'<data value="([^"]*)" data-path="([^"]*)">', (tmp_path / "augmentations.html").read_text()
    )
    assert len(figures) == 2 + 2 * 7 + 10
    for value, path in figures:
        found = plain
        for name in path.split("."):
            found = found[int(name)] if isinstance(found, list) else found[name]
        assert float(value) == found, path


def test_a_page_stays_within_its_budget(recipe):
    whole = augmented_speech(recipe, examples=1, budget=10 << 20)
    bound = augmented_speech(recipe, examples=1, budget=60_000)
    assert whole.record.notes == ()
    assert sum(clip.size for clip in whole.clips.values()) > 60_000
    assert sum(clip.size for clip in bound.clips.values()) <= 60_000
    left_out = len(whole.clips) - len(bound.clips)
    assert bound.record.notes[-1].startswith(f"{left_out} sounds are left out")


def test_the_seed_of_the_run_decides_what_is_shown(recipe):
    told = [
        [
            sound.told
            for one in whisper_peft.show_augmentations(recipe, train={"seed": seed}).examples
            for sound in one.sounds
        ]
        for seed in (42, 42, 43)
    ]
    assert told[0] == told[1] != told[2]


def test_a_run_folder_is_as_good_as_its_recipe(prompts_en, tmp_path):
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in prompts_en[:4]))
    run = tmp_path / "run"
    run.mkdir()
    written = {
        "data": {"source": str(manifest), "train": prompts_en[0]["split"]},
        "augment": {"gain": {"p": 1.0}},
    }
    (run / "recipe.yaml").write_text(json.dumps(written))
    assert list(whisper_peft.show_augmentations(run).effects) == ["gain"]
    assert list(whisper_peft.show_augmentations(str(run), augment={"speed": {"p": 1}}).effects) == [
        "speed",
        "gain",
    ]


def test_a_recipe_without_augmentation_is_one_clear_error(recipe):
    plain = recipe.model_copy(update={"augment": Recipe().augment})
    with pytest.raises(RecipeError, match=r"augments nothing.*--augment\.speed\.p 1"):
        whisper_peft.show_augmentations(plain)
    assert run_augmentations(plain) is None


def test_speech_that_has_gone_is_an_error_for_the_command_and_a_note_for_a_report(recipe, tmp_path):
    gone = apply_overrides(recipe, {"data": {"source": str(tmp_path / "gone")}})
    with pytest.raises(DataError):
        whisper_peft.show_augmentations(gone)
    found = run_augmentations(gone)
    assert found.clips == {}
    assert found.record.notes[0].startswith("The augmented speech cannot be heard here: ")


def test_rows_that_are_too_long_are_not_shown(recipe):
    silence = np.zeros(40 * 16_000, np.float32)
    rows = [Utterance(name, silence, name, sampling_rate=16_000, duration_s=40.0) for name in "abcdefgh"]
    long = apply_overrides(recipe, {"data": {"source": rows}})
    found = augmented_speech(long, examples=1, budget=1 << 20)
    assert (found.record.rows, found.record.examples) == (0, ())
    assert found.record.notes == ("No training row could be heard.",)
