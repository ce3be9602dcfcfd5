import csv
import json

import numpy as np
import pytest
import soundfile

import whisper_peft
from whisper_peft.data.sources.opening import open_splits
from whisper_peft.errors import DataError, RecipeError
from whisper_peft.recipe.sections import DataSection


@pytest.fixture
def spoiled(prompts_en, tmp_path):
    """Forty prompts as a folder, with a recording cut off, one missing, one repeated and one leaked."""
    rows = []
    for place, prompt in enumerate(prompts_en[:40]):
        samples, rate = soundfile.read(prompt["file_name"])
        name = f"{place:02d}.flac"
        soundfile.write(tmp_path / name, samples, rate)
        split = "test" if place < 8 else "train"
        rows.append(
            {"file_name": name, "text": prompt["text"], "split": split, "speaker_id": f"s{place % 3}"}
        )
    cut = tmp_path / "20.flac"
    cut.write_bytes(cut.read_bytes()[:2000])
    (tmp_path / "21.flac").unlink()
    rows.append({**rows[22], "file_name": "again.wav"})
    samples, rate = soundfile.read(tmp_path / "22.flac")
    soundfile.write(tmp_path / "again.wav", samples, rate)
    rows.append({**rows[3], "split": "train", "file_name": "leak.wav"})
    samples, rate = soundfile.read(tmp_path / "03.flac")
    soundfile.write(tmp_path / "leak.wav", samples, rate)
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "metadata.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


def reasons(inspection):
    return {one.id: {reason.name for reason in one.reasons} for one in inspection.suspects}


def test_what_is_wrong_with_a_folder_is_found(spoiled):
    found = whisper_peft.inspect(spoiled)
    assert found.rows == 42
    assert found.decoded == 40
    assert reasons(found)["21"] == {"missing"}
    assert len(reasons(found)["20"]) == 1
    assert reasons(found)["again"] == {"repeated-audio"}
    assert reasons(found)["leak"] == {"leaked-audio"}
    assert {leak.by for leak in found.leaks} == {"audio", "sentence", "speaker"}
    assert found.audio.sampling_rates == {"16000": 41}
    assert "--data.source" in found.command


def test_without_decoding_only_headers_are_read(spoiled):
    found = whisper_peft.inspect(spoiled, decode=False)
    assert found.decoded == 0
    assert found.audio.snr_db is None
    assert found.audio.durations_s.count > 35
    assert reasons(found)["21"] == {"missing"}


