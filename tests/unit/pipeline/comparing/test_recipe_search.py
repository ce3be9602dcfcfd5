"""A search: chosen on held-out training speakers, never on what is scored, and taken up where it was."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from whisper_peft import Recipe, search
from whisper_peft.data.sources.opening import open_split
from whisper_peft.errors import RecipeError, StorageError
from whisper_peft.pipeline.comparing import recipe_search
from whisper_peft.pipeline.comparing.recipe_search import Searching
from whisper_peft.pipeline.comparing.search_space import dimensions, overrides_of
from whisper_peft.pipeline.runs.transcript_store import TRANSCRIPTS_FILE
from whisper_peft.recipe.overrides import apply_overrides
from whisper_peft.recipe.sections import MixedSource
from whisper_peft.recipe.yaml_files import read_recipe

optuna = pytest.importorskip("optuna", reason="optuna is not installed (the search extra)")

FIELDS = {
    "name": "searched",
    "model": {"name": "openai/whisper-tiny.en", "device": "cpu"},
    "data": {"source": "tests/data/prompts/en", "train": "train", "eval": "test"},
    "adapter": {"r": 4, "lora_alpha": 8},
    "train": {"max_steps": 4, "batch_size": 2, "workers": 0},
    "eval": {"max_utterances": 3, "audio_context": "cut", "health": "off", "steps": 2},
}
RATES = (0.3, 0.1, 0.2)
"""WER of the first, second and third trial."""


@pytest.fixture
def recipe(root, monkeypatch):
    monkeypatch.chdir(root)
    return apply_overrides(Recipe(), FIELDS)


@pytest.fixture
def runs(monkeypatch):
    """Replace training by rates that are given, and return the recipes that were run."""
    run_recipes = []

    def finetune(recipe, *, resume, callbacks):
        rate = RATES[len(run_recipes) % len(RATES)]
        run_recipes.append(recipe)
        for step in (2, 4):
            event = SimpleNamespace(result=SimpleNamespace(wer=rate), step=step)
            stopped = any(callback(event) for callback in callbacks)
        recipe.output_dir.mkdir(parents=True, exist_ok=True)
        reports[recipe.output_dir] = report(rate, "callback" if stopped else "max_steps")
        return SimpleNamespace(interrupted=False)

    reports = {}
    monkeypatch.setattr(recipe_search, "finetune", finetune)
    monkeypatch.setattr(recipe_search, "read_report", lambda folder: reports[folder])
    return run_recipes


def report(wer, stopped_by):
    scored = SimpleNamespace(after=SimpleNamespace(wer=wer, wer_interval=(wer - 0.05, wer + 0.05)))
    return SimpleNamespace(evaluation=scored, train=SimpleNamespace(stopped_by=stopped_by))


def test_the_recipe_itself_is_the_first_trial_and_the_lowest_rate_wins(recipe, runs, tmp_path):
    found = search(recipe, trials=3, output_dir=tmp_path)
    assert (runs[0].adapter.r, runs[0].adapter.lora_alpha) == (4, 8)
    assert runs[0].train.learning_rate == pytest.approx(recipe.train.learning_rate)
    assert found.best.number == 1
    assert found.best.wer == 0.1
    best = read_recipe(tmp_path / "best.yaml")
    assert best.adapter.r == runs[1].adapter.r
    assert best.train.learning_rate == pytest.approx(runs[1].train.learning_rate)
    assert (best.data.eval, best.data.dev) == ("test", None)


def test_no_trial_opens_what_the_recipe_scores(recipe, runs, tmp_path):
    mixed = MixedSource(source="tests/data/prompts/fr", train="train", eval="test", language="fr")
    scored_only = MixedSource(source="tests/data/prompts/fr", train=None, eval="test")
    search(apply_overrides(recipe, {"data.mix": (mixed, scored_only)}), trials=2, output_dir=tmp_path)
    for one in runs:
        learned, chosen = (open_split(one.data, role) for role in ("train", "eval"))
        assert {row.id for row in learned}.isdisjoint(row.id for row in chosen)
        assert chosen.split == "held-out"
        assert one.data.dev == "held-out"
        assert [(mixed.train, mixed.eval) for mixed in one.data.mix] == [("train", None)]
        assert not one.merge.enabled


def test_a_search_goes_on_and_counts_what_was_tried(recipe, runs, tmp_path):
    search(recipe, trials=2, output_dir=tmp_path)
    found = search(recipe, trials=3, output_dir=tmp_path)
    assert len(runs) == 3
    assert [one.number for one in found.trials] == [0, 1, 2]
    assert len({str(one.values) for one in found.trials}) == 3


def test_later_trials_begin_with_what_the_base_wrote_in_the_first(recipe, runs, tmp_path, monkeypatch):
    train = recipe_search.finetune

    def finetune(recipe, **words):
        file = recipe.output_dir / TRANSCRIPTS_FILE
        found.append(file.read_text() if file.exists() else None)
        done = train(recipe, **words)
        file.write_text("heard")
        return done

    found = []
    monkeypatch.setattr(recipe_search, "finetune", finetune)
    search(recipe, trials=3, output_dir=tmp_path)
    assert found == [None, "heard", "heard"]


def test_a_trial_that_was_running_when_it_was_stopped_runs_again_first(recipe, runs, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    working = recipe_search.finetune
    monkeypatch.setattr(recipe_search, "finetune", stop)
    with pytest.raises(KeyboardInterrupt):
        search(recipe, trials=2, output_dir=tmp_path)
    monkeypatch.setattr(recipe_search, "finetune", working)
    found = search(recipe, trials=1, output_dir=tmp_path)
    assert (runs[0].adapter.r, runs[0].adapter.lora_alpha) == (4, 8)
    assert len(found.trials) == 1


def test_a_trial_that_is_worse_than_the_median_is_pruned(recipe, runs, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "RATES", (0.1, 0.11, 0.12, 0.5))
    found = search(recipe, trials=4, output_dir=tmp_path)
    assert [one.state for one in found.trials] == ["finished", "finished", "finished", "pruned"]
    assert found.best.wer == 0.1


def test_a_folder_with_a_search_of_another_recipe_is_refused(recipe, runs, tmp_path):
    search(recipe, trials=1, output_dir=tmp_path)
    with pytest.raises(StorageError, match="a search of another recipe"):
        search(apply_overrides(recipe, {"train.seed": 7}), trials=1, output_dir=tmp_path)


def test_without_optuna_one_sentence_names_the_extra(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RecipeError, match=r"whisper-peft\[search\]"):
        search(recipe, output_dir=tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("vary", "fields", "said"),
    [
        (["ranks"], {}, "did you mean rank"),
        ([], {}, "nothing is to be varied"),
        (["rank"], {"adapter.method": "ia3"}, "it is a field of LoRA"),
    ],
)
def test_what_cannot_be_varied_is_refused(vary, fields, said):
    with pytest.raises(RecipeError, match=said):
        dimensions(apply_overrides(Recipe(), fields), vary)


def test_scale_and_rank_set_alpha_together():
    recipe = apply_overrides(Recipe(), {"adapter": {"r": 10, "lora_alpha": 5}})
    assert overrides_of({"scale": 4.0}, recipe) == {"adapter.r": 10, "adapter.lora_alpha": 40.0}
    assert overrides_of({"rank": 8}, recipe) == {"adapter.r": 8, "adapter.lora_alpha": 4.0}


@pytest.mark.slow
def test_a_search_on_real_speech_leaves_a_recipe_that_runs(recipe, tmp_path):
    searching = Searching(recipe, dimensions(recipe, ["rank", "augmentation"]), tmp_path)
    searching.run(2)
    found = searching.result()
    assert {one.state for one in found.trials} <= {"finished", "pruned"}
    assert read_recipe(tmp_path / "best.yaml").adapter.r == found.best.values["rank"]
    assert "test split was not looked at" in found.sentence()
