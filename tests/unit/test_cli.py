import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import whisper_peft
from whisper_peft.cli import main
from whisper_peft.errors import AudioError, TrainingError
from whisper_peft.recipe.sections import Recipe, TrainSection
from whisper_peft.recipe.yaml_files import write_recipe
from whisper_peft.types import EvalResult, MergeResult, Transcript

SCORES = EvalResult(
    wer=0.1,
    cer=0.05,
    wer_raw=0.2,
    cer_raw=0.1,
    wer_interval=(0.08, 0.12),
    utterances=40,
    normalizer="english",
    language="en",
    audio_context="full",
    rtfx=20.0,
    peak_memory_bytes=10**9,
    substitutions=3,
    deletions=2,
    insertions=1,
    hits=94,
)


@pytest.fixture
def called(monkeypatch):
    """Replace the public functions; return what the last of them was called with."""
    seen = SimpleNamespace(interrupted=False, args=(), kwargs={}, fail=None)

    def stand_in(result):
        def function(*args, **kwargs):
            seen.args, seen.kwargs = args, kwargs
            if seen.fail is not None:
                raise seen.fail
            return result

        return function

    run = SimpleNamespace(interrupted=False, summary=lambda: "the summary")
    merged = MergeResult("merged", 0.001, True, 8, (), 0.05)
    heard = [Transcript("a.wav", "Hello.", "en", 1.0)]
    results = {
        "finetune": run,
        "evaluate": SCORES,
        "merge": merged,
        "transcribe": heard,
        "report": Path("RUN/report.html"),
    }
    for name, result in results.items():
        monkeypatch.setitem(vars(whisper_peft), name, stand_in(result))
    return seen


