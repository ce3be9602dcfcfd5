import csv
import json

import numpy as np
import pytest
import soundfile

import whisper_peft
from whisper_peft.data.sources import open_splits
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
