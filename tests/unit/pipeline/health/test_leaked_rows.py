"""Scored rows that were learned are found by path, by content and by sentence, and through an earlier run."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from whisper_peft.data.sources.opening import open_split
from whisper_peft.errors import RecipeError
from whisper_peft.pipeline.health.leaked_rows import find_leaked, trained_sources
from whisper_peft.recipe.sections import AdapterSection, DataSection, MixedSource, Recipe
from whisper_peft.recipe.yaml_files import write_recipe


@pytest.fixture
def corpus(tmp_path):
    """Return a function that writes a corpus of (name, text, split) rows, each with its own noise."""

    def write(name, rows):
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for number, (file, text, split) in enumerate(rows):
            noise = np.random.default_rng(number).normal(0, 0.1, 8000)
            soundfile.write(folder / file, noise, 16_000)
            lines.append(json.dumps({"file_name": file, "text": text, "split": split}))
        (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
        return folder

    return write


def leaked(recipe):
    return find_leaked(open_split(recipe.data, "eval"), trained_sources(recipe))


def recipe_of(folder, **fields):
    return Recipe(data=DataSection(source=str(folder), train="train", eval="test", **fields))


ROWS = [
    ("a.wav", "One.", "train"),
    ("b.wav", "two", "train"),
    ("c.wav", "three", "test"),
    ("d.wav", "ONE", "test"),
]


def test_a_sentence_is_the_same_whatever_its_case_and_marks(corpus):
    found = leaked(recipe_of(corpus("x", ROWS)))
    assert found.recordings == set()
    assert found.sentences == {"d"}


def test_a_copied_recording_is_found_under_another_name_and_text(corpus):
    folder = corpus("x", ROWS)
    shutil.copy(folder / "c.wav", folder / "a.wav")
    found = leaked(recipe_of(folder))
    assert found.recordings == {"c"}


def test_a_run_that_learns_what_it_scores_leaks_every_row(corpus):
    folder = corpus("x", ROWS)
    found = leaked(
        recipe_of(folder).model_copy(
            update={"data": DataSection(source=str(folder), train="test", eval="test")}
        )
    )
    assert len(found.recordings) == len(found.sentences) == 2


def test_mixed_rows_and_those_of_the_run_before_count(corpus, tmp_path):
    folder, other = corpus("x", ROWS), corpus("y", [("e.wav", "three", "train"), ("f.wav", "f", "test")])
    mixed = recipe_of(folder, mix=(MixedSource(source=str(other), train="train", eval=None),))
    assert len(leaked(mixed).sentences) == 2
    earlier = tmp_path / "earlier"
    (earlier / "adapter").mkdir(parents=True)
    write_recipe(recipe_of(other), earlier / "recipe.yaml")
    later = recipe_of(folder).model_copy(update={"adapter": AdapterSection(init=earlier / "adapter")})
    assert len(leaked(later).sentences) == 2


def test_speech_that_stood_in_memory_is_told(tmp_path, corpus):
    row = {"audio": str(corpus("x", ROWS) / "a.wav"), "text": "a"}
    made = Recipe(data=DataSection(source=[row, row]))
    write_recipe(made, tmp_path / "recipe.yaml")
    from whisper_peft.recipe.yaml_files import read_recipe

    with pytest.raises(RecipeError, match="held in memory"):
        trained_sources(read_recipe(tmp_path / "recipe.yaml"))
