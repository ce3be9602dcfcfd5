import json
import subprocess
import sys

import pytest

import whisper_peft
from whisper_peft.cli import main
from whisper_peft.data.survey.findings import Inspection


def exit_code(*words):
    try:
        main(None, words)
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.fixture
def speech(root):
    return str(root / "tests" / "data" / "prompts" / "en")


def test_headers_alone_tell_hours_speakers_and_style(speech, capsys):
    assert exit_code("inspect", speech, "--no-decode") == 0
    printed = capsys.readouterr().out
    for fact in ("speech", "1 speakers", "mixed case, with punctuation", "FLAC PCM_16; 16000 Hz"):
        assert fact in printed
    assert "SNR" not in printed


def test_what_is_printed_and_written_is_what_the_function_returns(speech, tmp_path, capsys):
    assert exit_code("inspect", speech, "--no-decode", "--json", str(tmp_path / "found.json")) == 0
    written = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    found = whisper_peft.inspect(speech, decode=False)
    assert isinstance(found, Inspection)
    assert written == json.loads(json.dumps(found.to_dict()))


def test_a_json_file_that_cannot_be_written_is_refused_before_the_work(speech, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(vars(whisper_peft), "inspect", lambda *args, **kwargs: pytest.fail("worked first"))
    (tmp_path / "file").touch()
    assert exit_code("inspect", speech, "--json", str(tmp_path / "file" / "found.json")) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no-such-folder/speech.jsonl"], "missing"),
        (["{speech}", "--max-rows", "0"], "--max-rows is 0"),
        (["{speech}", "--run", "{speech}"], "no run folder"),
        (["{speech}", "--data.eval", "tset"], "did you mean test"),
        (["{speech}", "--lisen"], "--listen"),
    ],
)
def test_a_users_mistake_is_one_message(words, said, speech, capsys):
    assert exit_code("inspect", *(word.format(speech=speech) for word in words)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert said in printed


def test_help_is_free_of_torch():
    code = (
        "import sys\nfrom whisper_peft.cli import main\n"
        "try:\n    main(args=['inspect', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'matplotlib', 'soundfile'} & set(sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "--no-decode" in ended.stdout
