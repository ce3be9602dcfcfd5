"""Rows that a run found, corrected in its own table, are learned so by the command that its page prints."""

import csv
import html
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import whisper_peft
from tests.docs.pages import ROOT, Step, run_step, steps_of
from tests.unit.pipeline.runs.short_runs import overrides
from whisper_peft import finetune
from whisper_peft.cli import main
from whisper_peft.data.sources.opening import open_split
from whisper_peft.errors import ResumeError
from whisper_peft.pipeline.corpora.inspected_splits import ToInspect
from whisper_peft.pipeline.runs import restoring
from whisper_peft.pipeline.runs.restoring import Restorer
from whisper_peft.pipeline.runs.speech import open_speech
from whisper_peft.pipeline.runs.transcript_store import TranscriptStore, describe_base
from whisper_peft.recipe.sections import DataSection, ModelSection, Recipe
from whisper_peft.recipe.yaml_files import read_recipe, write_recipe

QUICK = {
    "train": {"max_steps": 1, "batch_size": 2, "workers": 0, "tensorboard": False},
    "eval": {"max_utterances": 1, "before": False, "short_context": False, "health": "off"},
    "merge": {"enabled": False},
}


def spoil(prompts):
    """Return short prompts of which one stands there twice, and one has a text too long for its sound."""
    chosen = sorted(prompts, key=lambda row: row["duration_s"])
    train = [row for row in chosen if row["split"] == "train"][:8]
    test = [row for row in chosen if row["split"] == "test"][:2]
    rows = [{**row, "id": f"{row['split']}-{place}"} for place, row in enumerate([*train, *test])]
    rows[3]["text"] = "This was never said in so short a time by anybody at all. " * 4
    return [*rows, {**rows[0], "id": "again"}]


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory, prompts_en):
    path = tmp_path_factory.mktemp("speech") / "spoiled.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in spoil(prompts_en)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def first(spoiled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return finetune("lora-librispeech", **overrides(spoiled, **QUICK), output_dir=folder)


