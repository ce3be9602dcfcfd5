"""The Colab notebook holds no outputs and runs from top to bottom, here with embedded model and speech."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "tutorials" / "finetune_whisper_on_colab.ipynb"
MOST_BYTES = 40_000


def stored():
    return nbformat.read(NOTEBOOK, as_version=4)


def settings_cell(notebook):
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    return cell


@pytest.fixture(scope="module")
def run_on(tmp_path_factory, prompts_en):
    """Return the notebook as it ran, and the folder that it ran in."""
    folder = tmp_path_factory.mktemp("notebook")
    shortest = sorted(prompts_en, key=lambda row: row["duration_s"])[:16]
    rows = "".join(json.dumps(row) + "\n" for row in shortest)
    (folder / "prompts.jsonl").write_text(rows, encoding="utf-8")
    notebook = stored()
    settings_cell(notebook).source += """
SPEECH, TRAIN, EVAL, TEST = "prompts.jsonl", "train", "test", "test"
MODEL, LANGUAGE = "openai/whisper-tiny.en", "en"
MAX_STEPS, CHECKPOINT_STEPS = 2, 1
LOOK_AT, SCORE, COMPARE = 8, 2, 2
"""
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


def test_readme_and_notebook_name_the_same_file():
    badge = (
        f"https://colab.research.google.com/github/OWNER/whisper_peft/blob/main/{NOTEBOOK.relative_to(ROOT)}"
    )
    assert badge in (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_runs_from_top_to_bottom(run_on):
    notebook, folder = run_on
    text = printed(notebook)
    assert text.count("Not on Colab") == 4
    for shown in ("WER before", "WER after", "untuned  WER", "logits differ", "faster-whisper", "heard:"):
        assert shown in text, shown
    run = folder / "runs" / "whisper-small-librispeech"
    for kept in ("adapter", "merged", "exported", "report.html"):
        assert (run / kept).exists(), kept
