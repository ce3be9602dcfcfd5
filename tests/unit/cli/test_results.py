"""What a verb is given, prints and writes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import whisper_peft
from tests.unit.cli.command_lines import SCORES, exit_code
from whisper_peft.errors import AudioError, TrainingError
from whisper_peft.recipe.sections import Recipe, TrainSection
from whisper_peft.recipe.yaml_files import write_recipe
from whisper_peft.types import Transcript


def test_scores_of_what_is_mixed_in_have_lines_of_their_own(called, monkeypatch, capsys):
    scored = replace(SCORES, sources={"a-long-name-of-a-source": replace(SCORES, wer=0.3)})
    monkeypatch.setattr(whisper_peft, "evaluate", lambda *args, **kwargs: scored)
    assert exit_code("evaluate", "RUN") == 0
    printed = capsys.readouterr().out
    assert "WER on a-long-name-of-a-source 30.00 % (8.00 % to 12.00 %), 40 utterances" in printed


def test_evaluate_passes_only_typed_fields_and_writes_json(called, capsys, tmp_path):
    file = tmp_path / "new" / "out.json"
    words = ["evaluate", "RUN", "--data.source", "DIR", "--data.eval", "test", "--json", str(file)]
    assert exit_code(*words) == 0
    assert called.args == ("RUN",)
    assert called.kwargs == {"data": {"source": "DIR", "eval": "test"}}
    written = json.loads(file.read_text())
    assert (written["wer"], written["wer_interval"], written["hits"]) == (0.1, [0.08, 0.12], 94)
    assert "10.00 %" in capsys.readouterr().out


def test_evaluate_refuses_a_file_it_could_not_write(called, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert exit_code("evaluate", "RUN", "--json", str(tmp_path / "file" / "out.json")) == 2
    assert called.args == ()
    assert "cannot be written" in capsys.readouterr().err


def test_a_full_disk_does_not_swallow_the_scores(called, capsys):
    assert exit_code("evaluate", "RUN", "--json", "/dev/full") == 2
    printed = capsys.readouterr()
    assert "10.00 %" in printed.out
    assert printed.err.startswith("error: /dev/full cannot be written - No space left on device")


def test_an_evaluation_that_fails_leaves_no_empty_file(called, tmp_path):
    called.fail = TrainingError("no utterance", "", "")
    assert exit_code("evaluate", "RUN", "--json", str(tmp_path / "out.json")) == 2
    assert list(tmp_path.iterdir()) == []


def test_evaluate_shows_the_runs_own_values_in_its_help(tmp_path, capsys):
    write_recipe(Recipe(train=TrainSection(), model={"name": "my-whisper"}), tmp_path / "recipe.yaml")
    assert exit_code("evaluate", str(tmp_path), "--help") == 0
    assert "my-whisper" in capsys.readouterr().out


def test_merge_says_how_far_the_merged_model_is(called, capsys):
    words = "merge RUN --output-dir MERGED --clips 3 --base dequantized --scale 0.7"
    assert exit_code(*words.split()) == 0
    assert called.args == ("RUN",)
    assert called.kwargs == {
        "output_dir": Path("MERGED"),
        "max_logit_difference": None,
        "clips": 3,
        "base": "dequantized",
        "scale": 0.7,
    }
    assert "merged" in capsys.readouterr().out


def test_transcribe_takes_many_recordings(called, capsys):
    words = "transcribe RUN a.wav b.wav --model.language fr --formats srt vtt --output-dir OUT --hotwords Zoé"
    assert exit_code(*words.split(), "--previous-text") == 0
    assert called.args == ("RUN", (Path("a.wav"), Path("b.wav")))
    called.kwargs["on_finished"](Transcript("b.wav", "Bonjour.", "fr", 1.0))
    assert capsys.readouterr().out == "b.wav: Bonjour.\n"
    del called.kwargs["on_finished"], called.kwargs["on_refused"]
    assert called.kwargs == {
        "model": {"language": "fr"},
        "prompt": None,
        "hotwords": ("Zoé",),
        "previous_text": True,
        "audio_context": "auto",
        "output_dir": Path("OUT"),
        "formats": ("srt", "vtt"),
    }


def test_an_empty_prompt_is_none(called):
    assert exit_code("transcribe", "RUN", "a.wav", "--prompt", "") == 0
    assert called.kwargs["prompt"] == ""


def test_a_recording_that_was_left_out_is_the_last_line_and_exit_code_2(capsys, monkeypatch):
    def transcribe(run, files, *, on_finished, on_refused, **kwargs):
        on_refused(AudioError("a.wav", "it is damaged", "copy it again"))
        heard = Transcript("b.wav", "Hello.", "en", 1.0)
        on_finished(heard)
        return [heard]

    monkeypatch.setitem(vars(whisper_peft), "transcribe", transcribe)
    assert exit_code("transcribe", "RUN", "a.wav", "b.wav") == 2
    printed = capsys.readouterr()
    assert printed.out == "b.wav: Hello.\n"
    told = "1 of 2 recordings could not be transcribed - a.wav - it is damaged - copy it again"
    assert printed.err == f"error: {told}\n"


def test_report_prints_where_the_page_is(called, capsys):
    assert exit_code("report", "RUN") == 0
    assert capsys.readouterr().out == "RUN/report.html\n"


def test_recipes_are_listed_shown_and_copied(capsys, tmp_path):
    assert exit_code("recipes", "list") == 0
    assert re.search(r"^lora-librispeech +LoRA on LibriSpeech", capsys.readouterr().out, re.MULTILINE)
    assert exit_code("recipes", "show", "demo") == 0
    assert "name: demo" in capsys.readouterr().out
    assert exit_code("recipes", "copy", "demo", str(tmp_path)) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'demo.py'}\n"