def exit_code(*words, recipe=None):
    try:
        main(recipe, words)
    except SystemExit as stop:
        return stop.code or 0
    return 0


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["finetune", "lora-librispeech", "--help"], ["recipes", "list"]]
)
def test_help_imports_no_torch(words, capsys):
    code = (
        "import sys\nfrom whisper_peft.cli import main\n"
        f"try:\n    main(args={words!r})\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'librosa'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    start = time.perf_counter()
    ended = run_python(code)
    with capsys.disabled():
        print(f"\nwhisper-peft {' '.join(words)}: {time.perf_counter() - start:.2f} s")
    assert ended.returncode == 0, ended.stderr


def test_help_names_every_verb(capsys):
    assert exit_code("--help") == 0
    printed = capsys.readouterr().out
    for verb in ("finetune", "evaluate", "merge", "transcribe", "report", "recipes", "doctor"):
        assert re.search(rf"^  {verb} +[A-Z]", printed, re.MULTILINE)


def test_finetune_help_has_every_promised_flag(capsys):
    assert exit_code("finetune", "demo", "--help") == 0
    printed = capsys.readouterr().out
    for flag in [
        "model.name",
        "model.language",
        "model.quantize",
        "data.source",
        "data.train",
        "data.eval",
        "adapter.r",
        "adapter.init",
        "train.max-steps",
        "train.batch-size",
        "train.learning-rate",
        "train.epochs",
        "train.checkpoint-steps",
        "train.seed",
        "eval.max-utterances",
        "output-dir",
        "resume",
    ]:
        assert f"--{flag} " in printed or f"--{flag}," in printed, flag


def test_flags_reach_the_recipe_and_the_rest_stays(called):
    words = "finetune lora-librispeech --model.name openai/whisper-tiny.en --data.source DIR"
    words += " --data.train train-clean-100"
    assert (
        exit_code(
            *words.split(), "--data.eval=heldout-clean", "--train.max-steps", "40", "--output-dir", "RUN"
        )
        == 0
    )
    (recipe,) = called.args
    assert (recipe.data.source, recipe.data.train, recipe.data.eval) == (
        "DIR",
        "train-clean-100",
        "heldout-clean",
    )
    assert (recipe.train.max_steps, recipe.output_dir, recipe.adapter.r) == (40, Path("RUN"), 32)
    assert called.kwargs == {"resume": False}


def test_only_typed_flags_count_as_named(called):
    assert exit_code("finetune", "lora-librispeech", "--data.eval", "validation.clean") == 0
    (recipe,) = called.args
    assert recipe.data.model_fields_set == {"source", "eval"}


def test_switches_tuples_and_none_are_read(called):
    words = (
        "--train.no-tensorboard --adapter.targets q_proj v_proj --train.max-steps None --train.batch_size 4"
    )
    assert exit_code("finetune", "lora-librispeech", *words.split()) == 0
    (recipe,) = called.args
    assert not recipe.train.tensorboard
    assert recipe.adapter.targets == ("q_proj", "v_proj")
    assert (recipe.train.max_steps, recipe.train.batch_size) == (None, 4)


def test_sources_are_mixed_in_by_words(called):
    words = "--data.mix speech/en=0.2 language=en eval=test LibriSpeech=10% --train.max-steps 3"
    assert exit_code("finetune", "lora-librispeech", *words.split()) == 0
    english, libri = called.args[0].data.mix
    assert (english.source, english.weight, english.language, english.eval) == (
        "speech/en",
        0.2,
        "en",
        "test",
    )
    assert (libri.source, libri.share) == ("LibriSpeech", 0.1)


def test_an_unfit_source_is_told_before_anything_runs(called, capsys):
    assert exit_code("finetune", "lora-librispeech", "--data.mix", "speech/en=0.2", "langage=en") == 2
    assert (
        "'langage=en' is no source with its weight or share; did you mean language?"
        in capsys.readouterr().err
    )


def test_scores_of_what_is_mixed_in_have_lines_of_their_own(called, monkeypatch, capsys):
    scored = replace(SCORES, sources={"a-long-name-of-a-source": replace(SCORES, wer=0.3)})
    monkeypatch.setattr(whisper_peft, "evaluate", lambda *args, **kwargs: scored)
    assert exit_code("evaluate", "RUN") == 0
    printed = capsys.readouterr().out
    assert "WER on a-long-name-of-a-source 30.00 % (8.00 % to 12.00 %), 40 utterances" in printed


def test_a_yaml_file_runs_and_resumes(called, tmp_path):
    write_recipe(Recipe(name="mine", train=TrainSection(max_steps=5)), tmp_path / "recipe.yaml")
    assert (
        exit_code("finetune", str(tmp_path / "recipe.yaml"), "--resume", "--output-dir", str(tmp_path)) == 0
    )
    assert (called.args[0].name, called.args[0].train.max_steps) == ("mine", 5)
    assert called.kwargs == {"resume": True}


@pytest.mark.parametrize(
    ("words", "resume"),
    [("--resume auto", "auto"), ("--resume=auto", "auto"), ("--resume", True), ("--resume no", False)],
)
def test_a_run_goes_on_or_starts_as_it_is_told(called, words, resume):
    assert exit_code("finetune", "demo", *words.split(), "--train.max-steps", "3") == 0
    assert called.kwargs == {"resume": resume}


def test_a_recipe_script_has_the_same_flags(called, capsys):
    assert exit_code("--train.max-steps", "3", "--resume", recipe=Recipe(name="mine")) == 0
    assert (called.args[0].name, called.args[0].train.max_steps) == ("mine", 3)
    assert called.kwargs == {"resume": True}
    assert capsys.readouterr().out == "the summary\n"


def test_the_summary_is_printed_once_by_several_processes(called, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert exit_code(recipe=Recipe()) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("finetun", "finetun is not a verb of whisper-peft - did you mean finetune?"),
        ("finetune", "finetune was given no recipe"),
        ("finetune lora-librispech", "did you mean lora-librispeech?"),
        ("finetune demo --train.max-step 3", "--train.max-step is not a flag of whisper-peft finetune"),
        ("finetune demo --train.max-step 3", "did you mean --train.max-steps?"),
        ("finetune demo --max-steps 3", "did you mean --train.max-steps?"),
        ("finetune demo --resum", "did you mean --resume?"),
        (
            "finetune demo --train.max-steps 0",
            "train.max_steps is 0 - it should be greater than or equal to 1",
        ),
        ("finetune demo --train.max-steps x", "--train.max-steps"),
        ("finetune demo --model.quantize int4", "int8"),
        ("finetune none.yaml", "none.yaml cannot be read"),
        ("evaluate", "RUN_OR_MODEL"),
        ("evaluate RUN --train.seed 3", "--train.seed is not a flag of whisper-peft evaluate"),
        ("merge RUN", "--output-dir"),
        ("recipes shw", "did you mean show NAME?"),
    ],
)
def test_a_users_mistake_is_one_message_and_exit_code_2(called, capsys, words, message):
    assert exit_code(*words.split()) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert called.args == ()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["finetune", "demo", "--data.source", ""], "--data.source"),
        (["finetune", "demo", "--output-dir="], "--output-dir"),
        (["merge", "RUN", "--output-dir", ""], "--output-dir"),
        (["transcribe", "RUN", "a.wav", "--output_dir", ""], "--output-dir"),
        (["transcribe", "RUN", "a.wav", ""], "an argument of whisper-peft transcribe"),
        (["evaluate", ""], "an argument of whisper-peft evaluate"),
    ],
)
def test_an_empty_word_is_not_taken_for_the_current_folder(called, capsys, words, named):
    assert exit_code(*words) == 2
    assert capsys.readouterr().err.startswith(f"error: {named} is empty - ")
    assert called.args == ()


