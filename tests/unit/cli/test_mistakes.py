"""What is the user's to mend is one message and exit code 2; what is ours is a traceback."""

import pytest

from tests.unit.cli.command_lines import exit_code
from whisper_peft.cli import main
from whisper_peft.errors import TrainingError


def test_an_unfit_source_is_told_before_anything_runs(called, capsys):
    assert exit_code("finetune", "lora-librispeech", "--data.mix", "speech/en=0.2", "langage=en") == 2
    assert (
        "'langage=en' is no source with its weight or share; did you mean language?"
        in capsys.readouterr().err
    )


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
