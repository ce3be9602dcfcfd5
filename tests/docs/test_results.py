"""Tables of results that are made from kept figures."""

import subprocess
import sys

from tests.docs.pages import ROOT


def test_the_page_of_methods_holds_the_table_of_its_cells():
    made = subprocess.run(
        [sys.executable, "tests/benchmarks/methods.py", "table"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "| LoRA |" in made.stdout
    assert made.stdout.strip() in (ROOT / "docs/results/methods.md").read_text(encoding="utf-8")