def fill(table, target, **cells):
    """Write a copy of a table in which cells of some rows, by id, are filled; return what it had listed."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row.update(cells.get(row["id"], {}))
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return {row["id"]: row for row in rows}


def texts(recipe, role="train"):
    return {row.id: row.text for row in open_split(recipe.data, role)}


def printed_command(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    (command,) = re.findall(r"<pre>whisper-peft (finetune [^<]*--data\.corrections[^<]*)</pre>", page)
    return shlex.split(html.unescape(command))


def test_the_command_that_a_page_prints_learns_the_corrected_rows(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = {"train-3": {"corrected_text": "What was said.", "action": ""}, "again": {"action": "drop"}}
    listed = fill(first.folder / "suspicious.csv", tmp_path / "my.csv", **cells)
    assert set(cells) <= set(listed)
    main(args=printed_command(first.folder))
    corrected = first.folder.with_name("run-corrected")
    old, new = (read_recipe(folder / "recipe.yaml") for folder in (first.folder, corrected))
    wanted = {**texts(old), "train-3": "What was said."}
    del wanted["again"]
    assert texts(new) == wanted
    assert texts(new, "eval") == texts(old, "eval")
    assert new.data.corrections == tmp_path / "my.csv"
    utterances = [json.loads((one / "report.json").read_text())["data"] for one in (first.folder, corrected)]
    assert [one["utterances"] for one in utterances] == [9, 8]
    assert (corrected / "corrections.csv").read_bytes() == Path("my.csv").read_bytes()


def test_what_inspect_lists_is_read_back_and_looked_at_again(spoiled, tmp_path):
    found = whisper_peft.inspect(spoiled, output_dir=tmp_path / "look")
    advised = {one.id for one in found.suspects if one.action == "drop"}
    assert {"again", "train-3"} <= advised
    fill(
        tmp_path / "look" / "suspicious.csv",
        tmp_path / "my.csv",
        **{"train-3": {"corrected_text": "What was said.", "action": "check"}},
    )
    again = whisper_peft.inspect(spoiled, data={"corrections": tmp_path / "my.csv"})
    assert (found.rows, again.rows) == (11, 11 - len(advised - {"train-3"}))
    assert not advised & {one.id for one in again.suspects}


def test_other_speech_is_looked_at_with_a_run_without_its_corrections(spoiled, tmp_path):
    made = Recipe(data=DataSection(source=spoiled, corrections=tmp_path / "my.csv"))
    write_recipe(made, tmp_path / "recipe.yaml")
    assert ToInspect.of(spoiled, data={}, model={}, run=tmp_path).recipe.data.corrections is None


def test_check_tells_what_is_wrong_with_the_table(spoiled, tmp_path):
    (tmp_path / "my.csv").write_text("id,action\nnobody,drop\n", encoding="utf-8")
    data = {"source": str(spoiled), "train": "train", "eval": "test"}
    plan = whisper_peft.check("lora-librispeech", data={**data, "corrections": tmp_path / "my.csv"})
    assert any("1 ids that are not there (nobody)" in problem for problem in plan.problems)
    (tmp_path / "my.csv").write_text("id,action\nagain,drop\n", encoding="utf-8")
    plan = whisper_peft.check("lora-librispeech", data={**data, "corrections": tmp_path / "my.csv"})
    assert not any("my.csv" in problem for problem in plan.problems)
    assert any("0 texts corrected, 1 rows left out by" in told for told in plan.sentences)


def test_a_run_is_not_resumed_with_other_corrections(first, spoiled, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(first.folder, folder)
    table = tmp_path / "my.csv"
    table.write_text("id,action\nagain,drop\n", encoding="utf-8")
    made = overrides(spoiled, **QUICK)
    given = {**made, "data": {**made["data"], "corrections": table}}
    with pytest.raises(ResumeError, match=r"data\.corrections differ"):
        finetune("lora-librispeech", **given, output_dir=folder, resume=True)
    run = finetune("lora-librispeech", **given, output_dir=tmp_path / "corrected")
    assert (
        finetune("lora-librispeech", **given, output_dir=run.folder, resume=True).report["train"]["steps"]
        == 1
    )
    table.write_text("id,action\nagain,check\n", encoding="utf-8")
    with pytest.raises(
        ResumeError, match=r"my\.csv is not what it was .*put .*corrections\.csv in its place"
    ):
        finetune("lora-librispeech", **given, output_dir=run.folder, resume=True)


def test_text_is_restored_in_the_corrected_words(tiny_en, prompts_en, tmp_path, monkeypatch):
    rows = [{**row, "text": re.sub(r"[^\w ]", "", row["text"]).upper()} for row in spoil(prompts_en)]
    (tmp_path / "my.csv").write_text("id,corrected_text\ntrain-3,HELLO BOB\n", encoding="utf-8")
    data = DataSection(source=rows, train="train", eval="test", corrections=tmp_path / "my.csv")
    speech = open_speech(Recipe(data=data, model=ModelSection(name="openai/whisper-tiny.en")))
    assert speech.text_case == "restore"
    told = {"language": None, "task": "transcribe"}
    store = TranscriptStore(tmp_path / "kept.jsonl", describe_base(tiny_en))
    restorer = Restorer(tiny_en, store, **told, fits=lambda row: True, batch_size=4)
    said = ["Hello, Bob."]
    monkeypatch.setattr(
        restoring, "generate_transcripts", lambda whisper, heard, **options: said * len(heard)
    )
    written = {row.id: row.text for row in restorer(speech.check(tiny_en).utterances)}
    assert written["train-3"] == "Hello, Bob."
    assert written["train-0"] != "Hello, Bob."


SMALL = {
    "--train.max-steps": "1",
    "--train.workers": "0",
    "--eval.max-utterances": "1",
    "--eval.health": "off",
}
"""What keeps a command of the page to seconds."""


def test_the_commands_that_the_page_on_inspecting_shows_run(tmp_path, monkeypatch, spoiled):
    monkeypatch.chdir(tmp_path)
    Path("my-speech").mkdir()
    shutil.copy(spoiled, Path("my-speech", "metadata.jsonl"))
    page = (ROOT / "docs" / "how-to" / "inspect-your-data.md").read_text(encoding="utf-8")
    steps = [step for step in steps_of(page) if not step.is_python]
    assert [step.code.split()[1] for step in steps if "--data.corrections" in step.code] == [
        "check", "finetune", "finetune",
    ]  # fmt: skip
    for step in steps:
        words = shlex.split(step.code)
        if words[1] == "finetune":
            words += [word for pair in SMALL.items() for word in pair]
            words += ["--merge.no-enabled", "--eval.no-short-context"]
        run_step(Step(shlex.join(words), "", is_python=False), {})
    data = read_recipe(Path("runs/corrected/recipe.yaml")).data
    assert "again" not in {row.id for row in open_split(data, "train")}
