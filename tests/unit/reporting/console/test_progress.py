from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from whisper_peft.reporting.console.progress import EvalProgress
from whisper_peft.reporting.console.training_progress import TRACE_WIDTH, Trace, TrainingProgress


def row(step: int, elapsed_s: float, loss: float = 1.5) -> dict[str, Any]:
    return {
        "step": step,
        "loss": loss,
        "learning_rate": 1e-4,
        "grad_norm": 2.5,
        "audio_seconds": 24.69,
        "target_tokens": 100,
        "audio_seconds_per_second": 12.345,
        "data_wait_share": 0.012,
        "memory_bytes": 3 * 2**29,
        "elapsed_s": elapsed_s,
    }


def paper() -> Console:
    return Console(file=io.StringIO(), width=60)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def ticking(seconds: float) -> Iterator[float]:
    now = 0.0
    while True:
        yield now
        now += seconds


def test_without_a_terminal_there_is_a_line_every_ten_seconds() -> None:
    console = paper()
    clock = ticking(3.0)
    with TrainingProgress(10, console=console, clock=lambda: next(clock)) as progress:
        for step in range(1, 11):
            progress.update(row(step, elapsed_s=3.0 * step))
    lines = text(console).splitlines()
    assert [line.split()[1] for line in lines] == ["1/10", "5/10", "9/10", "10/10"]
    told = "loss 1.5 · lr 0.0001 · gradient 2.5 · 12.3 audio-s/s · 50 tokens/s · data wait 1 % · 1.50 GiB"
    assert lines[1] == f"training 5/10 {told} · left 15.0 s"


def test_resumed_run_extrapolates_from_its_own_steps() -> None:
    console = paper()
    with TrainingProgress(100, console=console, clock=lambda: 0.0) as progress:
        progress.update(row(90, elapsed_s=1000.0))
        progress.update(row(100, elapsed_s=1010.0))
    assert "left 1 min 51 s" in text(console).splitlines()[0]
    assert "left 0.0 s" in text(console).splitlines()[-1]


def test_loss_that_is_not_a_number_is_shown() -> None:
    console = paper()
    with TrainingProgress(3, console=console) as progress:
        progress.update(row(1, 1.0, loss=float("nan")))
    assert "loss not a number" in text(console)


def test_evaluation_rows_change_nothing() -> None:
    console = paper()
    with TrainingProgress(3, console=console) as progress:
        progress.update({"step": 1, "eval_wer": 0.1, "eval_cer": 0.05})
    assert text(console) == ""


def test_sentences_are_printed_as_they_are() -> None:
    console = paper()
    sentence = "[bold]whisper[/bold] " + "long " * 30 + "end"
    with EvalProgress(None, "WER before", console=console) as progress:
        progress.say(sentence)
        progress.update(16)
    assert text(console).splitlines() == [sentence, "WER before 16 utterances"]


def test_terminal_shows_a_bar_and_an_evaluation_within_training() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    with TrainingProgress(2, console=console) as progress:
        progress.update(row(1, 1.0))
        with EvalProgress(4, "WER so far", console=console) as scoring:
            scoring.update(4)
        progress.update(row(2, 2.0))
    shown = text(console)
    assert "━" in shown
    assert "4/4 utterances" in shown
    assert "2/2 loss 1.5 · 12.3 audio-s/s" in " ".join(shown.split())


def test_large_terminal_shows_a_table_of_everything_that_is_logged() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    with TrainingProgress(3, console=console) as progress:
        for step, loss in enumerate((3.0, 2.0, 1.0), 1):
            progress.update(row(step, float(step), loss))
        progress.update({"step": 3, "eval_wer": 0.1234})
    last = text(console).rpartition("training ")[2]
    rows = {line.split("  ")[0].strip(): line.split() for line in last.splitlines()[2:]}
    assert "3/3 left 0.0 s" in last.splitlines()[0]
    assert rows["loss"][1:] == ["1", "2", "█▅▁"]
    assert rows["WER so far"][3:6] == ["12.34", "%", "12.34"]
    assert rows["memory"][1] == "1.50"
    assert set(rows) >= {"learning rate", "gradient norm", "audio-s/s", "tokens/s", "data wait"}


def test_terminal_too_small_for_the_table_has_the_bar_alone() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, height=10)
    with TrainingProgress(2, console=console) as progress:
        progress.update(row(2, 2.0))
    assert "gradient norm" not in text(console)
    assert "2/2 loss 1.5" in text(console)


def test_long_curve_stays_short_and_keeps_its_ends() -> None:
    trace = Trace()
    for step in range(100_000):
        trace.add(float(step) if step % 1000 else float("nan"))
    drawn = trace.drawn()
    assert TRACE_WIDTH / 2 <= len(drawn) <= TRACE_WIDTH
    assert (drawn[0], drawn[-1]) == ("▁", "█")
    assert list(drawn) == sorted(drawn)


def test_a_log_file_holds_no_control_codes_whatever_colours_are_asked_for(tmp_path: Path) -> None:
    code = (
        "from whisper_peft.reporting.console.training_progress import TrainingProgress\n"
        f"row = {row(1, 1.0)!r}\n"
        "with TrainingProgress(1) as progress:\n"
        "    progress.update(row)\n"
        "    progress.say('WER so far: 12 %')\n"
    )
    colours = {**os.environ, "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "TERM": "xterm-256color"}
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, "-c", code], stdout=log, stderr=log, env=colours, check=True)
    lines = (tmp_path / "log").read_text().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("training 1/1 loss 1.5")
    assert lines[1] == "WER so far: 12 %"
    assert "\x1b" not in (tmp_path / "log").read_text()


def test_quiet_console_prints_nothing() -> None:
    console = Console(file=io.StringIO(), quiet=True, force_terminal=True)
    with TrainingProgress(2, console=console) as progress:
        progress.update(row(2, 1.0))
    assert text(console) == ""


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from whisper_peft.reporting.console.progress import SteadyConsole\n"
        "console = SteadyConsole()\n"
        "for word in range(3):\n    console.print(word)\n    time.sleep(0.2)\n"
        "print('the summary', flush=True)\n"
        "pathlib.Path(sys.argv[1]).write_text('went on')"
    )
    words = f"{sys.executable} -c {shlex.quote(code)} {tmp_path / 'end'} | head -1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", words], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0\n", "")
    assert (tmp_path / "end").read_text() == "went on"