def test_an_empty_prompt_is_none(called):
    assert exit_code("transcribe", "RUN", "a.wav", "--prompt", "") == 0
    assert called.kwargs["prompt"] == ""


def test_all_wrong_values_are_told_at_once(called, capsys):
    assert exit_code("finetune", "demo", "--train.max-steps", "0", "--adapter.r", "0") == 2
    printed = capsys.readouterr().err
    assert "train.max_steps is 0" in printed
    assert "adapter.r is 0" in printed


def test_an_error_of_the_run_has_exit_code_2(called, capsys):
    called.fail = TrainingError("the loss is nan", "diverged", "lower train.learning_rate")
    assert exit_code("finetune", "demo") == 2
    assert capsys.readouterr().err == "error: the loss is nan - diverged - lower train.learning_rate\n"


def test_ctrl_c_has_exit_code_130(called):
    called.fail = KeyboardInterrupt()
    assert exit_code("finetune", "demo") == 130


def test_a_bug_is_a_traceback(called):
    called.fail = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        main(args=["finetune", "demo"])


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


def test_version_is_printed(capsys):
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"whisper-peft {whisper_peft.__version__}\n"


def test_the_package_runs_as_a_module():
    words = [sys.executable, "-m", "whisper_peft", "recipes", "show", "dmo"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "did you mean demo?" in ended.stderr


@pytest.mark.parametrize(
    ("words", "unbuffered", "code"),
    [
        (["recipes", "list"], "", 0),
        (["recipes", "list"], "1", 0),
        (["finetune", "demo", "--help"], "", 0),
        (["--version"], "", 0),
        (["recipes", "show", "dmo"], "", 2),
        (["transcribe", "openai/whisper-tiny.en", "CLIP"], "1", 0),
    ],
    ids=["list", "unbuffered list", "help", "version", "a mistake", "transcribe"],
)
def test_a_reader_that_leaves_early_is_no_error(words, unbuffered, code, prompts_en):
    words = [prompts_en[1]["file_name"] if word == "CLIP" else word for word in words]
    program = "import sys; from whisper_peft.cli import main; main(args=sys.argv[1:])"
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(writer)
    assert ended.returncode == code
    assert "BrokenPipe" not in ended.stderr
    assert "Traceback" not in ended.stderr
