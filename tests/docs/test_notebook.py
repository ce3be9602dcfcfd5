"""The Colab notebook holds no outputs and runs from top to bottom, here with embedded model and speech.

It runs as after a disconnect: a first session was killed in training, and all cells are run again.
"""

import json
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.pages import PAGES
from whisper_peft.errors import RefusedExportError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "tutorials" / "finetune_whisper_on_colab.ipynb"
MOST_BYTES = 40_000
SMALL = """
SPEECH, TRAIN, EVAL, TEST = "prompts.jsonl", "train", "test", "test"
MODEL, LANGUAGE = "openai/whisper-tiny.en", "en"
MAX_STEPS, CHECKPOINT_STEPS = 2, 1
LOOK_AT, SCORE, COMPARE = 4, 2, 2
"""
KILLED_IN_TRAINING = """
import os, signal
finetune = whisper_peft.finetune
def die(event):
    if event.kind == "step" and event.step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
whisper_peft.finetune = lambda *given, **named: finetune(*given, **named, callbacks=[die])
"""


def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


def settings_cell(notebook):
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return cell


def cell_with(words):
    """Return the only cell of code that has some words."""
    (cell,) = [cell for cell in stored().cells if cell.cell_type == "code" and words in cell.source]
    return cell.source


def killed_session(folder):
    """Train as the notebook does, in a process that dies in its second step; return how it ended."""
    needed = ("MAX_STEPS, CHECKPOINT_STEPS =", "import drive", "recipe = compose(", "whisper_peft.finetune(")
    settings, drive, recipe, train = map(cell_with, needed)
    cells = (settings, SMALL, drive, "import whisper_peft", recipe, KILLED_IN_TRAINING, train)
    return subprocess.run([sys.executable, "-c", "\n".join(cells)], cwd=folder, check=False, timeout=300)


@pytest.fixture(scope="module")
def run_on(tmp_path_factory, prompts_en):
    """Return the notebook as it ran after a killed session, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("notebook")
    shortest = sorted(prompts_en, key=lambda row: row["duration_s"])[:16]
    rows = "".join(json.dumps(row) + "\n" for row in shortest)
    (folder / "prompts.jsonl").write_text(rows, encoding="utf-8")
    assert killed_session(folder).returncode == -signal.SIGKILL
    notebook = stored()
    settings_cell(notebook).source += SMALL
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()
    return notebook, folder


def printed(notebook):
    """Return what cells printed: plainly, or through rich, which displays."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs
    )


def test_no_output_is_stored():
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    cells = [cell for cell in stored().cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)


def test_what_only_colab_has_is_asked_for_once():
    sources = [cell.source for cell in stored().cells if cell.cell_type == "code"]
    assert sum("google.colab" in source for source in sources) == 1
    assert all("ON_COLAB" in source for source in sources if "%pip" in source or "%tensorboard" in source)


def test_readme_notebook_and_pypi_lead_to_the_repository_that_pyproject_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    repository = project["project"]["urls"]["Repository"]
    (links,) = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]
    assert links["replacement"] == f"]({repository}/blob/main/"
    page = repository.replace("https://", "https://colab.research.google.com/").replace(
        "github.com", "github"
    )
    badge = f"]({page}/blob/main/{NOTEBOOK.relative_to(ROOT)})"
    assert badge in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f'git+{repository}"\n' in f"{settings_cell(stored()).source}\n"
    pages = "".join(page.read_text(encoding="utf-8") for page in (*PAGES, NOTEBOOK))
    assert {*re.findall(r"https://github\.com/[\w-]+/whisper_peft", pages)} == {repository}


def test_it_runs_from_top_to_bottom(run_on):
    notebook, folder = run_on
    text = printed(notebook)
    assert text.count("Not on Colab") == 4
    for shown in ("WER after", "untuned  WER", "logits differ", "faster-whisper", "heard:"):
        assert shown in text, shown
    run = folder / "runs" / "whisper-small-librispeech"
    for kept in ("adapter", "merged", "exported", "report.html"):
        assert (run / kept).exists(), kept


def test_after_a_disconnect_it_goes_on_at_the_last_checkpoint(run_on):
    notebook, folder = run_on
    run = folder / "runs" / "whisper-small-librispeech"
    assert f"resuming from {run.relative_to(folder)}/checkpoints/step-000001" in printed(notebook)
    steps = [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert sorted({*steps}) == [1, 2]
    assert "WER before" not in printed(notebook)  # the first session has scored the untuned model


def exported_by(answers, folder, monkeypatch):
    """Run the export cell where each quantisation has its answer; return what it exported."""
    monkeypatch.chdir(folder)

    def export(run, *, quantize, **_):
        if isinstance(answers[quantize], Exception):
            raise answers[quantize]
        return answers[quantize]

    library = SimpleNamespace(export=export, ExportResult=object)
    names = {"whisper_peft": library, "shutil": shutil, "RUN": "run", "COMPARE": 2, "MAX_WER_INCREASE": 0.0}
    exec(cell_with('export_in("float16")'), names)
    return names["exported"]


def result(*rows):
    return SimpleNamespace(table=SimpleNamespace(rows=rows))


def test_an_8_bit_export_that_is_accepted_is_the_one_that_is_kept(tmp_path, monkeypatch):
    accepted = result()
    assert exported_by({"int8": accepted}, tmp_path, monkeypatch) is accepted


def test_an_8_bit_export_that_drifts_is_told_and_float16_taken(tmp_path, monkeypatch, capsys):
    drifted = result(SimpleNamespace(refused=None), SimpleNamespace(refused="its WER is 9 %"))
    half = result()
    answers = {"int8": RefusedExportError("1 of 1", result=drifted), "float16": half}
    assert exported_by(answers, tmp_path, monkeypatch) is half
    told = "int8 is refused on 2 clips: its WER is 9 %.\nGoing on with float16."
    assert told in capsys.readouterr().out


def test_an_8_bit_export_that_was_never_heard_stops_the_notebook(tmp_path, monkeypatch):
    failed = RefusedExportError("1 of 1", "the runtime crashed", result=result(SimpleNamespace(refused=None)))
    with pytest.raises(RefusedExportError, match="the runtime crashed"):
        exported_by({"int8": failed, "float16": result()}, tmp_path, monkeypatch)
