"""finetune() on several sources: what is learned, scored, recorded and resumed of each."""

import json
import signal
from pathlib import Path

import pytest

import whisper_peft
from whisper_peft import (
    MixedSource,
    Utterance,
    compose,
    finetune,
    lora,
    merging,
    mix,
    schedule,
    scoring,
    speech,
)
from whisper_peft.errors import DataError, RecipeError, ResumeError
from whisper_peft.pipeline.runs.mixed_speech import open_mixed_speech
from whisper_peft.pipeline.runs.speech import open_speech
from whisper_peft.pipeline.runs.stored_scores import read_scores
from whisper_peft.recipe.sections import DataSection, ModelSection, Recipe
from whisper_peft.recipe.yaml_files import read_recipe
from whisper_peft.reporting.json_lines import read_predictions


@pytest.fixture(scope="module")
def sources(tmp_path_factory, prompts_en):
    """Return two manifests of short English prompts: one as they are, one in capitals with other rows."""
    folder = tmp_path_factory.mktemp("speech")
    chosen = sorted(prompts_en, key=lambda row: row["duration_s"])
    train = [row for row in chosen if row["split"] == "train"]
    test = [row for row in chosen if row["split"] == "test"]
    for name, rows in (("first", [*train[:6], *test[:3]]), ("second", [*train[6:10], *test[3:5]])):
        lines = [
            json.dumps({**row, "text": row["text"].upper() if name == "second" else row["text"]})
            for row in rows
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def recipe_of(sources, *parts):
    return compose(
        speech(str(sources / "first.jsonl")),
        *(parts or (mix(str(sources / "second.jsonl"), share=0.4),)),
        lora(r=4, targets="attention"),
        schedule(
            max_steps=7, batch_size=2, learning_rate=1e-3, workers=0, checkpoint_steps=2, tensorboard=False
        ),
        scoring(short_context=False),
        merging(enabled=False),
        name="mixed",
    )


QUICK = scoring(before=False, max_utterances=2, audio_context="cut", short_context=False, health="off")
"""For runs whose weights are looked at."""


@pytest.fixture(scope="module")
def run(small_health_budget, sources, tmp_path_factory):
    return finetune(recipe_of(sources), output_dir=tmp_path_factory.mktemp("runs") / "run")


def adapter(folder):
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def stop_at(step):
    def press_ctrl_c(event):
        if event.kind == "step" and event.step == step:
            signal.raise_signal(signal.SIGINT)

    return press_ctrl_c


def test_every_source_is_scored_and_the_wer_of_the_run_is_that_of_the_main_one(run):
    evaluation = run.report["evaluation"]
    for when in ("before", "after"):
        assert evaluation[when]["utterances"] == 3
        assert evaluation[when]["sources"]["second"]["utterances"] == 2
    main, second = (read_predictions(run.folder, source) for source in (None, "second"))
    assert (len(main.after), len(second.after)) == (3, 2)
    assert all(name.startswith("second/") for name in second.after)
    errors = sum(one.substitutions + one.deletions + one.insertions for one in main.after.values())
    words = sum(one.substitutions + one.deletions + one.hits for one in main.after.values())
    assert errors / words == pytest.approx(evaluation["after"]["wer"])
    low, high = evaluation["source_difference_intervals"]["second"]
    assert low <= high


def test_what_was_mixed_in_is_recorded(run):
    (record,) = run.report["data"]["mixed"]
    assert (record["name"], record["train_split"], record["eval_split"]) == ("second", "train", "test")
    assert (record["share"], record["utterances"], record["text_style"][:8]) == (0.4, 4, "capitals")
    assert run.report["data"]["utterances"] == 6


def test_the_case_that_text_was_learned_in_is_recorded_for_each_source(run):
    data = run.report["data"]
    assert (data["text_case"], data["mixed"][0]["text_case"]) == ("as-is", "restore")
    learned = "learned as the untuned model writes it, where the words agree"
    assert learned in (run.folder / "README.md").read_text()
    assert learned in (run.folder / "report.html").read_text()


def test_a_stage_that_did_not_run_has_no_price(run):
    assert list(run.report["cost"]["stages"])[-1] == "health"
    assert run.report["forecast"]["stages"].keys() == run.report["cost"]["stages"].keys()


def test_every_view_shows_the_other_speech(run):
    assert "other speech  second (40.0 % of an epoch), 2 utterances of test: WER" in run.summary()
    assert "| second | 40.0 % of an epoch | 2 utterances of test |" in (run.folder / "README.md").read_text()
    page = (run.folder / "report.html").read_text()
    assert 'data-path="evaluation.after.sources.second.wer"' in page


def test_the_written_recipe_holds_the_mixture_as_it_was_found(run, sources):
    (mixed,) = read_recipe(run.folder / "recipe.yaml").data.mix
    assert mixed.source == str(sources / "second.jsonl")
    assert (mixed.name, mixed.train, mixed.eval, mixed.text_case, mixed.share) == (
        "second",
        "train",
        "test",
        "restore",
        0.4,
    )


def test_text_is_learned_in_the_case_of_its_own_source(sources, tiny_en):
    recipe = recipe_of(sources).model_copy(update={"model": ModelSection(name="openai/whisper-tiny.en")})
    labeller = open_speech(recipe).check(tiny_en).collator.labeller
    texts = {
        source: tiny_en.tokenizer.decode(
            labeller(Utterance("a", b"", "Hello, Mr. Brown", source=source)).labels[1:]
        )
        for source in (None, "second")
    }
    assert "Hello, Mr. Brown" in texts[None]
    assert "Hello, mr. brown" in texts["second"]


def test_a_killed_mixture_resumes_to_the_same_weights_with_other_workers(run, sources, tmp_path):
    for step in (1, 6):  # within the first epoch, and within the second; an epoch takes 5 steps
        folder = tmp_path / f"stopped-at-{step}"
        recipe = QUICK(recipe_of(sources))
        assert finetune(recipe, output_dir=folder, callbacks=[stop_at(step)]).interrupted
        resumed = finetune(recipe, train={"workers": 1}, output_dir=folder, resume=True)
        assert adapter(resumed.folder) == adapter(run.folder)
        assert resumed.report["evaluation"]["after"]["sources"].keys() == {"second"}


def test_what_was_scored_before_a_stop_is_not_scored_again(run):
    stored = read_scores(run.folder).before
    assert len(stored.predictions) == 3
    assert len(stored.sources["second"].predictions) == 2


def test_a_run_is_not_resumed_with_another_mixture(run, sources):
    other = recipe_of(sources, mix(str(sources / "second.jsonl"), share=0.3))
    with pytest.raises(ResumeError, match=r"data\.mix"):
        finetune(other, output_dir=run.folder, resume=True)


class Stream:
    """Utterances that are read one after the other."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        return iter(self.rows)


@pytest.fixture(scope="module")
def streams(prompts_en):
    chosen = sorted(
        (row for row in prompts_en if row["split"] == "train"), key=lambda row: row["duration_s"]
    )[:12]
    rows = [
        Utterance(Path(row["file_name"]).stem, Path(row["file_name"]).read_bytes(), row["text"])
        for row in chosen
    ]
    return {"train": Stream(rows[:5]), "test": Stream(rows[10:])}, {
        "train": Stream(rows[5:10]),
        "test": Stream(rows[10:]),
    }


@pytest.mark.parametrize("main_streams", [True, False])
def test_a_mixture_with_streams_resumes_to_the_same_weights(main_streams, streams, sources, tmp_path):
    main, other = streams
    first = main if main_streams else str(sources / "first.jsonl")

    def recipe():
        parts = (speech(first, train="train", eval="test"), mix(other, name="old", weight=0.5))
        return QUICK(recipe_of(sources, *parts))

    whole = finetune(recipe(), output_dir=tmp_path / "whole")
    folder = tmp_path / "stopped"
    assert finetune(recipe(), output_dir=folder, callbacks=[stop_at(6)]).interrupted
    finetune(recipe(), output_dir=folder, resume=True)
    assert adapter(folder) == adapter(whole.folder)
    assert whole.report["evaluation"]["after"]["sources"]["old"]["utterances"] == 2


def test_epochs_need_no_steps_where_only_what_is_mixed_in_is_a_stream(streams, sources, tmp_path):
    recipe = QUICK(recipe_of(sources, mix(streams[1], name="old", share=0.25), schedule(epochs=2)))
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_steps": None})})
    assert finetune(recipe, output_dir=tmp_path / "run").report["train"]["steps"] == 8


def test_a_source_that_is_only_scored_changes_nothing_that_is_learned(sources, tmp_path):
    probe = mix(str(sources / "second.jsonl"), train=None)
    with_probe, without = (
        finetune(QUICK(recipe_of(sources, *parts)), output_dir=tmp_path / name)
        for name, parts in (("with", (probe,)), ("without", (lambda recipe: recipe,)))
    )
    assert adapter(with_probe.folder) == adapter(without.folder)
    assert "second (not learned), 2 utterances of test: WER" in with_probe.summary()
    again = read_recipe(with_probe.folder / "recipe.yaml").data.mix[0]
    assert (again.train, again.eval) == (None, "test")


def test_evaluating_a_run_scores_what_was_mixed_in_unless_another_source_is_given(run, sources):
    scored = whisper_peft.evaluate(run.folder)
    assert scored.sources["second"].wer == run.report["evaluation"]["after"]["sources"]["second"]["wer"]
    assert scored.to_dict()["sources"]["second"]["utterances"] == 2
    other = whisper_peft.evaluate(run.folder, data={"source": str(sources / "second.jsonl"), "eval": "test"})
    assert other.sources == {}


def test_contradictions_are_told_before_a_folder_is_made(sources, tmp_path):
    with pytest.raises(RecipeError, match=r"data\.weight is 3"):
        finetune(recipe_of(sources), data={"weight": 3.0}, output_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_language_that_an_english_model_is_not_told_is_refused(sources, tiny_en):
    recipe = recipe_of(sources, mix(str(sources / "second.jsonl"), language="fr"))
    opened = open_speech(recipe)
    with pytest.raises(DataError, match="English-only"):
        opened.check(tiny_en)


def test_sources_of_one_name_are_numbered(sources):
    section = DataSection(
        mix=[str(sources / "second.jsonl"), MixedSource(source=str(sources / "second.jsonl"))]
    )
    assert [one.name for one in open_mixed_speech(section)] == ["second", "second-2"]
    assert Recipe(data=section).data.mix[0].name is None


def test_how_the_text_of_a_source_is_learned_is_said_in_words(sources):
    section = DataSection(mix=[MixedSource(source=str(sources / "second.jsonl"), text_case="restore")])
    (*_, sentence) = open_mixed_speech(section)[0].sentences()
    assert sentence == (
        "second: the text is in capitals, with punctuation; "
        "it is learned as the untuned model writes it, where the words agree"
    )
