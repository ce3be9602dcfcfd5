"""The recipes for one purpose each take two steps, and do what they are for."""

import shutil

import pytest

from tests.recipes.manifests import manifest_of
from whisper_peft.recipe.catalog import copy_recipe, named_recipe

STEPS = ("--train.max-steps", "2", "--train.batch-size", "2", "--train.workers", "0", "--merge.no-enabled")


@pytest.mark.parametrize("script", ["short_context"])
def test_short_contexts_are_learned_whole_and_scored_at_both_contexts(launch, script):
    launch.here(script, "run", *STEPS)
    recipe, scores = named_recipe("short-context"), launch.report("run")["evaluation"]
    assert (recipe.train.audio_context, recipe.adapter.scale, recipe.train.full_context_share) == (
        "cut",
        1,
        0,
    )
    assert {scores["after"]["audio_context"], scores["after_short"]["audio_context"]} == {"full", "cut"}


@pytest.mark.parametrize("script", ["telephone"])
def test_a_copy_of_the_telephone_recipe_runs_elsewhere_and_is_heard_over_telephones(launch, script, tmp_path):
    copied = copy_recipe(script, tmp_path / "elsewhere")
    launch.here(copied, "run", *STEPS, "--augment.telephone.p", "1")
    shown = launch.report("run")["augmentation"]
    assert shown["effects"]["telephone"] == {"p": 1, "happened": shown["rows"]}


@pytest.mark.parametrize("script", ["multilingual"])
def test_several_languages_are_learned_each_in_its_own(launch, script, prompts_fr, tmp_path):
    short = sorted(prompts_fr, key=lambda row: row["duration_s"])[:12]
    french = manifest_of(short, tmp_path / "french.jsonl")
    words = (
        "--data.source",
        french,
        "--data.mix",
        launch.manifest,
        "language=en",
        "train=train",
        "eval=test",
    )
    launch.here(script, "run", *STEPS, *words, "--eval.no-before", "--eval.no-short-context")
    after = launch.report("run")["evaluation"]["after"]
    assert (after["language"], after["sources"]["short"]["language"]) == ("fr", "en")


@pytest.mark.parametrize("script", ["timestamps_long_form"])
def test_neighbours_are_learned_as_long_windows_and_silence_as_no_words(launch, script, prompts_en, tmp_path):
    chapter = tmp_path / "LibriSpeech" / "train-clean-100" / "1" / "2"
    chapter.mkdir(parents=True)
    lines = []
    for place, row in enumerate(sorted(prompts_en, key=lambda row: row["duration_s"])[:8]):
        name = f"1-2-{place:04d}"
        shutil.copyfile(row["file_name"], chapter / f"{name}.flac")
        lines.append(f"{name} {row['text']}\n")
    (chapter / "1-2.trans.txt").write_text("".join(lines), encoding="utf-8")
    words = (
        "--data.source",
        chapter.parents[2],
        "--data.train",
        "train-clean-100",
        "--data.eval",
        "train-clean-100",
    )
    launch.here(script, "run", *STEPS, *words, "--targets.long-form", "1", "--eval.no-probes")
    taught = launch.report("run")["train"]["targets"]
    assert taught["long_form"] > 0


@pytest.mark.parametrize("script", ["replay"])
def test_what_is_replayed_is_scored_beside_what_is_learned(launch, script):
    mixed = ("--data.mix", f"{launch.manifest}=20%", "train=train", "eval=test", "name=kept")
    launch.here(script, "run", *STEPS, *mixed)
    assert launch.report("run")["evaluation"]["source_difference_intervals"]["kept"]


@pytest.fixture
def recordings(prompts_en, tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    for row in sorted(prompts_en, key=lambda row: row["duration_s"])[16:20]:
        shutil.copy(row["file_name"], folder)
    return folder


@pytest.mark.parametrize("script", ["pseudo_label"])
def test_recordings_without_text_are_written_down_and_learned_from(launch, script, recordings, tmp_path):
    words = (
        "--recordings",
        recordings,
        "--labeller",
        "openai/whisper-tiny.en",
        "--labelled",
        tmp_path / "labelled",
    )
    launch.here(script, "run", *STEPS, *words, "--eval.no-before")
    rows = (tmp_path / "labelled" / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert 1 <= len(rows) <= 4
    (mixed,) = launch.report("run")["data"]["mixed"]
    assert (mixed["name"], mixed["utterances"]) == ("pseudo-labels", len(rows))