def test_suspicious_rows_are_read_back_as_a_manifest(spoiled, tmp_path):
    found = whisper_peft.inspect(spoiled, output_dir=tmp_path / "out")
    sources = open_splits(DataSection(source=tmp_path / "out" / "suspicious.csv"))
    listed = {row.id for source in sources for row in source}
    assert {"again", "leak", "21"} <= listed
    with (tmp_path / "out" / "suspicious.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["corrected_text"] for row in rows} == {""}
    assert len(rows) == len(found.suspects)


def test_labels_are_counted_in_the_tokens_of_the_model_that_is_named(spoiled):
    found = whisper_peft.inspect(spoiled, model={"name": "openai/whisper-tiny.en"}, decode=False)
    assert found.labels.tokens.least >= 4
    assert found.labels.too_long == 0
    assert whisper_peft.inspect(spoiled, decode=False).labels is None


def test_most_rows_are_drawn_evenly_from_each_split(spoiled):
    found = whisper_peft.inspect(spoiled, decode=False, max_rows=5)
    assert [split.rows for split in found.splits] == [5, 5]
    assert found.rows_there == 42
    assert any("at most 5 rows" in note for note in found.notes)


def test_named_splits_alone_are_looked_at(spoiled):
    found = whisper_peft.inspect(spoiled, decode=False, data={"eval": "test"})
    assert [split.name for split in found.splits] == ["test"]


def test_speech_in_memory_is_looked_at_too():
    rng = np.random.default_rng(0)
    rows = [
        {"audio": {"array": rng.normal(size=8_000), "sampling_rate": 8_000}, "text": f"tone {place}"}
        for place in range(3)
    ]
    found = whisper_peft.inspect(rows)
    assert found.command is None
    assert found.audio.sampling_rates == {"8000": 3}
    assert found.hours == pytest.approx(3 / 3600)


@pytest.fixture
def other(prompts_en, prompts_fr, tmp_path_factory):
    """A manifest of four prompts: one is scored by `spoiled`, one is in its training split."""
    chosen = [prompts_en[3], prompts_en[12], *prompts_fr[:2]]
    rows = [{"audio": row["file_name"], "text": row["text"], "speaker_id": "s1"} for row in chosen]
    manifest = tmp_path_factory.mktemp("other") / "other.jsonl"
    manifest.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return manifest


def test_each_source_of_a_mixture_has_a_section_and_what_they_share_is_told(spoiled, other, tmp_path):
    mix = [{"source": str(other), "language": "en", "name": "old"}]
    found = whisper_peft.inspect(spoiled, data={"mix": mix}, output_dir=tmp_path / "out")
    (old,) = found.mixed
    assert (found.rows, old.rows, old.name, found.command) == (42, 4, "old", None)
    assert old.splits[0].languages == ("en",)
    shared = {(leak.by, leak.split, leak.other, leak.rows) for leak in found.leaks if "/" in leak.other}
    assert shared == {("audio", "test", "old/all", 1), ("sentence", "test", "old/all", 1)}
    assert [one.reasons[0].name for one in old.suspects] == ["leaked-audio", "repeated-audio"]
    page = (tmp_path / "out" / "inspection.html").read_text(encoding="utf-8")
    assert "old, mixed in" in page
    listed = {one.id for one in old.suspects}
    with (tmp_path / "out" / "suspicious.csv").open(encoding="utf-8", newline="") as file:
        assert listed < {row["id"] for row in csv.DictReader(file)}
    told = json.loads((tmp_path / "out" / "inspection.json").read_text(encoding="utf-8"))
    assert told["mixed"][0]["utterances"] == 4


def test_of_a_mixed_source_what_a_run_would_take_is_looked_at(spoiled):
    def splits(**fields):
        mixed = {"source": str(spoiled), "name": "old", **fields}
        found = whisper_peft.inspect(spoiled, decode=False, data={"eval": "test", "mix": [mixed]})
        return [split.name for split in found.mixed[0].splits]

    assert splits() == ["test", "train"]
    assert splits(train=None) == ["test"]
    assert splits(train="train", eval=None) == ["train"]


def test_a_recipes_file_stands_for_all_the_speech_that_it_names(spoiled, other, tmp_path):
    mix = [{"source": str(other), "train": "all", "eval": None, "name": "old"}]
    fields = {"data": {"source": str(spoiled), "train": "train", "eval": "test", "mix": mix}}
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(json.dumps(fields), encoding="utf-8")
    found = whisper_peft.inspect(recipe, decode=False)
    assert [split.name for split in found.splits] == ["test", "train"]
    assert [split.name for split in found.mixed[0].splits] == ["all"]
    assert found.command == f"whisper-peft finetune {recipe}"


def test_a_source_given_beside_a_run_is_not_mixed_with_the_runs_sources(spoiled, other, tmp_path):
    mix = [{"source": str(other), "train": "all", "eval": None}]
    fields = {"data": {"source": "elsewhere", "mix": mix}}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(json.dumps(fields), encoding="utf-8")
    assert whisper_peft.inspect(spoiled, decode=False, run=tmp_path / "run").mixed == ()


def test_a_missing_source_of_a_mixture_is_told_by_its_own_field(spoiled):
    with pytest.raises(DataError, match=r"missing\.jsonl"):
        whisper_peft.inspect(spoiled, data={"mix": ["missing.jsonl"]})


def test_a_path_without_speech_is_refused(tmp_path):
    with pytest.raises(DataError, match="no known kind"):
        whisper_peft.inspect(tmp_path)


def test_a_folder_that_is_no_run_is_refused(spoiled):
    with pytest.raises(RecipeError, match="no run folder"):
        whisper_peft.inspect(spoiled, run=spoiled)


@pytest.mark.slow
def test_a_listening_model_finds_exchanged_texts(prompts_en, tmp_path):
    texts = [row["text"] for row in prompts_en]
    texts[3], texts[11] = texts[11], texts[3]
    lines = [
        json.dumps({"audio": row["file_name"], "text": text, "id": f"row{place}"})
        for place, (row, text) in enumerate(zip(prompts_en, texts, strict=True))
    ]
    (tmp_path / "speech.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = whisper_peft.inspect(
        tmp_path / "speech.jsonl", model={"name": "openai/whisper-tiny.en"}, listen=True
    )
    wrong = {one.id for one in found.suspects if "not-as-heard" in {reason.name for reason in one.reasons}}
    assert wrong == {"row3", "row11"}
    assert all(one.heard for one in found.suspects if one.id in wrong)
